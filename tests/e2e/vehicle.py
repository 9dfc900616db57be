"""A vehicle on a pty, spoken for by pymavlink: a codec that had no part in writing the frames."""

import errno
import heapq
import itertools
import os
import pty
import select
import threading
import time
import tty
from dataclasses import dataclass
from pathlib import Path

from pymavlink.dialects.v20 import development as mavlink

from observed import Observed

HEARTBEAT_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Ack:
    """A COMMAND_ACK. Its target is the sender of the command, unless given."""

    result: int
    progress: int = 0
    result_param2: int = 0
    source: tuple = (1, 1)
    target: tuple | None = None
    # Seconds from the frame to the answer.
    after: float = 0.0


@dataclass(frozen=True)
class Frame:
    """A MAVLink frame as it arrived."""

    message: mavlink.MAVLink_message
    raw: bytes

    @property
    def type(self):
        return self.message.get_type()


class Vehicle:
    """An autopilot 1/1 behind `port`, a symlink to the slave side of a pty.

    It sends HEARTBEAT at 1 Hz and answers every command with ACCEPTED, unless told otherwise.
    """

    def __init__(
        self, port: Path, heartbeats=True, heartbeat_interval_s=HEARTBEAT_INTERVAL_S, cable=None
    ):
        """`cable` makes the vehicle's end of the link from `port`; without it, a pty."""
        self.port = port
        self.frames = Observed()
        self.heartbeats = heartbeats
        self._heartbeat_interval_s = heartbeat_interval_s
        # By when they are due; the count keeps the order of those due at once.
        self._later = []
        self._count = itertools.count()
        self._scripts = {}
        self._answered = {}
        self._codecs = {}
        self._signing = None
        self._lock = threading.RLock()
        self._make_cable = cable or Pty
        self._cable = None
        self._thread = None
        self._unplugged = threading.Event()

    def on(self, command, *answers):
        """Scripts the answers to a MAV_CMD.

        Each of `answers` is the list of Acks to one frame: the first list to the first frame, and
        so on; the last list goes on for all later frames. An empty list is a vehicle that never
        answers.
        """
        self._scripts[command] = answers

    def sign(self, key, timestamp=None):
        """From the next `plug_in` on: signs every frame and takes none that is not signed with `key`.

        Its time begins with `timestamp`; without one, with the present.
        """
        self._signing = signing(key, timestamp)
        self._codecs.clear()

    def answers_to(self, message):
        """The Acks to a command that has just arrived: those of the script."""
        answers = self._scripts.get(message.command, ([Ack(mavlink.MAV_RESULT_ACCEPTED)],))
        seen = self._answered.get(message.command, 0)
        self._answered[message.command] = seen + 1
        return answers[min(seen, len(answers) - 1)]

    def plug_in(self):
        self._unplugged.clear()
        self._cable = self._make_cable(self.port)
        self._thread = threading.Thread(target=self._run, name="vehicle", daemon=True)
        self._thread.start()

    def unplug(self):
        """Pulls the cable: the port and its symlink are gone."""
        self._unplugged.set()
        self._thread.join()
        self._thread = None
        self._cable.close()

    def close(self):
        if self._thread is not None:
            self.unplug()

    def acknowledge(self, command, ack: Ack):
        """Sends a COMMAND_ACK now, to the agent (1/191) unless the ack names a target."""
        if not self._send_ack(command, ack, sender=(1, 191)):
            raise RuntimeError(f"nobody has {self.port} open")

    def say(self, what, source=(1, 1)):
        """Sends these bytes, or a message, now; they are lost when nobody listens."""
        with self._lock:
            self._cable.write(what if isinstance(what, bytes | bytearray) else self.pack(what, source))

    def write(self, data):
        """Sends these bytes now."""
        with self._lock:
            if not self._cable.write(data):
                raise RuntimeError(f"nobody has {self.port} open")

    def pack(self, message, source=(1, 1)):
        """A frame as the vehicle would send it now."""
        with self._lock:
            codec = self._codecs.get(source)
            if codec is None:
                codec = self._codecs[source] = mavlink.MAVLink(None, *source)
                codec.signing = self._signing or codec.signing
            data = message.pack(codec)
            codec.seq = (codec.seq + 1) % 256
            return bytes(data)

    def commands(self, command=None):
        """The COMMAND_LONG and COMMAND_INT frames so far, of one MAV_CMD or of all."""
        return commands_of(self.frames.since(), command)

    def wait_commands(self, count, command=None):
        """Waits for at least `count` command frames and returns them all."""
        return self.frames.wait_for(
            lambda frames: enough(commands_of(frames, command), count),
            f"{count} frames of command {command}",
        )

    def fence(self):
        """Waits for two more heartbeats of the agent.

        The wire keeps its order, so a frame that the agent sent before the call has arrived.
        """
        self.frames.wait_for(
            lambda frames: sum(frame.type == "HEARTBEAT" for frame in frames) >= 2,
            "two heartbeats of the agent",
            mark=len(self.frames),
        )

    def _run(self):
        parser = mavlink.MAVLink(None)
        # Garbage becomes a BAD_DATA entry in the log instead of an exception here.
        parser.robust_parsing = True
        # Sender and receiver share their time.
        parser.signing = self._signing or parser.signing
        next_heartbeat = time.monotonic()
        while not self._unplugged.is_set():
            if self.heartbeats and time.monotonic() >= next_heartbeat:
                # The first one goes out as soon as somebody listens: it saves every test a second.
                if self._send(heartbeat(), source=(1, 1)):
                    next_heartbeat = time.monotonic() + self._heartbeat_interval_s
            while self._later and self._later[0][0] <= time.monotonic():
                self._send_ack(*heapq.heappop(self._later)[2])
            for message in parser.parse_buffer(self._cable.read()) or []:
                self.frames.append(Frame(message, bytes(message.get_msgbuf())))
                self._answer(message)

    def _answer(self, message):
        if message.get_type() not in ("COMMAND_LONG", "COMMAND_INT"):
            return
        sender = (message.get_srcSystem(), message.get_srcComponent())
        for ack in self.answers_to(message):
            answer = (message.command, ack, sender)
            if ack.after == 0.0:
                self._send_ack(*answer)
            else:
                due = time.monotonic() + ack.after
                heapq.heappush(self._later, (due, next(self._count), answer))

    def _send_ack(self, command, ack, sender):
        target_system, target_component = ack.target or sender
        message = mavlink.MAVLink_command_ack_message(
            command, ack.result, ack.progress, ack.result_param2, target_system, target_component
        )
        return self._send(message, ack.source)

    def _send(self, message, source):
        with self._lock:
            return self._cable.write(self.pack(message, source))


