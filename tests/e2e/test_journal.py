"""What an operator sees of the journal: its commands, its refusals, and the way out."""

import json
import os
import re
import shutil
import subprocess
import time

import pytest

import agent as agent_module
import seeds
import signing
from agent import run_to_end
from observed import TIMEOUT_S

DATA, NO_INPUT, IO, IN_USE, PERMISSION = 65, 66, 74, 75, 77
REPLIES = "downlink/v1/px4/px4-real-1/replies/cloud"


def journal(rig, *arguments):
    return run_to_end("journal", *arguments, "--config", rig.agent.config)


def send(rig, key):
    """A command that succeeds; returns its id."""
    request = seeds.request("image_stop_capture", idempotency_key=key)
    command_id = rig.publisher().request(request)["command_id"]
    assert rig.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"
    return command_id


def check_refuses_to_start(rig, code, *told):
    """The agent ends by itself, and says why and what to do."""
    rig.agent.start()
    assert rig.agent.wait_end() == code
    log = rig.agent.log.read_text()
    for text in told:
        assert text in log, log


def check_sent(rig, count):
    """The running agent has nothing more to send."""
    rig.vehicle.fence()
    assert len(rig.vehicle.commands()) == count


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def stopped(ready):
    """An agent that has carried out three commands and stopped."""
    ready.ids = [send(ready, f"key-{number}") for number in range(3)]
    assert ready.agent.terminate() == 0
    return ready


def test_the_commands_of_a_stopped_agent(stopped):
    listed = journal(stopped, "list")
    assert listed.returncode == 0, listed.stderr
    lines = listed.stdout.splitlines()[1:]
    assert [line.split()[3] for line in lines] == stopped.ids
    assert all("SUCCEEDED" in line and "MAV_RESULT_ACCEPTED" in line for line in lines)

    updates = json.loads(journal(stopped, "list", "--output", "json").stdout)
    assert [update["command_id"] for update in updates] == stopped.ids
    shown = json.loads(journal(stopped, "show", stopped.ids[1], "--output", "json").stdout)
    assert shown == updates[1] == stopped.publisher().updates(stopped.ids[1])[-1]
    page = journal(stopped, "show", stopped.ids[1]).stdout
    assert "key-1" in page and "SUCCEEDED" in page

    exported = [json.loads(line) for line in journal(stopped, "export").stdout.splitlines()]
    assert exported[0]["meta"]["last_number"] == 3
    records = [line["command"] for line in exported if "command" in line]
    assert [record["command_id"] for record in records] == stopped.ids

    checked = json.loads(journal(stopped, "check", "--output", "json").stdout)
    assert (checked["commands"], checked["problems"]) == (3, [])
    assert journal(stopped, "check").returncode == 0
    unknown = journal(stopped, "show", "00000000-0000-0000-0000-000000000001")
    assert unknown.returncode == 1 and "no command" in unknown.stderr

    # Nobody has changed anything.
    stopped.restart_agent()
    for command_id in stopped.ids:
        assert stopped.publisher().query(command_id=command_id)["status"] == "SUCCEEDED"
    check_sent(stopped, 3)


def test_a_running_agent_keeps_its_journal_to_itself(ready):
    for arguments in [("list",), ("export",), ("check",), ("set-aside",)]:
        result = journal(ready, *arguments)
        assert result.returncode == IN_USE, arguments
        assert "in use by another process" in result.stderr
    second = run_to_end("run", "--config", ready.agent.config)
    assert second.returncode == IN_USE
    assert "in use by another process" in second.stderr
    send(ready, "after")


def test_no_journal_and_another_users(rig):
    rig.configure("disabled", (), ())
    result = journal(rig, "list")
    assert result.returncode == NO_INPUT and "no journal" in result.stderr
    rig.agent.journal.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    os.chown(rig.agent.journal, 65534, 65534)
    for result in (journal(rig, "list"), run_to_end("run", "--config", rig.agent.config)):
        assert result.returncode == PERMISSION
        assert "belongs to user id 65534" in result.stderr
    assert list(rig.agent.journal.iterdir()) == []


