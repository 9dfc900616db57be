"""What comes back from the vehicle, and what does not, decides how a command ends."""

import time

import pytest
from pymavlink.dialects.v20 import development as mavlink

import contract
import seeds
from vehicle import Ack

STOP = mavlink.MAV_CMD_IMAGE_STOP_CAPTURE
ROI = mavlink.MAV_CMD_NAV_ROI

ACCEPTED = Ack(mavlink.MAV_RESULT_ACCEPTED)
LONG_ONLY = Ack(mavlink.MAV_RESULT_COMMAND_LONG_ONLY)
INT_ONLY = Ack(mavlink.MAV_RESULT_COMMAND_INT_ONLY)

# As numbers: not all of these have a name in pymavlink's enumeration.
REFUSALS = {
    1: "MAV_RESULT_TEMPORARILY_REJECTED",
    2: "MAV_RESULT_DENIED",
    3: "MAV_RESULT_UNSUPPORTED",
    4: "MAV_RESULT_FAILED",
    6: "MAV_RESULT_CANCELLED",
    9: "MAV_RESULT_COMMAND_UNSUPPORTED_MAV_FRAME",
    10: "MAV_RESULT_NOT_IN_CONTROL",
    77: "MAV_RESULT_77",
}


def send(rig, command_type="image_stop_capture", **changes):
    """Sends a request and returns its command_id once the vehicle has the frame."""
    count = len(rig.vehicle.commands())
    command_id = rig.publisher().request(seeds.request(command_type, **changes))["command_id"]
    rig.vehicle.wait_commands(count + 1)
    return command_id


def check_ends(rig, command_id, *statuses):
    """The lifecycle so far is exactly this."""
    assert rig.publisher().statuses(command_id) == list(statuses)
    numbers = [update["seq"] for update in rig.publisher().updates(command_id)]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("result", REFUSALS)
def test_refusal_fails_with_the_mapped_result(ready, result):
    ready.vehicle.on(STOP, [Ack(result, result_param2=-12)])
    command_id = send(ready)
    final = ready.publisher().wait_terminal(command_id)
    assert (final["status"], final["response_code"]) == ("FAILED", REFUSALS[result])
    assert final["vendor_response"]["result"] == result
    assert final["vendor_response"]["result_param2"] == -12
    check_ends(ready, command_id, "ACCEPTED", "DELIVERED", "FAILED")
    ready.vehicle.fence()
    assert len(ready.vehicle.commands()) == 1


def test_no_answer_times_out(ready):
    ready.vehicle.on(STOP, [])
    command_id = send(ready, timeout_seconds=2)
    final = ready.publisher().wait_terminal(command_id)
    assert (final["status"], final["response_code"]) == ("TIMED_OUT", "timeout.ack")
    assert final["vendor_response"]["result"] is None
    assert contract.seconds_taken(final) >= 2
    check_ends(ready, command_id, "ACCEPTED", "DELIVERED", "TIMED_OUT")
    ready.vehicle.fence()
    assert len(ready.vehicle.commands()) == 1


def test_second_answer_is_unmatched(ready):
    ready.vehicle.on(STOP, [ACCEPTED, Ack(mavlink.MAV_RESULT_FAILED)])
    command_id = send(ready)
    assert ready.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"
    stray = ready.publisher().wait_unmatched(lambda _: True, "the second answer")
    assert stray["mavlink_command_id"] == STOP
    assert stray["result"] == mavlink.MAV_RESULT_FAILED
    assert (stray["source_system"], stray["source_component"]) == (1, 1)
    assert ready.publisher().query(command_id=command_id)["status"] == "SUCCEEDED"
    check_ends(ready, command_id, "ACCEPTED", "DELIVERED", "SUCCEEDED")
    assert len(ready.publisher().unmatched()) == 1


def test_answer_to_nothing_is_unmatched(ready):
    ready.vehicle.acknowledge(12345, Ack(77))
    stray = ready.publisher().wait_unmatched(lambda _: True, "the stray answer")
    assert (stray["mavlink_command_id"], stray["result"]) == (12345, 77)


def test_late_answer_is_an_unmatched_response_once(ready):
    ready.vehicle.on(STOP, [])
    command_id = send(ready, timeout_seconds=1)
    ready.publisher().wait_status(command_id, "TIMED_OUT")
    ready.vehicle.acknowledge(STOP, ACCEPTED)
    final = ready.publisher().wait_status(command_id, "UNMATCHED_RESPONSE")
    assert final["terminal"] is True
    assert final["vendor_response"]["result"] == mavlink.MAV_RESULT_ACCEPTED
    ready.vehicle.acknowledge(STOP, Ack(mavlink.MAV_RESULT_FAILED))
    stray = ready.publisher().wait_unmatched(
        lambda body: body["mavlink_command_id"] == STOP, "the second late answer"
    )
    assert stray["result"] == mavlink.MAV_RESULT_FAILED
    check_ends(ready, command_id, "ACCEPTED", "DELIVERED", "TIMED_OUT", "UNMATCHED_RESPONSE")


