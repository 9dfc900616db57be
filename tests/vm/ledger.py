"""What was asked of the agent, what came back, and what of it breaks the promise.

The promise: a command that the agent acknowledged in any way, by a PUBACK, a reply, an update or a
frame, ends in exactly one terminal status, which reaches the publisher; a command is sent once at
most; a sequence number is never used again for another content.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from seeds import BASE

# Refusals that make no command, and after which the same key can be tried again: signed under the
# challenge of a boot that is over, which the guest's untrusted clock does not take, or no place in
# the queue. Of the former only so many are answered in a second.
TRY_AGAIN = {"auth.clock_untrusted", "auth.stale", "busy.queue_full"}

# mosquitto's log: what it sends for the first time, in the order of the publishes; a redelivery keeps
# the number.
AGENT = "downlinkd-px4-real-1"
SENT = re.compile(rf"Sending PUBLISH to {AGENT} \(d0, q1, r0, m(\d+), '{BASE}/commands/")
ACKNOWLEDGED = re.compile(rf"Received PUBACK from {AGENT} \(Mid: (\d+)")


@dataclass
class Entry:
    """One idempotency key."""

    body: bytes
    # In the journal for certain, since the agent has shown it.
    shown: bool = False
    # Shown before the last cut, so a later answer must know it.
    survives: bool = False
    # Answered as a command since the last cut.
    confirmed: bool = False
    accepted_anew: int = 0
    frames: int = 0
    updates: dict = field(default_factory=dict)

    def terminals(self):
        return [update for update in self.updates.values() if update["terminal"]]

    def is_finished(self):
        return self.shown and bool(self.terminals())


class Ledger:
    """Follows publisher, vehicle and broker; `violations` says what went wrong, in words."""

    def __init__(self, publisher, vehicle, broker_log: Path):
        self.entries = {}
        self.violations = []
        self.errors = Counter()
        self.presence = None
        self._publisher = publisher
        self._vehicle = vehicle
        self._messages_read = 0
        self._frames_read = 0
        self._keys_by_frame = {}
        self._broker_log = broker_log
        self._log_read = 0
        self._sent_to_agent = 0
        self._index_by_number = {}
        # The keys in the order of all publishes, and how many of these came before this boot.
        self._published = []
        self._of_former_boots = 0

    def add(self, key, body, command, number):
        """To be called before the request is published; `number` stands in its frame."""
        self.entries[key] = Entry(body)
        self._keys_by_frame[command, number] = key

    def publish(self, key):
        """To be called before each publish of a request, the first one and all later ones."""
        self._published.append(key)

    def unconfirmed(self):
        return [key for key, entry in self.entries.items() if not entry.confirmed]

    def unfinished(self):
        return [key for key, entry in self.entries.items() if not entry.is_finished()]

    def read(self):
        """Takes in what has come since the last call."""
        messages = self._publisher.messages.since(self._messages_read)
        self._messages_read += len(messages)
        for message in messages:
            self._read_message(message.topic, message.body)
        frames = self._vehicle.frames.since(self._frames_read)
        self._frames_read += len(frames)
        for frame in frames:
            if frame.type in ("COMMAND_LONG", "COMMAND_INT"):
                self._read_frame(frame.message)

    def power_is_off(self):
        """From now on, whatever was shown so far must be known to the agent."""
        self.read()
        self._read_broker_log()
        self._of_former_boots = len(self._published)
        for entry in self.entries.values():
            entry.survives = entry.shown
            entry.confirmed = False

    def outcomes(self):
        """How many commands ended how."""
        return Counter(
            f"{update['status']} {update['response_code']}"
            for entry in self.entries.values()
            for update in entry.terminals()
        )

    def frames(self):
        return sum(entry.frames for entry in self.entries.values())

    def complain(self, text):
        self.violations.append(text)

    def _read_message(self, topic, body):
        kind = topic.removeprefix(f"{BASE}/").split("/")[0]
        if kind == "presence":
            self.presence = body
        elif kind == "replies":
            self._read_reply(body)
        elif kind == "lifecycle":
            self._read_update(body)

    def _read_broker_log(self):
        """A request that is acknowledged in the boot that it was signed for has made a command."""
        with self._broker_log.open(errors="replace") as log:
            log.seek(self._log_read)
            lines = log.readlines()
            self._log_read = log.tell()
        for line in lines:
            if sent := SENT.search(line):
                self._index_by_number[sent[1]] = self._sent_to_agent
                self._sent_to_agent += 1
            elif acknowledged := ACKNOWLEDGED.search(line):
                index = self._index_by_number[acknowledged[1]]
                if index >= self._of_former_boots:
                    self.entries[self._published[index]].shown = True

    def _read_reply(self, body):
        key = body["idempotency_key"]
        entry = self.entries[key]
        if "error" in body:
            code = body["error"]["code"]
            self.errors[code] += 1
            if code not in TRY_AGAIN:
                self.complain(f"{key} was refused: {body['error']}")
            elif entry.survives:
                self.complain(f"{key} was lost: after the cut it was answered with {code}")
            return
        if not body["duplicate"]:
            entry.accepted_anew += 1
            if entry.survives or entry.accepted_anew > 1:
                self.complain(f"{key} was lost: it was accepted a second time")
        entry.shown = entry.confirmed = True

    def _read_update(self, update):
        key = update["idempotency_key"]
        entry = self.entries[key]
        entry.shown = True
        former = entry.updates.setdefault(update["seq"], update)
        if former != update:
            both = f"{summary(former)} and {summary(update)}"
            self.complain(f"{key} used seq {update['seq']} for {both}")
        terminals = entry.terminals()
        if len(terminals) > 1 and update in terminals and former is update:
            self.complain(f"{key} ended twice: {', '.join(map(summary, terminals))}")

    def _read_frame(self, message):
        number = message.z if message.get_type() == "COMMAND_INT" else message.param1
        key = self._keys_by_frame.get((message.command, int(number)))
        if key is None:
            self.complain(f"a frame that nobody asked for: {message}")
            return
        entry = self.entries[key]
        entry.shown = True
        entry.frames += 1
        if entry.frames > 1:
            self.complain(f"{key} was sent {entry.frames} times")


def summary(update):
    return f"{update['status']} ({update['response_code']}) of {update['updated_at']}"
