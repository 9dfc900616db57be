"""The way of each reference command: its frame byte by byte, and its lifecycle."""

import json
import math

import paho.mqtt.client as mqtt
import pytest
from pymavlink.dialects.v20 import development as mavlink

import contract
import seeds

NAN = math.nan


def command_long(command, *params):
    return mavlink.MAVLink_command_long_message(1, 1, command, 0, *params)


def command_int(command, params, x, y, z, frame=mavlink.MAV_FRAME_GLOBAL):
    return mavlink.MAVLink_command_int_message(1, 1, frame, command, 0, 0, *params, x, y, z)


# The reserved parameters of IMAGE_STOP_CAPTURE declare their defaults: NaN, and 0 for 5 and 6.
REFERENCE_FRAMES = {
    "image_stop_capture": command_long(2001, 0, NAN, NAN, NAN, 0, 0, NAN),
    "request_camera_capture_status": command_long(527, 0, 0, 0, 0, 0, 0, 0),
    "do_digicam_control": command_long(203, 0, 0, 0, 0, 0, 0, 0),
    "preflight_reboot_shutdown": command_long(246, 0, 0, 0, 0, 0, 0, 0),
    "nav_roi": command_int(80, (0, 0, 0, 0), 0, 0, 30),
}

# A value of its own in every field, so that no two can be swapped unseen.
DISTINCT = {
    "image_stop_capture": (
        {"target_camera_id": 5},
        command_long(2001, 5, NAN, NAN, NAN, 0, 0, NAN),
    ),
    "request_camera_capture_status": (
        {"capture_status": "MAV_BOOL_TRUE"},
        command_long(527, 1, 0, 0, 0, 0, 0, 0),
    ),
    "do_digicam_control": (
        {
            "session_control": 1,
            "zoom_absolute": 2.5,
            "zoom_relative": -3,
            "focus": 4,
            "shoot_command": 5,
            "command_identity": 6,
            "shot_id": 7,
        },
        command_long(203, 1, 2.5, -3, 4, 5, 6, 7),
    ),
    "preflight_reboot_shutdown": (
        {
            "autopilot": 1,
            "companion": "REBOOT_SHUTDOWN_ACTION_SHUTDOWN",
            "component_action": 3,
            "component_id": 100,
            "conditions": 20190226,
        },
        command_long(246, 1, 2, 3, 100, 0, 20190226, 0),
    ),
    "nav_roi": (
        {
            "roi_mode": "MAV_ROI_LOCATION",
            "wp_index": 2,
            "roi_index": 1,
            "x": 47.3977418,
            "y": -8.5455939,
            "z": 488.5,
        },
        command_int(80, (3, 2, 1, 0), 473977418, -85455939, 488.5),
    ),
}


def check_frame(frame, expected):
    """The frame is, byte by byte, what pymavlink makes of `expected` as 1/191."""
    assert frame.type == expected.get_type()
    codec = mavlink.MAVLink(None, srcSystem=1, srcComponent=191)
    codec.seq = frame.message.get_seq()
    assert frame.raw == expected.pack(codec), f"{frame.message} instead of {expected}"


