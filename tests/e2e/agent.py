"""The built daemon as a child process."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import signing
from observed import TIMEOUT_S
from ports import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
# Another one, such as one for another processor, behind an emulator.
BINARY = Path(os.environ.get("AGENT_BINARY", TARGET / "debug" / "downlinkd"))


class Agent:
    """Can be killed and restarted on the same configuration and journal."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self.config = folder / "downlinkd.toml"
        self.journal = folder / "journal"
        self.socket = folder / "api.sock"
        self.http_port = free_port()
        self.log = folder / "downlinkd.log"
        # Beyond ours, at every start.
        self.environment = {}
        self._process = None
        self._tools = folder / "bin"
        self._tools.mkdir()
        self.set_clock_synchronized(True)

    def set_clock_synchronized(self, synchronized):
        """What the agent hears when it asks the system whether its clock is right."""
        self.clock_synchronized = synchronized
        tool = self._tools / "timedatectl"
        tool.write_text(f"#!/bin/sh\necho {'yes' if synchronized else 'no'}\n")
        tool.chmod(0o755)

    def write_key(self, issuer, secret):
        """From the next start or reload on, this is the issuer's key. Returns the key's file."""
        file = self.config.with_name(f"{issuer}.hmac")
        file.write_text(f"hex:{secret.hex()}")
        return file

    def reload(self):
        self._process.send_signal(signal.SIGHUP)

    def configure(
        self,
        port,
        endpoint,
        mode,
        issuers,
        commands,
        late_ack_window="5min",
        stop_timeout="5s",
        link="",
        forward="",
        target_system=1,
    ):
        """`link`: more lines of [link]."""
        rules = [
            f"""\
[[guard.issuer]]
id = "{issuer}"
commands = ["*"]
[[guard.issuer.key]]
kid = "1"
hmac_key_file = "{self.write_key(issuer, signing.secret(issuer))}"
"""
            for issuer in issuers
        ]
        rules += [
            # Grants are no part of the reference requests.
            f'[[guard.command]]\ntype = "{command}"\ngrant = false\n'
            for command in commands
        ]
        self.config.write_text(
            f"""\
[device]
vendor = "px4"
id = "px4-real-1"
[mqtt]
url = "mqtt://127.0.0.1:{port}"
[link]
endpoint = "{endpoint}"
target_system = {json.dumps(target_system)}
target_component = 1
{link}
{forward}
[guard]
mode = "{mode}"
{"".join(rules)}
[delivery]
default_timeout = "30s"
late_ack_window = "{late_ack_window}"
stop_timeout = "{stop_timeout}"
[journal]
dir = "{self.journal}"
[api]
socket = "{self.socket}"
listen = "{self.http_port}"
"""
        )

    def start(self, environment=()):
        """`environment`: beyond that of every start."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [BINARY, "run", "--config", self.config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(self._tools) | self.environment | dict(environment),
            )

    def kill(self):
        """SIGKILL: no last words, to broker or journal."""
        self._end(signal.SIGKILL)

    def terminate(self):
        """SIGTERM; returns the exit code."""
        return self._end(signal.SIGTERM)

    def ask_to_stop(self):
        """SIGTERM, without waiting for its end."""
        self._process.send_signal(signal.SIGTERM)

    def freeze(self):
        """SIGSTOP: its connections, port and journal stay, and it does nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self._process.send_signal(signal.SIGCONT)

    @property
    def pid(self):
        return self._process.pid

    def exit_code(self):
        """None while it runs."""
        return self._process.poll()

    def wait_end(self):
        """Waits until it has ended by itself; returns the exit code."""
        process, self._process = self._process, None
        return process.wait(TIMEOUT_S)

    def wait_log(self, text):
        """Waits for a text in the log, for what is told nowhere else."""
        deadline = time.monotonic() + TIMEOUT_S
        while text not in self.log.read_text():
            assert time.monotonic() < deadline, f"{text!r} does not come in {self.log}"
            time.sleep(0.02)

    def status(self):
        """What `downlinkd status` says."""
        result = run_to_end("status", "--output", "json", "--config", self.config)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def wait_status(self, condition):
        """Waits for a status that fits."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition(status := self.status()):
            assert time.monotonic() < deadline, status
            time.sleep(0.05)

    def watch_status(self):
        """`downlinkd status --watch`, whose output comes by a pipe."""
        return subprocess.Popen(
            [BINARY, "status", "--watch", "1", "--config", self.config],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        )

    def close(self):
        if self._process is not None:
            self.kill()

    def _end(self, number):
        process, self._process = self._process, None
        if process.poll() is not None:
            raise RuntimeError(f"downlinkd had ended by itself with {process.returncode}")
        process.send_signal(number)
        return process.wait(TIMEOUT_S)


def run_to_end(*arguments):
    """Runs downlinkd until it ends by itself."""
    return subprocess.run(
        [BINARY, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env=clean_environment(),
        check=False,
    )


def clean_environment(tools=None):
    """Ours, without what configures the daemon or tells it that it runs under systemd; programs are
    looked for in `tools` first."""
    systemd = ("NOTIFY_SOCKET", "JOURNAL_STREAM", "INVOCATION_ID", "WATCHDOG_USEC")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("DOWNLINKD_") and name not in systemd
    }
    if tools is not None:
        environment["PATH"] = f"{tools}:{environment['PATH']}"
    return environment