class Pty:
    """The vehicle's end of the cable. What is sent while nobody listens is lost, as on a UART."""

    def __init__(self, port: Path):
        self._port = port
        self._master = None
        self._was_open = False
        self._lock = threading.Lock()
        self._renew()

    def read(self):
        """Bytes from the agent; none when none come within a moment."""
        with self._lock:
            master = self._master
        events = poll(master, timeout_ms=20)
        if events & select.POLLIN:
            self._was_open = True
            return read_available(master)
        if not events & select.POLLHUP:
            self._was_open = True
        elif self._was_open:
            # On a pty TIOCEXCL outlives the process that asked for it, other than on a UART: the
            # next one could not open the port. So it finds a new one behind the same name.
            self._renew()
        else:
            time.sleep(0.02)
        return b""

    def write(self, data):
        """False when nobody has the port open."""
        with self._lock:
            if poll(self._master, timeout_ms=0) & select.POLLHUP:
                return False
            return os.write(self._master, data) == len(data)

    def close(self):
        self._port.unlink()
        os.close(self._master)

    def _renew(self):
        with self._lock:
            former = self._master
            self._master, slave = pty.openpty()
            tty.setraw(slave)
            name = os.ttyname(slave)
            # From here on a missing slave reads as a hang-up: the sign that nobody listens.
            os.close(slave)
            self._was_open = False
            fresh = self._port.with_suffix(".new")
            fresh.symlink_to(name)
            fresh.replace(self._port)
            if former is not None:
                os.close(former)


def poll(descriptor, timeout_ms):
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return dict(poller.poll(timeout_ms)).get(descriptor, 0)


def read_available(descriptor):
    try:
        return os.read(descriptor, 4096)
    except OSError as error:
        # The other end was closed since the poll.
        if error.errno != errno.EIO:
            raise
        return b""


def signing(key, timestamp=None):
    """pymavlink's state of a peer that signs."""
    state = mavlink.MAVLinkSigning()
    state.secret_key = key
    state.sign_outgoing = True
    state.timestamp = signing_time() if timestamp is None else timestamp
    return state


def signing_time():
    """10 us since 2015 (mavlink.io, "Message Signing")."""
    return int((time.time() - 1_420_070_400) * 100_000)


def heartbeat():
    return mavlink.MAVLink_heartbeat_message(
        mavlink.MAV_TYPE_QUADROTOR,
        mavlink.MAV_AUTOPILOT_PX4,
        mavlink.MAV_MODE_FLAG_CUSTOM_MODE_ENABLED,
        0,
        mavlink.MAV_STATE_STANDBY,
        3,
    )


def commands_of(frames, command):
    return [
        frame
        for frame in frames
        if frame.type in ("COMMAND_LONG", "COMMAND_INT")
        and command in (None, frame.message.command)
    ]


def enough(found, count):
    return found if len(found) >= count else None
