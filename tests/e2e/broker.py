"""A real mosquitto with its own port, configuration and store."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from observed import TIMEOUT_S
from ports import free_port


class Broker:
    """Can be stopped, killed and restarted on the same port and store."""

    def __init__(self, folder: Path, settings=()):
        """`settings`: more lines for its configuration."""
        self.folder = folder
        self.store = folder / "store"
        self.store.mkdir(parents=True)
        self.log = folder / "mosquitto.log"
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\n"
            "allow_anonymous true\n"
            "persistence true\n"
            # A test that publishes faster than the agent reads must lose nothing here.
            "max_queued_messages 0\n"
            f"persistence_location {self.store}/\n"
            # Without this line mosquitto leaves root for a user who cannot write the store.
            f"user {getpass.getuser()}\n"
            "log_type all\n" + "".join(f"{line}\n" for line in settings)
        )
        self._process = None

    def start(self):
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [mosquitto(), "-c", self._config], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + TIMEOUT_S
        while not accepts_connections(self.port):
            if self._process.poll() is not None:
                raise RuntimeError(f"mosquitto ended: {self.log.read_text()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"mosquitto does not listen on port {self.port}")
            time.sleep(0.02)

    def stop(self):
        """An orderly stop: sessions, retained and queued messages are stored first."""
        self._end(signal.SIGTERM)

    def kill(self):
        """SIGKILL: the store stays as it was last written."""
        self._end(signal.SIGKILL)

    def freeze(self):
        """SIGSTOP: its connections stay, and it says nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self._process.send_signal(signal.SIGCONT)

    def forget(self):
        """Empties the store of a stopped broker: sessions and retained messages are gone."""
        shutil.rmtree(self.store)
        self.store.mkdir()

    def close(self):
        if self._process is not None:
            self.kill()

    def _end(self, number):
        self._process.send_signal(number)
        self._process.wait(TIMEOUT_S)
        self._process = None


def mosquitto():
    # Debian installs it where only root looks.
    found = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/local/sbin:/usr/sbin")
    if found is None:
        raise RuntimeError("mosquitto is not installed; tests/run installs it")
    return found


def accepts_connections(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
