"""SIGTERM: nothing new is taken in or sent, what is out gets its answer."""

import pytest
from pymavlink.dialects.v20 import development as mavlink

import contract
import seeds
from vehicle import Ack

DIGICAM = mavlink.MAV_CMD_DO_DIGICAM_CONTROL
STOP = mavlink.MAV_CMD_IMAGE_STOP_CAPTURE
ACCEPTED = Ack(mavlink.MAV_RESULT_ACCEPTED)


@pytest.fixture
def out(ready):
    """A command that the vehicle has and does not answer, while the agent stops; its id."""
    ready.vehicle.on(STOP, [])
    command_id = ready.publisher().request(seeds.request("image_stop_capture"))["command_id"]
    ready.publisher().wait_status(command_id, "DELIVERED")
    ready.agent.ask_to_stop()
    ready.agent.wait_log("stopping")
    return command_id


def test_a_command_that_is_out_gets_its_answer(ready, out):
    mark = len(ready.publisher().messages)
    ready.vehicle.acknowledge(STOP, ACCEPTED)
    assert ready.publisher().wait_terminal(out)["status"] == "SUCCEEDED"
    assert ready.agent.wait_end() == 0
    ready.publisher().wait_presence(lambda p: not p["online"], "the goodbye", mark)


def test_a_command_that_comes_while_it_stops_is_for_the_next_start(ready, out):
    late = seeds.request("do_digicam_control")
    ready.publisher().publish(late)
    ready.vehicle.fence()
    ready.vehicle.acknowledge(STOP, ACCEPTED)
    assert ready.agent.wait_end() == 0
    command_id = contract.command_id(late)
    assert ready.publisher().statuses(command_id) == []
    assert ready.vehicle.commands(DIGICAM) == []
    # What becomes of it depends on who comes first, the broker or the vehicle's heartbeat.
    ready.restart_agent()
    ready.publisher().wait_terminal(command_id)
    assert ready.publisher().statuses(command_id)[0] == "ACCEPTED"
    assert len(ready.vehicle.commands(STOP)) == 1


def test_silence_of_the_vehicle_does_not_keep_it(ready, out):
    assert ready.agent.wait_end() == 0
    assert ready.publisher().statuses(out)[-1] == "DELIVERED"
    ready.restart_agent()
    ready.vehicle.acknowledge(STOP, ACCEPTED)
    assert ready.publisher().wait_terminal(out)["status"] == "SUCCEEDED"


def test_a_second_signal_ends_the_wait(rig):
    rig.start_ready(stop_timeout="10s")
    rig.vehicle.on(STOP, [])
    command_id = rig.publisher().request(seeds.request("image_stop_capture"))["command_id"]
    rig.publisher().wait_status(command_id, "DELIVERED")
    rig.agent.ask_to_stop()
    rig.agent.wait_log("stopping")
    rig.agent.ask_to_stop()
    rig.agent.wait_log("left for the next start: 1 commands without an answer")
    assert rig.agent.wait_end() == 0
