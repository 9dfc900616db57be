"""A vehicle whose system id nobody configured: it is learned from its heartbeat."""

import json

import pytest
from pymavlink.dialects.v20 import development as mavlink

import seeds
from agent import run_to_end
from vehicle import Ack, Vehicle, heartbeat

ROI = mavlink.MAV_CMD_NAV_ROI
VEHICLE = (3, 1)
ANOTHER = (4, 1)


@pytest.fixture
def learning(rig):
    """All parts started; the vehicle has not spoken yet."""
    rig.vehicle = Vehicle(rig.vehicle.port, heartbeats=False, source=VEHICLE)
    rig.start(target_system="auto")
    rig.wait_link("open")
    return rig


def ask(rig, key):
    body = seeds.request("nav_roi", idempotency_key=key)
    return rig.publisher().request(body)


def ends(rig, command_id):
    final = rig.publisher().wait_terminal(command_id)
    return final["status"], final["response_code"]


def say(rig, source):
    rig.vehicle.write(rig.vehicle.pack(heartbeat(), source=source))


def learn(rig):
    rig.vehicle.heartbeats = True
    rig.wait_link("ready")


def autopilots(rig):
    link = rig.agent.status()["link"]
    return link["autopilot"], link["other_autopilots"]


def targets(rig):
    frames = [frame.message for frame in rig.vehicle.commands()]
    return [(frame.target_system, frame.target_component) for frame in frames]


def test_nothing_is_sent_before_the_vehicle_has_spoken(learning):
    shown = run_to_end("status", "--config", learning.agent.config).stdout
    assert "autopilot not learned yet" in shown
    early = ask(learning, "early")
    assert ends(learning, early["command_id"]) == ("FAILED", "transport.not_ready")
    final = learning.publisher().wait_terminal(early["command_id"])
    assert 'and [link] target_system is "auto"' in final["response_message"]
    assert final["vendor_response"]["frame_sent"] is False

    learn(learning)
    assert autopilots(learning) == ("3/1", [])
    again = ask(learning, "early")
    assert (again["status"], again["duplicate"]) == ("FAILED", True)
    assert ends(learning, ask(learning, "a")["command_id"])[0] == "SUCCEEDED"
    learning.vehicle.fence()
    assert targets(learning) == [VEHICLE]
    told = "the vehicle is system 3, learned from its HEARTBEAT"
    learning.agent.wait_log(told)
    assert learning.agent.log.read_text().count(told) == 1


def test_autopilot_that_comes_later_is_told_and_not_obeyed(learning):
    learning.vehicle.on(ROI, [])
    learn(learning)
    say(learning, ANOTHER)
    learning.agent.wait_log("there is an autopilot 4/1 on the link, which does not count")
    assert autopilots(learning) == ("3/1", ["4/1"])
    learning.agent.wait_status(lambda s: s["link"]["counters"]["foreign"] == 1)
    command_id = ask(learning, "a")["command_id"]
    learning.vehicle.wait_commands(1, ROI)
    learning.vehicle.acknowledge(ROI, Ack(mavlink.MAV_RESULT_DENIED, source=ANOTHER))
    learning.publisher().wait_unmatched(lambda ack: ack["source_system"] == 4, "it")
    learning.vehicle.acknowledge(ROI, Ack(mavlink.MAV_RESULT_ACCEPTED, source=VEHICLE))
    assert ends(learning, command_id) == ("SUCCEEDED", "MAV_RESULT_ACCEPTED")
    assert targets(learning) == [VEHICLE]


def test_restart_learns_again_and_waits_for_whom_it_had_asked(learning):
    learning.vehicle.on(ROI, [])
    learn(learning)
    out = ask(learning, "out")["command_id"]
    learning.publisher().wait_status(out, "DELIVERED")
    # Of one MAV_CMD one is in flight.
    waits = ask(learning, "waits")["command_id"]
    learning.agent.kill()
    learning.vehicle.heartbeats = False
    mark = len(learning.publisher().messages)
    learning.agent.start()
    learning.wait_link("open", mark)
    assert autopilots(learning) == (None, [])
    say(learning, ANOTHER)
    assert ends(learning, waits) == ("FAILED", "transport.lost")
    final = learning.publisher().wait_terminal(waits)
    assert "accepted for system 3, and the vehicle is system 4" in final["response_message"]
    assert autopilots(learning) == ("4/1", [])
    learning.vehicle.acknowledge(ROI, Ack(mavlink.MAV_RESULT_ACCEPTED, source=VEHICLE))
    assert ends(learning, out) == ("SUCCEEDED", "MAV_RESULT_ACCEPTED")
    for key in ("out", "waits"):
        assert ask(learning, key)["duplicate"]
    learning.vehicle.fence()
    assert len(learning.vehicle.commands()) == 1


def test_environment_can_say_auto_too(rig):
    rig.vehicle = Vehicle(rig.vehicle.port, source=VEHICLE)
    rig.configure("guarded", ("cloud",), seeds.TYPES)
    rig.broker.start()
    rig.vehicle.plug_in()
    rig.publisher()
    rig.agent.start({"DOWNLINKD_LINK__TARGET_SYSTEM": "auto"})
    rig.wait_ready(mark=0)
    assert autopilots(rig) == ("3/1", [])


def test_check_says_who_would_be_learned(learning):
    learning.agent.terminate()
    learning.vehicle.heartbeats = True
    result = run_to_end("check", "--output", "json", "--config", learning.agent.config)
    findings = {finding["item"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert findings["vehicle"]["level"] == "ok", findings
    assert "HEARTBEAT of 3/1" in findings["vehicle"]["found"]
