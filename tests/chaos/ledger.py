"""What publisher and vehicle have seen of each command, and whether that keeps the promises."""

import uuid
from collections import Counter, defaultdict

from commands import RETRANSMITS, VEHICLE, number_of

ORDER = {"ACCEPTED": 0, "DELIVERED": 1, "SUCCEEDED": 2, "FAILED": 2, "TIMED_OUT": 2,
         "UNMATCHED_RESPONSE": 3}


class Ledger:
    """Grows with `read`; `check` is for the end of a round."""

    def __init__(self, messages, frames):
        self.violations = []
        self._messages = messages
        self._frames = frames
        self._read_messages = 0
        self._read_frames = 0
        # By idempotency key: updates by seq in the order of their arrival; create replies; frames.
        self._updates = defaultdict(dict)
        self._replies = defaultdict(list)
        self._frames_of = defaultdict(list)

    def read(self):
        for message in self._messages.since(self._read_messages):
            self._read_messages += 1
            if "/lifecycle/" in message.topic:
                self._read_update(message.body)
            elif "/replies/" in message.topic and "accepted_at" in message.body:
                if "duplicate" in message.body:
                    self._replies[message.body["idempotency_key"]].append(message.body)
            elif "/replies/" in message.topic and "error" in message.body:
                self._read_error(message.body)
        for frame in self._frames.since(self._read_frames):
            self._read_frames += 1
            if frame.type in ("COMMAND_LONG", "COMMAND_INT"):
                self._frames_of[f"chaos-{number_of(frame.message)}"].append(frame)

    def is_known(self, asked):
        """Whether there is a sign that the agent has it."""
        return any(asked.key in seen for seen in (self._updates, self._replies, self._frames_of))

    def has_ended(self, asked):
        return any(update["terminal"] for update in self._updates.get(asked.key, {}).values())

    def status(self, asked):
        updates = self._updates.get(asked.key)
        return updates[max(updates)]["status"] if updates else None

    def last_number(self, asked):
        return max(self._updates.get(asked.key, {}), default=0)

    def updates(self, asked):
        """All that was told of it, in the order of their numbers."""
        updates = self._updates.get(asked.key, {})
        return [updates[seq] for seq in sorted(updates)]

    def compare(self, asked, answer):
        """Holds the answer to a query against the updates."""
        told = self._updates[asked.key].get(answer["seq"])
        if told != answer:
            self._violated(asked, f"the journal has {answer}, told was {told}")

    def check(self, asked_by_number, answers):
        """All promises of a round that has come to rest. `answers`: the vehicle's, to whom they
        were meant."""
        for asked in asked_by_number.values():
            updates = self._updates.get(asked.key, {})
            self._check_updates(asked, updates)
            self._check_replies(asked, updates)
            self._check_frames(asked, updates)
            for update in updates.values():
                self._check_result(asked, update["vendor_response"], answers)
        known = {asked.key for asked in asked_by_number.values()}
        for key in set(self._frames_of) - known:
            self.violations.append(f"{key}: nobody asked for this frame")

    def tally(self, asked_by_number):
        """How the commands ended, for the summary."""
        ends = [self.status(asked) or "not taken in" for asked in asked_by_number.values()]
        return Counter(ends)

    def frames(self):
        return sum(len(frames) for frames in self._frames_of.values())

    def duplicate_replies(self):
        replies = (reply for replies in self._replies.values() for reply in replies)
        return sum(reply["duplicate"] for reply in replies)

    def _read_update(self, update):
        key, seq = update["idempotency_key"], update["seq"]
        updates = self._updates[key]
        if seq not in updates and updates and seq < max(updates):
            self.violations.append(f"{key}: seq {seq} came after {max(updates)}")
        before = updates.setdefault(seq, update)
        if before != update:
            self.violations.append(f"{key}: seq {seq} is both {before} and {update}")

    def _read_error(self, reply):
        # Only another content under a known key may be refused.
        if reply["error"]["code"] != "idempotency.conflict":
            self.violations.append(f"{reply.get('idempotency_key')}: refused: {reply['error']}")

    def _check_updates(self, asked, updates):
        if not updates:
            return
        in_order = self.updates(asked)
        statuses = [update["status"] for update in in_order]
        ranks = [ORDER[status] for status in statuses]
        if ranks != sorted(ranks):
            self._violated(asked, f"went back: {statuses}")
        decisions = [
            update["status"]
            for update in in_order
            if update["terminal"] and update["status"] != "DELIVERED"
        ]
        nobody_waits = asked.timeout_s == 0
        decided_once = len(decisions) == 1 or decisions == ["TIMED_OUT", "UNMATCHED_RESPONSE"]
        if not in_order[-1]["terminal"] or not (decided_once or nobody_waits and not decisions):
            self._violated(asked, f"did not end once: {statuses}")

    def _check_replies(self, asked, updates):
        seen = [*updates.values(), *self._replies.get(asked.key, [])]
        own = uuid.uuid5(uuid.NAMESPACE_URL, f"{VEHICLE}/cloud/{asked.key}")
        if {one["command_id"] for one in seen} - {str(own)}:
            self._violated(asked, "told under a foreign command_id")
        if len({one["accepted_at"] for one in seen}) > 1:
            self._violated(asked, "was accepted twice")

    def _check_frames(self, asked, updates):
        frames = self._frames_of.get(asked.key, [])
        forms = [frame.type for frame in frames]
        confirmations = [getattr(frame.message, "confirmation", 0) for frame in frames]
        if asked.kind.retransmitted:
            as_allowed = confirmations == sorted(set(confirmations))
            as_allowed = as_allowed and set(confirmations) <= set(range(RETRANSMITS + 1))
        elif asked.mood == "other form":
            as_allowed = len(forms) == len(set(forms))
        else:
            as_allowed = len(frames) <= 1
        if not as_allowed:
            self._violated(asked, f"went out as {list(zip(forms, confirmations, strict=True))}")
        if updates:
            last = updates[max(updates)]
            if frames and last["vendor_response"]["frame_sent"] is False:
                self._violated(asked, f"a frame went out, and it is denied: {last}")

    def _check_result(self, asked, response, answers):
        """Every result was given by the vehicle; whose it was, COMMAND_ACK alone cannot tell."""
        if response["result"] is None:
            return
        result = (response["mavlink_command_id"], response["result"], response["result_param2"])
        if result not in answers:
            self._violated(asked, f"the vehicle never answered {result}")

    def _violated(self, asked, what):
        self.violations.append(f"{asked.key} ({asked.command_type}, {asked.mood}): {what}")
