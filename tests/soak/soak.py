"""An accelerated hour: the timeline, step by step, while memory is sampled."""

import math
import time
from dataclasses import dataclass
from functools import partial
from itertools import count, cycle

import http_client
from commands import HARMLESS, Asked
from craft import Craft
from observed import TIMEOUT_S
from process import resident_kb, service_environment
from watcher import Watcher
from world import Violation, World

SAMPLE_EVERY_S = 0.5
TICK_S = 0.01
# Above all that a timeline asks for.
FIRST_WARM_UP = 100_000
# A little more often than an hour's, so that the hour's are no more at a time.
WARM_UP_EVERY_S = 0.25
LONGEST_WARM_UP_S = 600
WARM_UP_TIMEOUT_S = 10


@dataclass
class Gap:
    """A time without the vehicle (Unix times)."""

    down: float
    up: float = math.inf


class Soak(World):
    """`noise`, `ask`, `unplug` and `reboot` are the steps that a timeline names."""

    def __init__(self, folder, seed):
        super().__init__(folder, make_vehicle=partial(Craft, seed=seed))
        self.agent.environment = service_environment()
        self.watcher = Watcher(self.broker.port)
        self.gaps = []
        self.resident = []
        # When what is away comes back (monotonic), and how.
        self._return = None
        # How the vehicle goes down for a command that asks for it.
        self._reboots = {}

    def start(self):
        super().start()
        self.watcher.connect()

    def warm_up(self):
        """Commands on a clean line until the journal has its usual size: their nonces are forgotten
        after two minutes, and then the first of them leave for the archive."""
        asked = []
        until = time.monotonic() + LONGEST_WARM_UP_S
        for number, kind in zip(count(FIRST_WARM_UP), cycle(HARMLESS), strict=False):
            if any(self.agent.journal.glob("archive/commands-*")):
                break
            if time.monotonic() > until:
                raise Violation("no command goes to the archive")
            asked.append(Asked(number, kind, "accept", WARM_UP_TIMEOUT_S))
            self.ask(asked[-1])
            time.sleep(WARM_UP_EVERY_S)
        self._wait_ended(asked)

    def run(self, steps):
        """Does each step when it is due, and leaves a clean line with a vehicle on it."""
        begun = time.monotonic()
        next_sample = begun
        for step in steps:
            while (now := time.monotonic()) < begun + step.at:
                if now >= next_sample:
                    self.resident.append(resident_kb(self.agent.pid))
                    next_sample += SAMPLE_EVERY_S
                self._turn(now)
                time.sleep(TICK_S)
            self._turn(now)
            getattr(self, step.name)(**step.arguments)
        while self._return or self.vehicle.reboot_at:
            self._turn(time.monotonic())
            time.sleep(TICK_S)
        self.vehicle.noise.end()

    def noise(self, what, frames, is_aimed):
        self.events[f"noise: {what}"] += 1
        if self.vehicle.port.exists():
            self.vehicle.strike(what, frames, is_aimed)

    def unplug(self, seconds):
        if self._return is None:
            self.events["unplugged"] += 1
            self._take_away(True, seconds)

    def reboot(self, asked, node_goes, seconds):
        self._reboots[asked.number] = (node_goes, seconds)
        self.ask(asked)

    def metric(self, name):
        """The value of one of the agent's metrics that has no labels."""
        text = http_client.ask(self.agent, "GET", "/metrics").body.decode()
        return next(
            int(float(line.split()[1]))
            for line in text.splitlines()
            if line.startswith(f"downlinkd_{name} ")
        )

    def close(self):
        self.watcher.close()
        super().close()

    def _wait_ended(self, asked):
        until = time.monotonic() + TIMEOUT_S
        while not all(map(self.ledger.has_ended, asked)):
            if time.monotonic() > until:
                raise Violation("commands on a clean line do not end")
            time.sleep(TICK_S)
            self.ledger.read()

    def _turn(self, now):
        """What is due beside the timeline."""
        if self.agent.exit_code() is not None:
            raise Violation(f"the agent has ended: {self.agent.exit_code()}")
        if self._return is not None and now >= self._return[0]:
            self._bring_back()
        if self.vehicle.reboot_at is not None and now >= self.vehicle.reboot_at:
            self.vehicle.power_down()
            # Else it was unplugged in its last moment, and boots while it is away.
            if self._return is None:
                self.events["rebooted"] += 1
                self._take_away(*self._reboots[self.vehicle.reboot_number])

    def _take_away(self, node_goes, seconds):
        self.gaps.append(Gap(down=time.time()))
        self._return = (time.monotonic() + seconds, node_goes)
        if node_goes:
            self.vehicle.unplug()

    def _bring_back(self):
        _, node_goes = self._return
        self._return = None
        self.gaps[-1].up = time.time()
        self.vehicle.boot()
        if node_goes:
            self.vehicle.plug_in()
