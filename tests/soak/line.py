"""A serial line that damages what it carries."""

import os
import random
from collections import Counter, deque

from pymavlink.dialects.v20 import development as mavlink

from vehicle import Pty


class Noise:
    """What is about to happen to the line, and what has happened. Outlives the cable."""

    def __init__(self, seed):
        self._chance = random.Random(seed)
        self._outgoing = deque()
        self._aimed = deque()
        self._incoming = deque()
        self._tail = b""
        # Whether the frame that was carried last can be read at the other end.
        self.was_intact = True
        # Frames on the line, and those of them that can be read at its end.
        self.frames = Counter()

    def strike(self, fault, frames, is_aimed):
        """One of FAULTS, for the next frames that the vehicle sends (of COMMAND_ACK, if it is aimed)
        or the next bytes it gets."""
        if fault == "towards the vehicle":
            queue = self._incoming
        else:
            queue = self._aimed if is_aimed else self._outgoing
        queue.extend([fault] * frames)

    def end(self):
        """What has not struck yet never will."""
        for queue in (self._outgoing, self._aimed, self._incoming):
            queue.clear()

    def carry(self, frame):
        """What the agent's end gets of a frame."""
        queue = self._aimed if self._aimed and is_command_ack(frame) else self._outgoing
        before, on_line, tail = b"", frame, b""
        if queue:
            before, on_line, tail = FAULTS[queue.popleft()](self._chance, frame)
        self.was_intact = on_line == frame
        on_line = before + on_line + self._tail
        self._tail = tail
        return on_line

    def carry_back(self, data):
        """What the vehicle gets of the agent's bytes."""
        if not data or not self._incoming:
            return data
        return FAULTS[self._incoming.popleft()](self._chance, data)[1]


def is_command_ack(frame):
    return frame[7:10] == mavlink.MAVLINK_MSG_ID_COMMAND_ACK.to_bytes(3, "little")


def random_bytes(chance, frame):
    return chance.randbytes(chance.randint(1, 400)), frame, b""


def flipped_bits(chance, frame):
    flipped = bytearray(frame)
    for bit in chance.sample(range(8 * len(frame)), chance.randint(1, 8)):
        flipped[bit // 8] ^= 1 << bit % 8
    return b"", bytes(flipped), b""


def lost_bytes(chance, frame):
    begin = chance.randrange(len(frame))
    return b"", frame[:begin] + frame[begin + chance.randint(1, len(frame)) :], b""


def cut_and_glued(chance, frame):
    """The rest of the frame comes behind the next one."""
    at = chance.randint(1, len(frame) - 1)
    return b"", frame[:at], frame[at:]


def stray_marker(chance, frame):
    """The header of a frame of 255 bytes, of a message that carries anything, and no such frame."""
    flags = chance.choice((0, mavlink.MAVLINK_IFLAG_SIGNED))
    tunnel = mavlink.MAVLINK_MSG_ID_TUNNEL.to_bytes(3, "little")
    return bytes([0xFD, 255, flags, 0, chance.randrange(256), 1, 1]) + tunnel, frame, b""


# Each from a frame: what stands before it, what is left of it, what comes behind the next one.
FAULTS = {
    "random bytes": random_bytes,
    "flipped bits": flipped_bits,
    "lost bytes": lost_bytes,
    "cut and glued": cut_and_glued,
    "stray marker": stray_marker,
    "towards the vehicle": flipped_bits,
}


class NoisyLine(Pty):
    """A pty with this noise on it, under another device name than the one before."""

    def __init__(self, port, noise, former=None):
        self._noise = noise
        super().__init__(port)
        if os.readlink(port) == former:
            self._renew()

    def write(self, data):
        on_line = self._noise.carry(data)
        frame = Counter(sent=1, intact=int(self._noise.was_intact))
        # Before it is written: the agent may have read it before this thread goes on.
        self._noise.frames.update(frame)
        carried = super().write(on_line)
        if not carried:
            self._noise.frames.subtract(frame)
        return carried

    def read(self):
        return self._noise.carry_back(super().read())