@pytest.mark.parametrize("command_type", seeds.TYPES)
def test_reference_command(ready, command_type):
    cloud, vehicle = ready.publisher(), ready.vehicle
    expected = REFERENCE_FRAMES[command_type]
    body = seeds.BODIES[command_type].encode()
    request = json.loads(body)

    mark = len(cloud.messages)
    cloud.publish(body)
    reply = cloud.wait_on(
        "downlink/v1/px4/px4-real-1/replies/cloud", lambda _: True, "the create reply", mark
    )
    contract.check_create_reply(reply, request)

    final = cloud.wait_terminal(reply["command_id"])
    updates = cloud.updates(reply["command_id"])
    assert [u["status"] for u in updates] == ["ACCEPTED", "DELIVERED", "SUCCEEDED"]
    contract.check_sequence(updates)
    for update in updates:
        contract.check_update(update, reply, request)
        vendor_response = update["vendor_response"]
        assert vendor_response["mavlink_command_id"] == expected.command
        assert vendor_response["mavlink_command"] == f"MAV_CMD_{command_type.upper()}"
        assert vendor_response["transport"] == expected.get_type()
        # Each of the five has its trap; that of nav_roi names the way around.
        assert vendor_response["advice"]
        if command_type == "nav_roi":
            assert "do_set_roi_location" in str(vendor_response["advice"])

    accepted, delivered, _ = updates
    assert accepted["response_code"] is None
    assert accepted["vendor_response"]["frame_sent"] is False
    assert delivered["response_code"] is None
    assert delivered["vendor_response"]["frame_sent"] is True
    contract.utc(delivered["vendor_response"]["sent_at"])
    assert final["response_code"] == "MAV_RESULT_ACCEPTED"
    assert final["vendor_response"]["result"] == 0
    assert final["vendor_response"]["source_system"] == 1
    assert final["vendor_response"]["source_component"] == 1
    contract.utc(final["vendor_response"]["acked_at"])

    vehicle.fence()
    (frame,) = vehicle.commands()
    check_frame(frame, expected)
    assert all(frame.type != "BAD_DATA" for frame in vehicle.frames.since())


@pytest.mark.parametrize("command_type", seeds.TYPES)
def test_every_field_goes_to_its_parameter(ready, command_type):
    payload, expected = DISTINCT[command_type]
    reply = ready.publisher().request(seeds.request(command_type, payload=payload))
    assert ready.publisher().wait_terminal(reply["command_id"])["status"] == "SUCCEEDED"
    (frame,) = ready.vehicle.commands()
    check_frame(frame, expected)


def test_omitted_location_is_unset_and_never_zero(ready):
    reply = ready.publisher().request(seeds.request("nav_roi", payload={"roi_mode": 0}))
    assert ready.publisher().wait_terminal(reply["command_id"])["status"] == "SUCCEEDED"
    (frame,) = ready.vehicle.commands()
    unset = 2**31 - 1
    assert (frame.message.x, frame.message.y) == (unset, unset)
    assert math.isnan(frame.message.z)


def test_frame_names_how_the_location_is_meant(ready):
    body = seeds.request(
        "nav_roi",
        payload={"roi_mode": 3, "wp_index": 0, "roi_index": 0, "x": 1, "y": 2, "z": 30},
        frame="MAV_FRAME_GLOBAL_RELATIVE_ALT",
    )
    reply = ready.publisher().request(body)
    assert ready.publisher().wait_terminal(reply["command_id"])["status"] == "SUCCEEDED"
    (frame,) = ready.vehicle.commands()
    relative = mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT
    check_frame(frame, command_int(80, (3, 0, 0, 0), 10_000_000, 20_000_000, 30, relative))


def test_agent_sends_heartbeats_of_a_companion(ready):
    ready.vehicle.fence()
    heartbeats = [f.message for f in ready.vehicle.frames.since() if f.type == "HEARTBEAT"]
    for heartbeat in heartbeats:
        assert (heartbeat.get_srcSystem(), heartbeat.get_srcComponent()) == (1, 191)
        assert heartbeat.type == mavlink.MAV_TYPE_ONBOARD_CONTROLLER
        assert heartbeat.autopilot == mavlink.MAV_AUTOPILOT_INVALID


def test_mqtt_3_publisher_gets_everything(rig):
    rig.start_ready(issuers=("cloud", "old"))
    old = rig.publisher("old", protocol=mqtt.MQTTv311)
    request = seeds.request("image_stop_capture")
    reply = old.request(request)
    contract.check_create_reply(reply, request)
    old.wait_terminal(reply["command_id"])
    assert old.statuses(reply["command_id"]) == ["ACCEPTED", "DELIVERED", "SUCCEEDED"]
