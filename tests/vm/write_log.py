"""What a disk holds after its power was cut, from the log of its writes.

The log is dm-log-writes' (Linux, drivers/md/dm-log-writes.c), as qemu's block driver blklogwrites
writes it: a superblock, then per request an entry of one sector and its data.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

MAGIC = 0x6A736677736872
VERSION = 1
FLUSH, FUA, DISCARD = 1, 2, 4
SUPERBLOCK = struct.Struct("<QQQI")
# In sectors of the log's size: the place on the disk, and how much data follows.
ENTRY = struct.Struct("<QQQQ")
# What a disk writes whole or not at all.
ATOMIC_BYTES = 512


class Incomplete(Exception):
    """The log itself lost an entry that the guest was told of, when qemu was killed."""


@dataclass(frozen=True)
class Write:
    """Bytes for a place on the disk; a flush without data is a write of nothing."""

    flags: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Fate:
    """How many of the writes after the last flush the disk kept."""

    durable: int
    kept: int
    torn: int
    dropped: int


def read(path: Path):
    """Yields the logged writes in order.

    The superblock is brought up to date at every flush, so entries behind its count may be whole,
    torn or missing: those were in flight.
    """
    with path.open("rb") as log:
        magic, version, promised, sector = SUPERBLOCK.unpack(log.read(SUPERBLOCK.size))
        if (magic, version) != (MAGIC, VERSION):
            raise ValueError(f"{path} is no log of writes")
        log.seek(sector)
        number = 0
        while True:
            head = log.read(sector)
            # The fourth field is the length of a mark, which qemu does not make.
            place, count, flags, _ = ENTRY.unpack(head[: ENTRY.size].ljust(ENTRY.size, b"\0"))
            if not (count or flags):
                break
            # What was discarded may as well still be there.
            data = b"" if flags & DISCARD else log.read(count * sector)
            if not flags & DISCARD and len(data) < count * sector:
                break
            number += 1
            yield Write(flags, place * sector, data)
    if number < promised:
        raise Incomplete(f"{path} holds {number} of {promised} entries")


def cut(log: Path, image: Path, random):
    """Brings `image`, the disk as it was when the log began, to a state that the cut may leave.

    Everything up to the last flush is there. Of the later writes each is there, or not, or in
    part, as a disk's cache leaves it: in no order.
    """
    writes = list(read(log))
    durable = max((i + 1 for i, write in enumerate(writes) if write.flags & FLUSH), default=0)
    share = random.choice((0.0, 0.1, 0.5, 0.9, random.random()))
    kept = torn = dropped = 0
    with image.open("r+b") as disk:
        for number, write in enumerate(writes):
            data = write.data
            if number >= durable and data and not write.flags & FUA:
                if random.random() >= share:
                    dropped += 1
                    continue
                if len(data) > ATOMIC_BYTES and random.random() < 0.1:
                    torn += 1
                    data = data[: random.randrange(len(data) // ATOMIC_BYTES) * ATOMIC_BYTES]
                else:
                    kept += 1
            disk.seek(write.offset)
            disk.write(data)
    return Fate(durable, kept, torn, dropped)