DAMAGE = {
    "no current": (lambda j: (j / "current").unlink(), "there is no `current`"),
    "empty current": (lambda j: (j / "current").write_bytes(b""), "not what downlinkd writes"),
    "newer": (lambda j: (j / "current").write_text('{"format":9}'), "a newer downlinkd"),
    "no store": (lambda j: shutil.rmtree(j / "generation-1"), "checkpoint"),
    "empty checkpoint": (
        lambda j: (j / "generation-1/checkpoint").write_bytes(b""),
        "holds no checkpoint",
    ),
    # Either could make up for the other.
    "cut store and log": (
        lambda j: (cut(j / "generation-1/store/db"), cut(j / "generation-1/write-ahead")),
        "its end is lost",
    ),
    "foreign store": (
        lambda j: (j / "generation-1/store/db").write_bytes(b"foreign" * 100_000),
        "damaged",
    ),
}


def cut(path):
    """In the middle of what was written; the file may be longer."""
    os.truncate(path, len(path.read_bytes().rstrip(b"\0")) // 2)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_journal_stops_the_agent_and_can_be_set_aside(stopped, damage):
    break_it, told = damage
    break_it(stopped.agent.journal)
    before = contents(stopped.agent.journal)
    advice = () if "newer" in told else ("nothing was deleted", "journal set-aside")
    check_refuses_to_start(stopped, DATA, told, *advice)
    checked = journal(stopped, "check")
    assert checked.returncode == DATA and told in checked.stderr, checked
    after = contents(stopped.agent.journal)
    # sled itself clears what follows the end of a log that it believes in.
    logs = {path for path in before if "store" in path.parts}
    assert {path: after.get(path) for path in before if path not in logs} == {
        path: content for path, content in before.items() if path not in logs
    }
    assert logs <= set(after)

    result = journal(stopped, "set-aside", "--output", "json")
    assert result.returncode == 0, result.stderr
    kept = json.loads(result.stdout)["kept"]
    assert {path.name for path in before} - {"lock"} <= {
        path.name for path in contents(stopped.agent.journal) if kept in str(path)
    }
    assert journal(stopped, "check").returncode == 0
    stopped.restart_agent()
    check_sent(stopped, 3)


def test_after_a_kill_nothing_is_missing_and_a_loss_is_told(ready):
    ids = [send(ready, f"key-{number}") for number in range(3)]
    ready.agent.kill()
    listed = json.loads(journal(ready, "list", "--output", "json").stdout)
    assert [update["command_id"] for update in listed] == ids
    assert journal(ready, "check").returncode == 0
    ready.restart_agent()
    ids.append(send(ready, "key-3"))
    check_sent(ready, 4)
    ready.agent.kill()
    cut(ready.agent.journal / "generation-1/write-ahead")
    check_refuses_to_start(ready, DATA, "its end is lost", "nothing was deleted")


def test_after_set_aside_nothing_is_sent_again(rig):
    rig.start_ready()
    publisher = rig.publisher()

    def answer(data, properties):
        mark = len(publisher.messages)
        publisher.publish(data, properties=properties, sign=False)
        return publisher.wait_on(REPLIES, lambda _: True, "a reply", mark)

    def body(key):
        return json.dumps(seeds.request("image_stop_capture", idempotency_key=key)).encode()

    first = body("sent before")
    signed = signing.properties(first)
    publisher.wait_terminal(answer(first, signed)["command_id"])
    rig.agent.kill()
    assert journal(rig, "set-aside").returncode == 0
    rig.restart_agent()
    assert answer(first, signed)["error"]["code"] == "auth.stale"

    # What is signed from then on goes, when the tolerance between two clocks is over.
    deadline = time.monotonic() + TIMEOUT_S
    for number in range(1000):
        later = body(f"sent later {number}")
        reply = answer(later, signing.properties(later))
        if "error" not in reply:
            break
        assert reply["error"]["code"] == "auth.stale", reply
        assert time.monotonic() < deadline
        # So often a recording that is played back gets an answer.
        time.sleep(1.1)
    assert number > 0
    publisher.wait_terminal(reply["command_id"])
    assert answer(first, signed)["error"]["code"] == "auth.stale"
    check_sent(rig, 2)


@pytest.fixture
def small_disk(tmp_path):
    """A file system that holds an empty journal."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4000k", "tmpfs", folder]
    result = subprocess.run(mount, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {result.stderr.strip()}")
    yield folder
    # An agent may still have files open there.
    subprocess.run(["umount", "--lazy", folder], check=True)


def check_stops_on_a_disk_that_fails(rig, told):
    """Sends commands until the journal cannot be written; returns the ids of what was accepted."""
    publisher = rig.publisher()
    for number in range(2000):
        if rig.agent.exit_code() is not None:
            break
        # Long, so that there is much to write. What was under way when the disk failed waits out its
        # deadline.
        changes = {"idempotency_key": f"key-{number:0150}", "timeout_seconds": 5}
        publisher.publish(seeds.request("image_stop_capture", **changes))
        time.sleep(0.005)
    assert rig.agent.wait_end() == IO
    log = rig.agent.log.read_text()
    for text in told:
        assert text in log, log[-2000:]
    assert "panicked" not in log


def check_every_command_once(rig):
    """After a restart every command ends, and none was sent twice."""
    listed = json.loads(journal(rig, "list", "--output", "json").stdout)
    assert len(listed) > 0
    rig.restart_agent()
    for update in listed:
        rig.publisher().wait_terminal(update["command_id"])
    # Its turn comes after all others'.
    send(rig, "the last")
    rig.vehicle.fence()
    finals = [rig.publisher().updates(update["command_id"])[-1] for update in listed]
    succeeded = sum(final["status"] == "SUCCEEDED" for final in finals)
    assert 0 < succeeded <= len(rig.vehicle.commands()) <= len(rig.publisher().lifecycle_keys())


def test_a_full_disk_stops_the_agent(rig, small_disk):
    rig.agent.journal = small_disk / "journal"
    rig.start_ready()
    free = shutil.disk_usage(small_disk).free
    (small_disk / "others").write_bytes(bytes(free - 64 * 1024))
    check_stops_on_a_disk_that_fails(rig, ("failed to", str(small_disk), "make room there"))
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert journal(rig, "check").returncode == 0
    check_every_command_once(rig)


def test_writes_that_fail_stop_the_agent(rig, tmp_path, monkeypatch):
    limited = tmp_path / "limited"
    limited.write_text(
        f"#!/bin/sh\ntrap '' XFSZ\nulimit -f 1100\nexec {agent_module.BINARY} \"$@\"\n"
    )
    limited.chmod(0o755)
    rig.start_ready()
    assert rig.agent.terminate() == 0
    with monkeypatch.context() as patched:
        patched.setattr(agent_module, "BINARY", limited)
        rig.restart_agent()
        check_stops_on_a_disk_that_fails(rig, ("failed to", str(rig.agent.journal)))
    assert journal(rig, "check").returncode == 0
    check_every_command_once(rig)


@pytest.fixture
def fails_to_sync(tmp_path):
    """The daemon, whose disk answers the 20th fdatasync, and each after it, with an I/O error."""
    inject = "strace -f -D -qq -o /dev/null -e trace=fdatasync -e inject=fdatasync:error=EIO:when="
    probe = subprocess.run([*f"{inject}1+".split(), "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"nothing can be traced here: {probe.stderr.decode().strip()}")
    wrapper = tmp_path / "fails-to-sync"
    wrapper.write_text(f'#!/bin/sh\nexec {inject}20+ {agent_module.BINARY} "$@"\n')
    wrapper.chmod(0o755)
    return wrapper


def test_a_disk_that_fails_to_sync_stops_the_agent(rig, fails_to_sync, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(agent_module, "BINARY", fails_to_sync)
        rig.start_ready()
        check_stops_on_a_disk_that_fails(rig, ("failed to sync", "Input/output error"))
    assert journal(rig, "check").returncode == 0
    check_every_command_once(rig)


def test_a_read_only_file_system(rig, small_disk):
    rig.agent.journal = small_disk / "journal"
    rig.start_ready()
    send(rig, "before")
    assert rig.agent.terminate() == 0
    before = contents(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    check_refuses_to_start(rig, IO, "Read-only file system", "mount it writable")
    assert contents(small_disk) == before
    subprocess.run(["mount", "-o", "remount,rw,size=64m", small_disk], check=True)
    rig.restart_agent()
    check_sent(rig, 1)


class ThinDisk:
    """A file system on a disk that can run out of space for pages that were zeroes."""

    BLOCK = 4096

    def __init__(self, tmp_path):
        self.folder = tmp_path / "disk"
        self._backing = tmp_path / "backing"
        self._image = self._backing / "image"
        self._filler = self._backing / "filler"
        for folder in (self.folder, self._backing):
            folder.mkdir()

    def make(self):
        run("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", self._backing)
        self._image.write_bytes(bytes(16 << 20))
        run("mkfs.ext4", "-q", "-F", "-b", str(self.BLOCK), "-E", "nodiscard", self._image)
        # Where mkfs has made holes.
        self._image.write_bytes(self._image.read_bytes())
        self.mount()

    def mount(self):
        # Or the kernel gives room a while later: it zeroes inode tables by holes.
        run("mount", "-o", "loop,nodiscard,noinit_itable", self._image, self.folder)

    def unmount(self):
        run("umount", self.folder)

    def run_out(self, file):
        """From now on the pages of `file` that are zeroes cannot be written."""
        run("sync", "--file-system", self.folder)
        extents = run("filefrag", "-v", f"-b{self.BLOCK}", file)
        for first, last in re.findall(r"^ *\d+: .*: *(\d+)\.\. *(\d+):", extents, re.MULTILINE):
            for block in range(int(first), int(last) + 1):
                self._punch_if_zero(block * self.BLOCK)
        self._filler.write_bytes(bytes(shutil.disk_usage(self._backing).free))

    def _punch_if_zero(self, at):
        with self._image.open("rb") as image:
            image.seek(at)
            if any(image.read(self.BLOCK)):
                return
        run("fallocate", "--punch-hole", "-o", str(at), "-l", str(self.BLOCK), self._image)

    def give_room(self):
        self._filler.unlink()

    def remove(self):
        # An agent may still have files open there.
        for folder in (self.folder, self._backing):
            subprocess.run(["umount", "--lazy", folder], capture_output=True, check=False)


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, (command, result.stderr)
    return result.stdout


@pytest.fixture
def thin_disk(tmp_path):
    disk = ThinDisk(tmp_path)
    try:
        disk.make()
    except (AssertionError, FileNotFoundError) as error:
        disk.remove()
        pytest.skip(f"no file system on a loop device can be mounted here: {error}")
    yield disk
    disk.remove()


def test_what_never_reached_the_disk_is_not_built_upon(rig, thin_disk):
    rig.agent.journal = thin_disk.folder / "journal"
    rig.start_ready()
    send(rig, "first")
    assert rig.agent.terminate() == 0
    rig.restart_agent()
    thin_disk.run_out(rig.agent.journal / "generation-1/store/db")
    for number in range(20):
        send(rig, f"not in the store {number}")
    # The write-ahead log keeps them: the disk has the pages of that.
    assert rig.agent.terminate() == 0
    assert "No space left on device" in rig.agent.log.read_text()
    thin_disk.give_room()
    for number in range(2):
        rig.restart_agent()
        send(rig, f"later {number}")
        assert rig.agent.terminate() == 0
    # As a reboot would: only what the disk has is left.
    thin_disk.unmount()
    thin_disk.mount()
    checked = journal(rig, "check")
    assert checked.returncode == 0, checked.stderr
    rig.restart_agent()
    check_sent(rig, 23)
