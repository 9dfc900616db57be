"""Brokers, cables and the agent itself go away and come back: nothing is lost, nothing sent twice."""

import pytest
from pymavlink.dialects.v20 import development as mavlink

import contract
import seeds
from vehicle import Ack

STOP = mavlink.MAV_CMD_IMAGE_STOP_CAPTURE
ACCEPTED = Ack(mavlink.MAV_RESULT_ACCEPTED)


def send_unanswered(rig, **changes):
    """Sends a request to a vehicle that does not answer it, and waits for DELIVERED."""
    rig.vehicle.on(STOP, [])
    request = seeds.request("image_stop_capture", **changes)
    command_id = rig.publisher().request(request)["command_id"]
    rig.publisher().wait_status(command_id, "DELIVERED")
    return command_id


def restart_broker(rig, forget=False):
    """Lets the broker come back, and waits until the publisher has its subscriptions again."""
    if forget:
        rig.broker.forget()
    rig.publisher().expect_reconnect()
    rig.broker.start()
    rig.publisher().wait_subscribed()


def check_sent_once(rig):
    rig.vehicle.fence()
    assert len(rig.vehicle.commands()) == 1


def test_outcome_outlives_a_broker_outage(ready):
    command_id = send_unanswered(ready)
    ready.broker.stop()
    ready.vehicle.acknowledge(STOP, ACCEPTED)
    ready.vehicle.fence()
    restart_broker(ready)
    assert ready.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"
    updates = ready.publisher().updates(command_id)
    assert [u["status"] for u in updates] == ["ACCEPTED", "DELIVERED", "SUCCEEDED"]
    contract.check_sequence(updates)
    check_sent_once(ready)


def test_outcome_outlives_broker_outage_and_kill(ready):
    command_id = send_unanswered(ready)
    ready.broker.stop()
    ready.vehicle.acknowledge(STOP, ACCEPTED)
    ready.vehicle.fence()
    ready.agent.kill()
    mark = len(ready.publisher().messages)
    ready.agent.start()
    restart_broker(ready)
    ready.wait_ready(mark)
    final = ready.publisher().wait_terminal(command_id)
    assert final["status"] == "SUCCEEDED"
    contract.check_sequence(ready.publisher().updates(command_id))
    check_sent_once(ready)


def test_command_published_in_the_last_moment_is_handled_after_the_outage(ready):
    request = seeds.request("image_stop_capture")
    ready.publisher().publish(request)
    ready.broker.stop()
    restart_broker(ready)
    ready.publisher().wait_on(
        "downlink/v1/px4/px4-real-1/lifecycle/cloud/" + command_id_of(ready, request),
        lambda u: u["status"] == "SUCCEEDED",
        "SUCCEEDED",
    )
    check_sent_once(ready)


def test_broker_that_forgot_everything_is_subscribed_to_again(ready):
    ready.broker.stop()
    mark = len(ready.publisher().messages)
    restart_broker(ready, forget=True)
    ready.wait_ready(mark)
    command_id = ready.publisher().request(seeds.request("image_stop_capture"))["command_id"]
    assert ready.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"


def test_several_outages_in_a_row(ready):
    for number in range(3):
        command_id = send_unanswered(ready, idempotency_key=f"outage-{number}")
        ready.broker.stop()
        ready.vehicle.acknowledge(STOP, ACCEPTED)
        ready.vehicle.fence()
        restart_broker(ready)
        assert ready.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"
        assert len(ready.vehicle.commands()) == number + 1


def test_outcome_outlives_a_network_that_loses_it(rig, relay):
    command_id = send_unanswered(rig)
    relay.swallow("agent", "broker")
    rig.vehicle.acknowledge(STOP, ACCEPTED)
    # By now the agent has handed the outcome to its connection, and nobody got it.
    rig.vehicle.fence()
    assert rig.publisher().statuses(command_id) == ["ACCEPTED", "DELIVERED"]
    relay.cut()
    assert rig.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"
    contract.check_sequence(rig.publisher().updates(command_id))
    check_sent_once(rig)


def test_command_whose_puback_is_lost_is_not_sent_again(rig, relay):
    relay.swallow("agent")
    request = seeds.request("image_stop_capture")
    rig.publisher().publish(request)
    rig.vehicle.wait_commands(1)
    rig.vehicle.fence()
    assert rig.publisher().lifecycle_keys() == set()
    relay.cut()
    reply = rig.publisher().wait_on(
        "downlink/v1/px4/px4-real-1/replies/cloud",
        lambda r: r["idempotency_key"] == request["idempotency_key"],
        "the reply to the broker's second delivery",
    )
    assert (reply["duplicate"], reply["status"]) == (True, "SUCCEEDED")
    assert rig.publisher().wait_terminal(reply["command_id"])["status"] == "SUCCEEDED"
    assert rig.publisher().statuses(reply["command_id"]) == ["ACCEPTED", "DELIVERED", "SUCCEEDED"]
    check_sent_once(rig)


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_command_published_while_the_agent_is_down_is_handled(ready, end):
    getattr(ready.agent, end)()
    mark = len(ready.publisher().messages)
    request = seeds.request("image_stop_capture")
    ready.publisher().publish(request)
    ready.restart_agent()
    reply = ready.publisher().wait_on(
        "downlink/v1/px4/px4-real-1/replies/cloud",
        lambda r: r["idempotency_key"] == request["idempotency_key"],
        "the create reply",
        mark,
    )
    contract.check_create_reply(reply, request)
    # Taken in before the first heartbeat of the vehicle it is refused, else it is sent.
    final = ready.publisher().wait_terminal(reply["command_id"])
    assert (final["status"], final["response_code"]) in (
        ("SUCCEEDED", "MAV_RESULT_ACCEPTED"),
        ("FAILED", "transport.not_ready"),
    )
    ready.vehicle.fence()
    assert len(ready.vehicle.commands()) == (1 if final["status"] == "SUCCEEDED" else 0)