def test_answer_after_the_late_window_is_unmatched(rig):
    rig.start_ready(late_ack_window="1s")
    rig.vehicle.on(STOP, [])
    command_id = send(rig, timeout_seconds=1)
    rig.publisher().wait_status(command_id, "TIMED_OUT")
    # Twice the window, which began before TIMED_OUT was seen here.
    time.sleep(2)
    rig.vehicle.acknowledge(STOP, ACCEPTED)
    rig.publisher().wait_unmatched(lambda body: body["mavlink_command_id"] == STOP, "the answer")
    check_ends(rig, command_id, "ACCEPTED", "DELIVERED", "TIMED_OUT")


def test_late_answer_belongs_to_the_newer_command(ready):
    ready.vehicle.on(STOP, [])
    old = send(ready, timeout_seconds=1)
    ready.publisher().wait_status(old, "TIMED_OUT")
    new = send(ready, idempotency_key="newer")
    ready.vehicle.acknowledge(STOP, ACCEPTED)
    assert ready.publisher().wait_terminal(new)["status"] == "SUCCEEDED"
    check_ends(ready, old, "ACCEPTED", "DELIVERED", "TIMED_OUT")


def test_answer_of_a_wrong_component_is_an_unmatched_response_at_the_deadline(ready):
    ready.vehicle.on(STOP, [Ack(mavlink.MAV_RESULT_ACCEPTED, source=(1, 100))])
    command_id = send(ready, timeout_seconds=2)
    final = ready.publisher().wait_terminal(command_id)
    assert final["status"] == "UNMATCHED_RESPONSE"
    assert contract.seconds_taken(final) >= 2
    assert final["vendor_response"]["source_component"] == 100
    check_ends(ready, command_id, "ACCEPTED", "DELIVERED", "UNMATCHED_RESPONSE")


def test_right_component_still_counts_after_a_wrong_one(ready):
    wrong = Ack(mavlink.MAV_RESULT_UNSUPPORTED, source=(1, 100))
    ready.vehicle.on(STOP, [wrong, ACCEPTED])
    final = ready.publisher().wait_terminal(send(ready))
    assert (final["status"], final["vendor_response"]["source_component"]) == ("SUCCEEDED", 1)


@pytest.mark.parametrize("target", [(255, 190), (1, 190), (2, 191)])
def test_answer_to_someone_else_is_ignored(ready, target):
    other = Ack(mavlink.MAV_RESULT_FAILED, target=target)
    ready.vehicle.on(STOP, [other, ACCEPTED])
    final = ready.publisher().wait_terminal(send(ready))
    assert final["status"] == "SUCCEEDED"


def test_answer_without_a_target_counts(ready):
    ready.vehicle.on(STOP, [Ack(mavlink.MAV_RESULT_ACCEPTED, target=(0, 0))])
    assert ready.publisher().wait_terminal(send(ready))["status"] == "SUCCEEDED"


def test_progress_extends_the_wait(ready):
    ready.vehicle.on(STOP, [])
    timeout = 3
    started = time.monotonic()
    command_id = send(ready, timeout_seconds=timeout)
    progress = 0
    while time.monotonic() < started + timeout + 1:
        progress += 10
        ready.vehicle.acknowledge(STOP, Ack(mavlink.MAV_RESULT_IN_PROGRESS, progress=progress))
        update = ready.publisher().wait_update(
            command_id, lambda u, p=progress: u["progress"] == p, f"progress {progress}"
        )
        assert (update["status"], update["terminal"]) == ("DELIVERED", False)
        time.sleep(0.5)
    ready.vehicle.acknowledge(STOP, ACCEPTED)
    final = ready.publisher().wait_terminal(command_id)
    assert final["status"] == "SUCCEEDED"
    assert contract.seconds_taken(final) > timeout
    contract.check_sequence(ready.publisher().updates(command_id))


def test_progress_that_stops_times_out(ready):
    ready.vehicle.on(STOP, [Ack(mavlink.MAV_RESULT_IN_PROGRESS, progress=10)])
    command_id = send(ready, timeout_seconds=2)
    final = ready.publisher().wait_terminal(command_id)
    assert (final["status"], final["response_code"]) == ("TIMED_OUT", "timeout.progress")


