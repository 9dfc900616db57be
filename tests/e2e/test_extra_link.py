"""A camera on a port of its own, beside the autopilot's."""

import pytest
from pymavlink.dialects.v20 import development as mavlink

import seeds
from agent import run_to_end
from vehicle import Ack, Vehicle

STOP = mavlink.MAV_CMD_IMAGE_STOP_CAPTURE
ROI = mavlink.MAV_CMD_NAV_ROI
CAMERA = (1, mavlink.MAV_COMP_ID_CAMERA)
AUTOPILOT = (1, 1)


@pytest.fixture
def camera(rig, tmp_path):
    """The camera on a link of its own; both links are ready."""
    camera = Vehicle(tmp_path / "camera", source=CAMERA)
    camera.plug_in()
    rig.start(
        link=f"""\
component_by_domain = {{ camera-media = {CAMERA[1]} }}
[[link.extra]]
name = "camera"
endpoint = "serial:{camera.port}:115200"
components = [{CAMERA[1]}]
"""
    )
    wait_links(rig, "ready", "ready")
    yield camera
    camera.close()


def wait_links(rig, main, extra, mark=0):
    """Waits for a presence, published after `mark`, with these states."""
    return rig.publisher().wait_presence(
        lambda p: p["online"]
        and p["link"]["state"] == main
        and [link["state"] for link in p["links"]] == [extra],
        f"a link that is {main} and a camera that is {extra}",
        mark,
    )


def request(rig, command_type, key, **changes):
    body = seeds.request(command_type, idempotency_key=key, **changes)
    return rig.publisher().request(body)["command_id"]


def ends(rig, command_id):
    final = rig.publisher().wait_terminal(command_id)
    return final["status"], final["response_code"]


def targets(vehicle):
    return [
        (frame.message.target_system, frame.message.target_component)
        for frame in vehicle.commands()
    ]


def test_each_command_goes_to_its_component_by_its_link(rig, camera):
    for number in range(3):
        for command_type in ("image_stop_capture", "nav_roi"):
            command_id = request(rig, command_type, f"{command_type} {number}")
            assert ends(rig, command_id) == ("SUCCEEDED", "MAV_RESULT_ACCEPTED")
    for vehicle, target in ((rig.vehicle, AUTOPILOT), (camera, CAMERA)):
        vehicle.fence()
        assert targets(vehicle) == [target] * 3
    assert rig.publisher().unmatched() == []


def test_status_and_presence_name_the_link(rig, camera):
    link = {"name": "camera", "state": "ready", "endpoint": f"serial:{camera.port}:115200"}
    assert wait_links(rig, "ready", "ready")["links"] == [link]
    [status] = rig.agent.status()["links"]
    assert status.items() >= link.items()
    assert not status["signed"]
    assert status["counters"]["frames"] > 0
    shown = run_to_end("status", "--config", rig.agent.config).stdout
    assert f"camera ready (serial:{camera.port}:115200)" in shown


def test_answer_by_the_other_link_is_no_answer(rig, camera):
    camera.on(STOP, [])
    command_id = request(rig, "image_stop_capture", "a")
    rig.publisher().wait_status(command_id, "DELIVERED")
    rig.vehicle.acknowledge(STOP, Ack(mavlink.MAV_RESULT_DENIED, source=CAMERA))
    rig.publisher().wait_unmatched(lambda ack: ack["source_component"] == CAMERA[1], "it")
    camera.acknowledge(STOP, Ack(mavlink.MAV_RESULT_ACCEPTED))
    assert ends(rig, command_id) == ("SUCCEEDED", "MAV_RESULT_ACCEPTED")


def test_camera_that_is_unplugged_takes_no_commands_and_the_autopilot_does(rig, camera):
    camera.on(STOP, [])
    asked = request(rig, "image_stop_capture", "asked")
    rig.publisher().wait_status(asked, "DELIVERED")
    # Of one MAV_CMD one is in flight.
    waits = request(rig, "image_stop_capture", "waits")
    mark = len(rig.publisher().messages)
    camera.unplug()
    wait_links(rig, "ready", "closed", mark)
    assert ends(rig, waits) == ("FAILED", "transport.lost")
    refused = request(rig, "image_stop_capture", "refused")
    assert ends(rig, refused) == ("FAILED", "transport.not_ready")
    message = rig.publisher().wait_terminal(refused)["response_message"]
    assert "the link camera is not ready: its port is not open" in message
    assert ends(rig, request(rig, "nav_roi", "b"))[0] == "SUCCEEDED"

    mark = len(rig.publisher().messages)
    camera.plug_in()
    wait_links(rig, "ready", "ready", mark)
    camera.acknowledge(STOP, Ack(mavlink.MAV_RESULT_ACCEPTED))
    assert ends(rig, asked) == ("SUCCEEDED", "MAV_RESULT_ACCEPTED")
    again = request(rig, "image_stop_capture", "again")
    camera.wait_commands(2, STOP)
    camera.acknowledge(STOP, Ack(mavlink.MAV_RESULT_ACCEPTED))
    assert ends(rig, again)[0] == "SUCCEEDED"
    assert len(camera.commands(STOP)) == 2


def test_autopilot_that_is_unplugged_leaves_the_camera(rig, camera):
    mark = len(rig.publisher().messages)
    rig.vehicle.unplug()
    wait_links(rig, "closed", "ready", mark)
    assert ends(rig, request(rig, "nav_roi", "a")) == ("FAILED", "transport.not_ready")
    assert ends(rig, request(rig, "image_stop_capture", "b"))[0] == "SUCCEEDED"


def test_silent_camera_is_not_ready(rig, camera):
    mark = len(rig.publisher().messages)
    camera.heartbeats = False
    wait_links(rig, "ready", "open", mark)
    refused = request(rig, "image_stop_capture", "a")
    assert ends(rig, refused) == ("FAILED", "transport.not_ready")
    message = rig.publisher().wait_terminal(refused)["response_message"]
    assert "the link camera is not ready: no heartbeat of component 1/100" in message
    assert ends(rig, request(rig, "nav_roi", "b"))[0] == "SUCCEEDED"