def test_command_published_while_the_agent_is_down_is_sent_once_the_link_is_ready(ready):
    ready.agent.terminate()
    request = seeds.request("image_stop_capture")
    ready.publisher().publish(request)
    # Without a broker the agent cannot get the command before it has heard the vehicle.
    ready.broker.stop()
    ready.agent.start()
    ready.vehicle.fence()
    restart_broker(ready)
    reply = ready.publisher().wait_on(
        "downlink/v1/px4/px4-real-1/replies/cloud", lambda _: True, "the create reply"
    )
    contract.check_create_reply(reply, request)
    assert ready.publisher().wait_terminal(reply["command_id"])["status"] == "SUCCEEDED"
    check_sent_once(ready)


def test_kill_while_waiting_ends_with_an_unknown_outcome(ready):
    command_id = send_unanswered(ready, timeout_seconds=4)
    ready.agent.kill()
    ready.restart_agent()
    final = ready.publisher().wait_terminal(command_id)
    assert (final["status"], final["response_code"]) == ("TIMED_OUT", "restart.outcome_unknown")
    contract.check_sequence(ready.publisher().updates(command_id))
    check_sent_once(ready)


def test_kill_while_waiting_still_takes_the_answer(ready):
    command_id = send_unanswered(ready, timeout_seconds=120)
    ready.agent.kill()
    ready.restart_agent()
    ready.vehicle.acknowledge(STOP, ACCEPTED)
    final = ready.publisher().wait_terminal(command_id)
    assert (final["status"], final["response_code"]) == ("SUCCEEDED", "MAV_RESULT_ACCEPTED")
    contract.check_sequence(ready.publisher().updates(command_id))
    check_sent_once(ready)


def test_second_kill_while_waiting_changes_nothing(ready):
    command_id = send_unanswered(ready, timeout_seconds=120)
    for _ in range(2):
        ready.agent.kill()
        ready.restart_agent()
    check_sent_once(ready)
    ready.vehicle.acknowledge(STOP, ACCEPTED)
    assert ready.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"
    contract.check_sequence(ready.publisher().updates(command_id))


def test_cable_can_be_pulled_and_plugged_in_again(ready):
    mark = len(ready.publisher().messages)
    ready.vehicle.unplug()
    ready.publisher().wait_presence(
        lambda p: p["online"] and p["link"]["state"] == "closed", "a closed link", mark
    )
    refused = ready.publisher().request(seeds.request("image_stop_capture"))["command_id"]
    final = ready.publisher().wait_terminal(refused)
    assert (final["status"], final["response_code"]) == ("FAILED", "transport.not_ready")

    mark = len(ready.publisher().messages)
    ready.vehicle.plug_in()
    ready.wait_ready(mark)
    again = seeds.request("image_stop_capture", idempotency_key="after the plug")
    command_id = ready.publisher().request(again)["command_id"]
    assert ready.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"
    assert len(ready.vehicle.commands()) == 1


def test_command_in_flight_outlives_an_unplugged_cable(ready):
    command_id = send_unanswered(ready, timeout_seconds=120)
    mark = len(ready.publisher().messages)
    ready.vehicle.unplug()
    ready.publisher().wait_presence(
        lambda p: p["online"] and p["link"]["state"] == "closed", "a closed link", mark
    )
    mark = len(ready.publisher().messages)
    ready.vehicle.plug_in()
    ready.wait_ready(mark)
    ready.vehicle.acknowledge(STOP, ACCEPTED)
    assert ready.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"
    check_sent_once(ready)


def test_presence_tells_of_a_kill_by_the_last_will(ready):
    first = ready.publisher().wait_presence(lambda p: p["online"], "presence")
    assert {"online", "session", "guard_mode", "link"} <= set(first)
    assert first["guard_mode"] == "guarded"
    mark = len(ready.publisher().messages)
    ready.agent.kill()
    gone = ready.publisher().wait_presence(lambda p: not p["online"], "the last will", mark)
    assert gone["session"] == first["session"]
    ready.restart_agent()
    again = ready.publisher().wait_presence(lambda p: p["online"], "presence", mark)
    assert again["session"] != first["session"]


def test_presence_is_retained(ready):
    late = ready.publisher("late")
    late.wait_presence(lambda p: p["online"], "the retained presence")


def test_terminate_says_goodbye_and_exits_with_0(ready):
    mark = len(ready.publisher().messages)
    assert ready.agent.terminate() == 0
    ready.publisher().wait_presence(lambda p: not p["online"], "the goodbye", mark)


def test_terminate_works_without_broker_and_vehicle(rig):
    rig.configure("guarded", ("cloud",), seeds.TYPES)
    rig.agent.start()
    rig.agent.wait_log(str(rig.vehicle.port))
    assert rig.agent.terminate() == 0


def command_id_of(rig, request):
    state = rig.publisher().query(idempotency_key=request["idempotency_key"])
    return state["command_id"]
