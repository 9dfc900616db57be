"""A virtual machine whose power can be cut, with a disk that honours flushes and nothing else.

Killing qemu alone would lose only the guest's page cache: the host has every write. So the block
driver blklogwrites logs all writes and flushes of the data disk, and `write_log.cut` makes the disk
that the next boot finds.
"""

import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import write_log

DATA_SIZE = "256M"
# Sparse; what one boot under load writes is a few MB.
LOG_BYTES = 8 << 30
# Without KVM a boot takes minutes on a busy machine.
BOOT_TIMEOUT_S = 600
# With a KVM that works the package is installed in seconds. Inside another virtual machine it may
# be there and not work, or hardly move.
KVM_TIMEOUT_S = 90
# In the guest the first serial port is the console.
GUEST_PORT = "/dev/ttyS1"
HOST_ADDRESS = "10.0.2.2"


class Machine:
    """`base`: root.img, vmlinuz and initrd, as tests/vm/image makes them; it stays as it is."""

    def __init__(self, base: Path, folder: Path):
        self.console = folder / "console.log"
        self.port = folder / "autopilot.sock"
        self._base = base
        self._root = folder / "root.img"
        self._data = folder / "data.img"
        self._former = folder / "data-before.img"
        self._log = folder / "writes.log"
        self._monitor = folder / "monitor.sock"
        self._process = None
        self.accelerator = "kvm"
        subprocess.run(
            ["mke2fs", "-q", "-F", "-t", "ext4", "-L", "data", self._data, DATA_SIZE],
            check=True,
            env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def install(self, files: Path):
        """Boots once, runs `setup` of the tar archive `files` as root, and powers off.

        Finds out on the way whether KVM serves; else qemu emulates the processor.
        """
        may_use_kvm = os.environ.get("ACCEL") != "tcg" and os.access("/dev/kvm", os.R_OK | os.W_OK)
        if not (may_use_kvm and self._installs(files, KVM_TIMEOUT_S)):
            self.accelerator = "tcg"
            if not self._installs(files, BOOT_TIMEOUT_S):
                raise RuntimeError(f"the package could not be installed; see {self.console}")

    def _installs(self, files, timeout):
        copy(self._base / "root.img", self._root)
        self.console.unlink(missing_ok=True)
        self._run(
            ["-drive", f"file={self._root},format=raw,if=virtio,cache=unsafe"]
            + ["-drive", f"file={self._data},format=raw,if=virtio,cache=unsafe"]
            + ["-drive", f"file={files},format=raw,if=none,id=setup,readonly=on"]
            + ["-device", "virtio-blk-pci,drive=setup,serial=setup", "-no-reboot"],
            "vm.setup",
        )
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.cut_power()
        self._process = None
        return "VM-SETUP-DONE" in self.console.read_text(errors="replace")

    def start(self):
        """Power on. The root disk is as it was installed, the data disk as it was left."""
        copy(self._data, self._former)
        self._log.unlink(missing_ok=True)
        with self._log.open("wb") as log:
            log.truncate(LOG_BYTES)
        self._monitor.unlink(missing_ok=True)
        self.port.unlink(missing_ok=True)
        # The host's power is not what is cut, so it need not flush.
        as_file = {"driver": "file", "cache": {"no-flush": True}}
        self._run(
            ["-drive", f"file={self._root},format=raw,if=virtio,snapshot=on"]
            + blockdev(**as_file, node_name="data-file", filename=str(self._data))
            + blockdev(**as_file, node_name="log-file", filename=str(self._log))
            + blockdev(driver="blklogwrites", node_name="data", file="data-file", log="log-file")
            + ["-device", "virtio-blk-pci,drive=data"]
            + ["-chardev", f"socket,id=autopilot,path={self.port},server=on,wait=off"]
            + ["-serial", "chardev:autopilot"]
            + ["-qmp", f"unix:{self._monitor},server=on,wait=off"],
        )

    def reboot(self):
        """Presses the power key, which the guest takes for an orderly reboot."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(30)
            monitor.connect(str(self._monitor))
            lines = monitor.makefile("rw")
            for command in ("qmp_capabilities", "system_powerdown"):
                lines.write(json.dumps({"execute": command}) + "\n")
                lines.flush()
                while "return" not in (answer := json.loads(lines.readline())):
                    if "error" in answer:
                        raise RuntimeError(f"qemu refused {command}: {answer}")

    def cut_power(self):
        """The machine is off before this returns; `settle` then makes the disk of the next boot."""
        self._process.kill()
        self._process.wait()
        self._process = None

    def settle(self, random):
        """Says what the disk kept of what was not flushed.

        Raises write_log.Incomplete when the log does not tell; the disk is then as qemu left it.
        """
        fate = write_log.cut(self._log, self._former, random)
        self._former.replace(self._data)
        return fate

    def is_running(self):
        return self._process is not None and self._process.poll() is None

    def close(self):
        if self._process is not None:
            self.cut_power()

    def _run(self, devices, *kernel):
        command = ["qemu-system-x86_64", "-accel", self.accelerator, "-cpu", "max"]
        command += ["-m", "512", "-nodefaults", "-display", "none"]
        command += ["-kernel", self._base / "vmlinuz", "-initrd", self._base / "initrd"]
        parameters = ["root=LABEL=root", "rw", "console=ttyS0", "loglevel=4", *kernel]
        command += ["-append", " ".join([*parameters, "systemd.show_status=no"])]
        command += ["-chardev", f"file,id=console,path={self.console},append=on"]
        command += ["-serial", "chardev:console"]
        command += ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"]
        with self.console.open("ab") as console:
            self._process = subprocess.Popen(
                [*command, *devices], stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )


class SerialSocket:
    """The vehicle's end of a guest's serial port; for `Vehicle`, in place of a pty."""

    def __init__(self, path: Path):
        self.ended = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 30
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self._socket.settimeout(0.02)

    def read(self):
        """Bytes from the guest; none when none come within a moment."""
        try:
            data = self._socket.recv(4096)
        except TimeoutError:
            return b""
        except ConnectionResetError:
            data = b""
        if not data:
            # Whatever the guest wrote before the cut has been read.
            self.ended.set()
            time.sleep(0.02)
        return data

    def write(self, data):
        """False when the cable ends nowhere, or nobody has read for a long time."""
        try:
            return self._socket.send(data) == len(data)
        except OSError:
            return False

    def close(self):
        self._socket.close()


def blockdev(**options):
    named = {name.replace("_", "-"): value for name, value in options.items()}
    return ["-blockdev", json.dumps(named)]


def copy(source: Path, target: Path):
    """A copy that is as sparse as its source."""
    subprocess.run(["cp", "--sparse=always", source, target], check=True)
