"""The replay itself, on logs that are made by hand."""

import random
from pathlib import Path

import pytest

import write_log
from write_log import DISCARD, ENTRY, FLUSH, FUA, MAGIC, SUPERBLOCK, VERSION

SECTOR = 512
SECTORS = 64


def a_log(path: Path, entries, promised=None):
    """Writes a log of (flags, sector, bytes)."""
    count = len(entries) if promised is None else promised
    parts = [SUPERBLOCK.pack(MAGIC, VERSION, count, SECTOR).ljust(SECTOR, b"\0")]
    for flags, sector, data in entries:
        parts.append(ENTRY.pack(sector, len(data) // SECTOR, flags, 0).ljust(SECTOR, b"\0"))
        parts.append(data if not flags & DISCARD else b"")
    path.write_bytes(b"".join(parts) + bytes(4 * SECTOR))
    return path


def block(letter, sectors=1):
    return letter.encode() * (SECTOR * sectors)


def states(tmp_path, entries, times=200):
    """The first bytes of every sector, for many cuts of the same log."""
    log = a_log(tmp_path / "log", entries)
    image = tmp_path / "image"
    seen = set()
    for seed in range(times):
        image.write_bytes(bytes(SECTOR * SECTORS))
        write_log.cut(log, image, random.Random(seed))
        data = image.read_bytes()
        assert len(data) == SECTOR * SECTORS
        sectors = [data[i * SECTOR : (i + 1) * SECTOR] for i in range(8)]
        assert all(len(set(sector)) == 1 for sector in sectors)
        seen.add("".join(chr(sector[0] or ord(".")) for sector in sectors))
    return seen


def test_what_was_flushed_is_always_there(tmp_path):
    entries = [(0, 0, block("a")), (0, 1, block("b")), (0, 0, block("c")), (FLUSH, 0, b"")]
    assert states(tmp_path, entries) == {"cb......"}


def test_what_was_not_flushed_is_there_or_not_in_any_order(tmp_path):
    entries = [(0, 0, block("a")), (FLUSH, 0, b""), (0, 0, block("b")), (0, 1, block("c"))]
    assert states(tmp_path, entries) == {"a.......", "b.......", "ac......", "bc......"}


def test_a_write_with_fua_is_always_there_and_makes_no_other_so(tmp_path):
    entries = [(0, 0, block("a")), (FUA, 1, block("b"))]
    assert states(tmp_path, entries) == {".b......", "ab......"}


def test_a_large_write_can_be_torn(tmp_path):
    entries = [(FLUSH, 0, b""), (0, 2, block("a", 4))]
    assert states(tmp_path, entries, times=500) == {
        "........", "..a.....", "..aa....", "..aaa...", "..aaaa..",
    }


def test_a_discard_changes_nothing(tmp_path):
    entries = [(0, 0, block("a")), (DISCARD, 0, block("x")), (FLUSH, 0, b"")]
    assert states(tmp_path, entries) == {"a......."}


def test_an_entry_in_flight_is_no_loss(tmp_path):
    entries = [(0, 0, block("a")), (FLUSH, 0, b""), (0, 1, block("b"))]
    assert len(list(write_log.read(a_log(tmp_path / "log", entries, promised=2)))) == 3


def test_a_log_that_lost_what_it_promised_is_told_apart(tmp_path):
    log = a_log(tmp_path / "log", [(0, 0, block("a"))], promised=2)
    with pytest.raises(write_log.Incomplete):
        list(write_log.read(log))


def test_another_file_is_no_log(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(bytes(4096))
    with pytest.raises(ValueError, match="no log"):
        list(write_log.read(path))
