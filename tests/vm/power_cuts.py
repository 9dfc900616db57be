"""An installed agent under load, one orderly reboot, and then many power cuts.

Broker, publisher and vehicle are on the host and live through all of it.
"""

import argparse
import io
import json
import random
import signal
import sys
import tarfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from pymavlink.dialects.v20 import development as mavlink

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import signing
import write_log
from broker import Broker
from ledger import Ledger, summary
from machine import BOOT_TIMEOUT_S, GUEST_PORT, HOST_ADDRESS, Machine, SerialSocket
from publisher import Publisher
from vehicle import Ack, Vehicle

# Each with a field that takes any whole number, by which its frames are told apart.
COMMANDS = {
    "do_digicam_control": (mavlink.MAV_CMD_DO_DIGICAM_CONTROL, {}, "session_control"),
    "do_set_servo": (mavlink.MAV_CMD_DO_SET_SERVO, {}, "instance"),
    "do_set_relay": (mavlink.MAV_CMD_DO_SET_RELAY, {}, "instance"),
    "request_message": (mavlink.MAV_CMD_REQUEST_MESSAGE, {}, "message_id"),
    # A COMMAND_INT.
    "nav_roi": (mavlink.MAV_CMD_NAV_ROI, {"x": 0, "y": 0}, "z"),
}
REQUESTS_PER_SECOND = 20
# Longer than the longest timeout_seconds of the load.
SETTLE_TIMEOUT_S = 120


class AgentDown(Exception):
    """The agent did not start after a cut, and the ledger says so."""


class Autopilot(Vehicle):
    """Answers most commands at once, some later, a few never."""

    def __init__(self, port, randomness):
        super().__init__(port, cable=SerialSocket)
        self._randomness = randomness

    def _answer(self, message):
        mood = self._randomness.random()
        if mood < 0.75:
            super()._answer(message)
        elif mood < 0.97:
            delay = self._randomness.uniform(0.05, 1.0)
            late = threading.Timer(delay, super()._answer, [message])
            late.daemon = True
            late.start()

    def wait_end(self):
        """Waits until everything that the guest wrote before the cut is in the log."""
        if not self._cable.ended.wait(30):
            raise RuntimeError("the serial line outlives the machine")


@dataclass
class Cuts:
    done: int = 0
    # The log of writes had lost an entry: no better than a killed qemu.
    unknown: int = 0


