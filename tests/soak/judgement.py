"""Whether what was told of the commands fits what the vehicle and the line did."""

import math
from collections import Counter, defaultdict
from datetime import datetime

from vehicle import Ack

# From what happens on the line until the agent takes notice: a busy disk holds up a commit so long.
# Less than the shortest timeout of a command.
SLACK_S = 0.9
# Times are told in whole milliseconds.
ROUNDING_S = 0.001
# Bounds for a broken agent, not for a busy machine.
LONGEST_RETURN_S = 10.0
LONGEST_NOTICE_S = 5.0
# What is promised.
RETURN_S = 2.0
ADDRESSED = (1, 1)
IN_PROGRESS = 5


class Judgement:
    def __init__(self, ledger, vehicle, gaps, watcher):
        self.violations = ledger.violations
        # Of what is no fault: for the summary.
        self.counts = Counter()
        self._ledger = ledger
        # When the vehicle went, when it came back, when the link was ready again; the last two may
        # be later than the next one's first.
        self._absences = [(gap.down, gap.up, watcher.first_ready(gap.up)) for gap in gaps]
        self._answers = defaultdict(list)
        for answer in vehicle.answered:
            self._answers[answer.command, answer.ack.result_param2].append(answer)

    def judge(self, asked_by_number):
        for _, up, ready in self._absences:
            if ready is None or ready - up > LONGEST_RETURN_S:
                self.violations.append(f"the link that was up again at {up} was ready at {ready}")
        for asked in asked_by_number.values():
            updates = self._ledger.updates(asked)
            for update in updates:
                if update["vendor_response"]["result"] is not None:
                    self._check_answer(asked, update)
                if update["terminal"]:
                    self._check_end(asked, update, [before["status"] for before in updates])

    def returns(self):
        """Seconds from each return of the port to a ready link, in order of length."""
        next_downs = [*(down for down, _, _ in self._absences), math.inf][1:]
        return sorted(
            ready - up
            for (_, up, ready), next_down in zip(self._absences, next_downs, strict=True)
            # What went again sooner has not had the time that is promised.
            if ready is not None and next_down - up > RETURN_S
        )

    def _check_answer(self, asked, update):
        """What counts as an answer stood on the line at that moment."""
        response = update["vendor_response"]
        source = (response["source_system"], response["source_component"])
        acked_at = unix(response["acked_at"])
        known = [
            answer
            for answer in self._answers[response["mavlink_command_id"], response["result_param2"]]
            if answer.ack.result == response["result"]
            and answer.ack.source == source
            and -ROUNDING_S <= acked_at - answer.at <= LONGEST_NOTICE_S
        ]
        if not known:
            self._violated(asked, f"no such answer was on the line: {update}")
        elif response["result_param2"] != asked.number:
            # COMMAND_ACK does not say whom it answers: it may have been for the command before.
            self.counts["ended by the answer to an older command"] += update["terminal"]

    def _check_end(self, asked, update, statuses):
        """The outcome is what the vehicle and the line made of it."""
        response, code = update["vendor_response"], update["response_code"]
        source = (response["source_system"], response["source_component"])
        fits = {
            "DELIVERED": asked.timeout_s == 0,
            "SUCCEEDED": response["result"] == 0 and source == ADDRESSED,
            "UNMATCHED_RESPONSE": "TIMED_OUT" in statuses or source != ADDRESSED,
            "FAILED": self._failure_fits(update, code or "", source),
            "TIMED_OUT": self._timeout_fits(asked, update, code),
        }[update["status"]]
        if not fits:
            self._violated(asked, f"does not fit what happened: {update}")

    def _failure_fits(self, update, code, source):
        if code.startswith("MAV_RESULT_"):
            return update["vendor_response"]["result"] not in (0, IN_PROGRESS) and source == ADDRESSED
        failed_at = unix(update["updated_at"])
        return code.startswith("transport.") and any(
            down - ROUNDING_S <= failed_at <= (ready or failed_at) + SLACK_S
            for down, _, ready in self._absences
        )

    def _timeout_fits(self, asked, update, code):
        if code == "timeout.queue":
            return update["vendor_response"]["frame_sent"] is False
        frame_sent = update["vendor_response"]["frame_sent"]
        # Nobody knows whether a frame came out of a cable that was pulled with the frame in it.
        pulled_with_frame = frame_sent is None and self._was_cut_off(unix(update["accepted_at"]))
        if frame_sent is not True and not pulled_with_frame:
            return False
        decisive = [
            answer
            for answer in self._answers[asked.kind.mav_cmd, asked.number]
            if decides(answer.ack)
            and answer.at < unix(update["updated_at"]) - SLACK_S
            and not self._was_cut_off(answer.at)
        ]
        return code in ("timeout.ack", "timeout.progress") and not decisive

    def _was_cut_off(self, at):
        """The cable was pulled before the agent could have read what stood on the line."""
        return any(down - SLACK_S <= at <= (ready or at) for down, _, ready in self._absences)

    def _violated(self, asked, what):
        self.violations.append(f"{asked.key} ({asked.command_type}, {asked.mood}): {what}")


def decides(ack: Ack):
    return ack.source == ADDRESSED and ack.result != IN_PROGRESS


def unix(text):
    return datetime.fromisoformat(text).timestamp()
