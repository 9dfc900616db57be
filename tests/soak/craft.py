"""The vehicle of a soak: it streams, answers, reboots, and stands at the end of a noisy line."""

import itertools
import os
import threading
import time
from dataclasses import dataclass
from functools import partial

from pymavlink.dialects.v10 import common as mavlink1
from pymavlink.dialects.v20 import development as mavlink

from commands import MoodyVehicle, number_of
from line import FAULTS, Noise, NoisyLine
from stream import onboard
from vehicle import Ack, heartbeat

# PX4 acknowledges first.
REBOOT_DELAY_S = 0.4
OTHER_AUTOPILOT = (2, 1)
GROUND_STATION = (255, 190)


@dataclass(frozen=True)
class Answer:
    """A COMMAND_ACK that stood on the line as it should, and when (Unix time)."""

    at: float
    command: int
    ack: Ack


class Craft(MoodyVehicle):
    def __init__(self, port, asked, seed):
        self.noise = Noise(seed)
        self._node = None
        super().__init__(port, asked, heartbeat_interval_s=1.0, cable=self._noisy_line)
        self._onboard = onboard(seed)
        self.streaming = True
        # While it boots it neither reads nor says anything.
        self.booting = False
        # When it goes down (monotonic), and for which of the commands that ask for it.
        self.reboot_at = None
        self.reboot_number = None
        # The answers that the agent could read.
        self.answered = []
        self.nodes = 0
        self._stream = None
        self._traffic = {
            "another autopilot": partial(self.say, heartbeat(), source=OTHER_AUTOPILOT),
            "answers for others": self._answer_others,
            "MAVLink 1": self._say_in_version_1,
        }
        self._version_1 = mavlink1.MAVLink(None, *OTHER_AUTOPILOT)

    def plug_in(self):
        super().plug_in()
        self._stream = threading.Thread(target=self._run_stream, name="stream", daemon=True)
        self._stream.start()

    def unplug(self):
        # The cable must not be closed under a writer.
        self._unplugged.set()
        self._stream.join()
        super().unplug()

    def power_down(self):
        """What it was about to do is forgotten."""
        self.booting = True
        self.heartbeats = False
        self._later.clear()
        self.reboot_at = None

    def boot(self):
        self.booting = False
        self.heartbeats = True

    def strike(self, what, frames, is_aimed):
        """Damages the next frames, or puts traffic of others between them."""
        with self._lock:
            if what in FAULTS:
                self.noise.strike(what, frames, is_aimed)
                return
            for _ in range(frames):
                self._traffic[what]()

    def answers_to(self, message):
        if self.booting:
            return []
        if message.command == mavlink.MAV_CMD_PREFLIGHT_REBOOT_SHUTDOWN:
            self.reboot_at = time.monotonic() + REBOOT_DELAY_S
            self.reboot_number = number_of(message)
        return super().answers_to(message)

    def _send_ack(self, command, ack, sender):
        # Nothing else may come between the frame and what became of it.
        with self._lock:
            at = time.time()
            sent = super()._send_ack(command, ack, sender)
            if sent and self.noise.was_intact:
                self.answered.append(Answer(at, command, ack))
            return sent

    def _answer_others(self):
        """What we may be waiting for, to somebody else's command."""
        for command in (mavlink.MAV_CMD_DO_SET_SERVO, mavlink.MAV_CMD_DO_SET_HOME):
            message = mavlink.MAVLink_command_ack_message(
                command, mavlink.MAV_RESULT_ACCEPTED, 0, 0, *GROUND_STATION
            )
            self.say(message)

    def _say_in_version_1(self):
        self.say(mavlink1.MAVLink_attitude_message(1, *6 * [0.5]).pack(self._version_1))

    def _noisy_line(self, port):
        line = NoisyLine(port, self.noise, former=self._node)
        node = os.readlink(port)
        self.nodes += node != self._node
        self._node = node
        return line

    def _run_stream(self):
        begun = time.monotonic()
        for second in itertools.count():
            for offset, message in self._onboard:
                wait = begun + second + offset - time.monotonic()
                if wait > 0:
                    self._unplugged.wait(wait)
                if self._unplugged.is_set():
                    return
                if self.streaming and not self.booting:
                    self.say(message)