class Rig:
    """The machine and, on the host, all that it talks to."""

    def __init__(self, base: Path, deb: Path, folder: Path, randomness):
        self.randomness = randomness
        self.broker = Broker(folder / "broker")
        self.machine = Machine(base, folder)
        self.vehicle = Autopilot(self.machine.port, randomness)
        self.publisher = Publisher(self.broker.port)
        self.ledger = Ledger(self.publisher, self.vehicle, self.broker.log)
        self._console_read = 0
        self._deb = deb
        self._files = folder / "setup.tar"

    def install(self):
        """Starts what is on the host, and lets the guest install the package."""
        self.broker.start()
        self.publisher.connect()
        pack(self._files, self._deb, self.broker.port)
        self.machine.install(self._files)
        print(f"installed in the guest; qemu runs with {self.machine.accelerator}", flush=True)

    def close(self):
        self.machine.close()
        self.vehicle.close()
        self.publisher.close()
        self.broker.close()

    def power_on(self):
        """Starts the machine and waits until the agent would send a command."""
        self._console_read = len(self.console())
        former = self.ledger.presence and self.ledger.presence["session"]
        self.machine.start()
        self.vehicle.plug_in()
        self.wait_ready(former)

    def wait_ready(self, former_session):
        """Waits for a session of the agent that is another one, and ready."""
        def is_ready():
            presence = self.ledger.presence
            return (
                presence is not None
                and presence["online"]
                and presence["session"] != former_session
                and presence["link"]["state"] == "ready"
            )

        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while not is_ready():
            if not self.machine.is_running():
                raise RuntimeError(f"qemu has ended; see {self.machine.console}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the guest does not come up; see {self.machine.console}")
            if "downlinkd.service: Failed with result" in self.new_console():
                self.ledger.complain(f"the agent does not start; see {self.machine.console}")
                raise AgentDown
            time.sleep(0.05)
            self.ledger.read()

    def cut_power(self):
        session = self.ledger.presence["session"]
        self.machine.cut_power()
        self.vehicle.wait_end()
        self.vehicle.unplug()
        # The broker's last word on the connection comes after all that the agent published.
        self.publisher.wait_presence(
            lambda p: not p["online"] and p["session"] == session, "the agent's last will"
        )
        self.ledger.power_is_off()

    def publish_new(self, name=None, timeout_seconds=None):
        """A command that was never asked for before. Returns its key."""
        name = name or self.randomness.choice(list(COMMANDS))
        command, payload, counter = COMMANDS[name]
        number = len(self.ledger.entries) + 1
        key = f"{name}-{number}"
        body = json.dumps({
            "vendor": "px4",
            "device_id": "px4-real-1",
            "command_type": name,
            "payload": {**payload, counter: number},
            "idempotency_key": key,
            "timeout_seconds": timeout_seconds or self.randomness.randint(2, 8),
        }).encode()
        self.ledger.add(key, body, command, number)
        self.publish_again(key)
        return key

    def publish_again(self, key):
        """The same request, signed anew for this boot."""
        body = self.ledger.entries[key].body
        self.ledger.publish(key)
        signed = signing.properties(body, challenge=self.ledger.presence["challenge"])
        self.publisher.publish(body, sign=False, properties=signed)

    def load(self, seconds):
        """New commands, and all that the agent was asked before the cut."""
        asked_again = set()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            again = [key for key in self.ledger.unconfirmed() if key not in asked_again]
            if again and self.randomness.random() < 0.6:
                # The newest first: a disk that loses something loses them.
                key = again[-1]
                asked_again.add(key)
                self.publish_again(key)
            else:
                self.publish_new()
            time.sleep(self.randomness.expovariate(REQUESTS_PER_SECOND))
            self.ledger.read()

    def wait_until(self, is_done, again=()):
        """Waits until the ledger says so, or for long enough; `again` is published first."""
        for key in again:
            self.publish_again(key)
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while not is_done() and time.monotonic() < deadline:
            time.sleep(0.05)
            self.ledger.read()

    def finish(self):
        """Every command must be known and end; what was refused is tried again."""
        ledger = self.ledger
        self.wait_until(lambda: not ledger.unconfirmed(), again=ledger.unconfirmed())
        self.wait_until(lambda: not ledger.unfinished())
        # Late frames and late updates.
        self.vehicle.fence()
        ledger.read()
        for key in ledger.unconfirmed():
            ledger.complain(f"{key} was lost: nothing answers it")
        for key in ledger.unfinished():
            updates = ledger.entries[key].updates.values()
            ledger.complain(f"{key} has no end: {[summary(update) for update in updates]}")

    def console(self):
        if not self.machine.console.exists():
            return ""
        return self.machine.console.read_text(errors="replace")

    def new_console(self):
        """What the guest logged since the last power-on."""
        return self.console()[self._console_read :]


def orderly_reboot(rig):
    """Commands that ended, wait and queue, then a reboot, then the same requests again."""
    ledger = rig.ledger
    rig.power_on()
    done = [rig.publish_new(name, timeout_seconds=30) for name in COMMANDS for _ in range(4)]
    rig.wait_until(lambda: all(ledger.entries[key].is_finished() for key in done))
    # One at a time of the same type: the first is sent and not answered, the others wait.
    rig.vehicle.on(mavlink.MAV_CMD_DO_SET_RELAY, [])
    waiting = [rig.publish_new("do_set_relay", timeout_seconds=60) for _ in range(5)]
    rig.wait_until(lambda: all(ledger.entries[key].shown for key in waiting))
    rig.wait_until(lambda: ledger.entries[waiting[0]].frames > 0)
    session = ledger.presence["session"]
    ledger.power_is_off()
    rig.machine.reboot()
    rig.wait_ready(session)
    rig.vehicle.on(mavlink.MAV_CMD_DO_SET_RELAY, [Ack(mavlink.MAV_RESULT_ACCEPTED)])
    if "downlinkd.service: Deactivated successfully" not in rig.new_console():
        ledger.complain(f"the agent did not end in an orderly way; see {rig.machine.console}")
    rig.wait_until(lambda: not ledger.unconfirmed(), again=ledger.unconfirmed())
    after = [rig.publish_new(name, timeout_seconds=30) for name in COMMANDS]
    rig.wait_until(lambda: all(ledger.entries[key].is_finished() for key in after))
    rig.finish()
    print(f"orderly reboot: {describe(ledger)}", flush=True)
    rig.cut_power()
    settle(rig)