def test_long_only_is_sent_again_as_command_long(ready):
    ready.vehicle.on(ROI, [LONG_ONLY], [ACCEPTED])
    payload = {"roi_mode": 3, "wp_index": 2, "roi_index": 1, "x": 47.5, "y": -8.25, "z": 30}
    command_id = send(ready, "nav_roi", payload=payload)
    final = ready.publisher().wait_terminal(command_id)
    assert final["status"] == "SUCCEEDED"
    assert final["vendor_response"]["transport"] == "COMMAND_LONG"
    contract.check_sequence(ready.publisher().updates(command_id))
    ready.vehicle.fence()
    first, second = ready.vehicle.commands()
    assert (first.type, second.type) == ("COMMAND_INT", "COMMAND_LONG")
    message = second.message
    assert (message.target_system, message.target_component, message.confirmation) == (1, 1, 0)
    assert params(message) == (3, 2, 1, 0, 47.5, -8.25, 30)


def test_int_only_is_sent_again_as_command_int(ready):
    ready.vehicle.on(STOP, [INT_ONLY], [ACCEPTED])
    final = ready.publisher().wait_terminal(send(ready))
    assert final["status"] == "SUCCEEDED"
    assert final["vendor_response"]["transport"] == "COMMAND_INT"
    ready.vehicle.fence()
    first, second = ready.vehicle.commands()
    assert (first.type, second.type) == ("COMMAND_LONG", "COMMAND_INT")
    assert (second.message.command, second.message.param1) == (STOP, 0)
    assert (second.message.x, second.message.y) == (0, 0)


def test_other_form_is_tried_once(ready):
    ready.vehicle.on(ROI, [LONG_ONLY], [INT_ONLY])
    final = ready.publisher().wait_terminal(send(ready, "nav_roi"))
    assert final["status"] == "FAILED"
    assert final["response_code"] == "MAV_RESULT_COMMAND_INT_ONLY"
    ready.vehicle.fence()
    assert len(ready.vehicle.commands()) == 2


def test_nobody_waits_with_timeout_zero(ready):
    ready.vehicle.on(STOP, [])
    command_id = send(ready, timeout_seconds=0)
    final = ready.publisher().wait_terminal(command_id)
    assert final["status"] == "DELIVERED"
    check_ends(ready, command_id, "ACCEPTED", "DELIVERED")


def test_answer_completes_a_command_with_timeout_zero(ready):
    ready.vehicle.on(STOP, [])
    command_id = send(ready, timeout_seconds=0)
    ready.publisher().wait_status(command_id, "DELIVERED")
    ready.vehicle.acknowledge(STOP, ACCEPTED)
    ready.publisher().wait_status(command_id, "SUCCEEDED")
    check_ends(ready, command_id, "ACCEPTED", "DELIVERED", "SUCCEEDED")


def test_one_in_flight_per_command(ready):
    ready.vehicle.on(STOP, [])
    first = send(ready)
    second = ready.publisher().request(
        seeds.request("image_stop_capture", idempotency_key="second")
    )["command_id"]
    ready.vehicle.fence()
    assert len(ready.vehicle.commands()) == 1
    ready.vehicle.acknowledge(STOP, Ack(mavlink.MAV_RESULT_DENIED))
    assert ready.publisher().wait_terminal(first)["status"] == "FAILED"
    ready.vehicle.wait_commands(2)
    ready.vehicle.acknowledge(STOP, ACCEPTED)
    assert ready.publisher().wait_terminal(second)["status"] == "SUCCEEDED"


def test_command_still_queued_at_its_deadline_is_never_sent(ready):
    ready.vehicle.on(STOP, [])
    first = send(ready)
    second = ready.publisher().request(
        seeds.request("image_stop_capture", idempotency_key="second", timeout_seconds=1)
    )["command_id"]
    final = ready.publisher().wait_terminal(second)
    assert (final["status"], final["response_code"]) == ("TIMED_OUT", "timeout.queue")
    assert final["vendor_response"]["frame_sent"] is False
    ready.vehicle.acknowledge(STOP, ACCEPTED)
    assert ready.publisher().wait_terminal(first)["status"] == "SUCCEEDED"
    ready.vehicle.fence()
    assert len(ready.vehicle.commands()) == 1


def test_outstanding_window_holds_the_rest_back(ready):
    for command in (2001, 527, 203, 246):
        ready.vehicle.on(command, [])
    types = seeds.TYPES[:4]
    ids = [ready.publisher().request(seeds.request(t))["command_id"] for t in types]
    ready.vehicle.wait_commands(3)
    ready.vehicle.fence()
    assert [f.message.command for f in ready.vehicle.commands()] == [2001, 527, 203]
    ready.vehicle.acknowledge(527, ACCEPTED)
    assert ready.publisher().wait_terminal(ids[1])["status"] == "SUCCEEDED"
    ready.vehicle.wait_commands(4)
    assert ready.vehicle.commands()[3].message.command == 246


def params(message):
    return tuple(getattr(message, f"param{number}") for number in range(1, 8))