def power_cuts(rig, count, cuts, stop_at_first):
    """Cuts the power under load, `count` times, and counts on in `cuts`."""
    while cuts.done < count:
        began = time.monotonic()
        rig.power_on()
        booted = time.monotonic() - began
        known = len(rig.ledger.entries)
        under_load = rig.randomness.uniform(0.5, 8.0)
        rig.load(under_load)
        # It was the former cut that did it.
        if stop_at_first and rig.ledger.violations:
            return
        # Most moments are between two commits; these are not.
        for _ in range(rig.randomness.randint(1, 6)):
            rig.publish_new()
        time.sleep(rig.randomness.uniform(0, 0.1))
        rig.cut_power()
        fate = settle(rig)
        if fate is None:
            cuts.unknown += 1
            continue
        cuts.done += 1
        print(
            f"cut {cuts.done}: up after {booted:.1f} s, {under_load:.1f} s of load, "
            f"{len(rig.ledger.entries) - known} new commands; {fate.durable} requests to the disk "
            f"up to the last flush, after it {fate.kept} writes kept, {fate.torn} torn, "
            f"{fate.dropped} dropped",
            flush=True,
        )


def settle(rig):
    try:
        return rig.machine.settle(rig.randomness)
    except write_log.Incomplete as incomplete:
        print(f"not counted as a cut: {incomplete}", flush=True)
        return None


def describe(ledger):
    outcomes = ", ".join(f"{count} {what}" for what, count in ledger.outcomes().most_common())
    return f"{len(ledger.entries)} commands, {ledger.frames()} frames; {outcomes}"


def pack(target: Path, deb: Path, port):
    """What the guest installs."""
    rules = "".join(f'[[guard.command]]\ntype = "{name}"\ngrant = false\n' for name in COMMANDS)
    configuration = f"""\
[device]
id = "px4-real-1"
[mqtt]
url = "mqtt://{HOST_ADDRESS}:{port}"
[link]
endpoint = "serial:{GUEST_PORT}:115200"
[guard]
mode = "guarded"
[[guard.issuer]]
id = "cloud"
commands = ["*"]
[[guard.issuer.key]]
kid = "1"
hmac_key_file = "/etc/downlinkd/keys/cloud-1.hmac"
{rules}
[delivery]
# Else a late answer would end a command a second time, as it should.
late_ack_window = "0s"
"""
    with tarfile.open(target, "w") as archive:
        archive.add(deb, "downlinkd.deb")
        archive.add(HERE / "setup", "setup")
        for name, text in (
            ("downlinkd.toml", configuration),
            ("cloud-1.hmac", f"hex:{signing.secret('cloud').hex()}\n"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--deb", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--cuts", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument(
        "--expect-loss",
        action="store_true",
        help="power cuts alone, up to the first violation; without one, fail",
    )
    arguments = parser.parse_args()
    began = time.monotonic()
    print(f"seed {arguments.seed}, {arguments.cuts} cuts, {arguments.deb.name}", flush=True)
    rig = Rig(arguments.base, arguments.deb, arguments.folder, random.Random(arguments.seed))
    cuts = Cuts()
    # Broker and machine end with this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        rig.install()
        if not arguments.expect_loss:
            orderly_reboot(rig)
        if not rig.ledger.violations:
            power_cuts(rig, arguments.cuts, cuts, stop_at_first=arguments.expect_loss)
        if not (arguments.expect_loss and rig.ledger.violations):
            rig.power_on()
            rig.finish()
    except AgentDown:
        pass
    finally:
        rig.close()
    ledger = rig.ledger
    again = ", ".join(f"{count} {code}" for code, count in ledger.errors.items()) or "none"
    print(
        f"{cuts.done} power cuts ({cuts.unknown} more not counted): {describe(ledger)}; "
        f"refused and tried again: {again}; {time.monotonic() - began:.0f} s"
    )
    for violation in ledger.violations:
        print(f"VIOLATION: {violation}")
    if arguments.expect_loss:
        found = cuts.done > 0 and bool(ledger.violations)
        print(f"caught after {cuts.done} cuts" if found else "NOT CAUGHT")
        return 0 if found else 1
    return 1 if ledger.violations else 0


if __name__ == "__main__":
    sys.exit(main())
