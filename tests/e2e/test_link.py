"""What else is on the line: it is counted, and changes nothing."""

from pymavlink.dialects.v20 import development as mavlink

import seeds
from vehicle import heartbeat


def counters(rig):
    return rig.agent.status()["link"]["counters"]


def test_another_autopilot_is_told_and_not_obeyed(rig):
    rig.vehicle.heartbeats = False
    rig.start()
    rig.wait_link("open")
    for _ in range(2):
        rig.vehicle.write(rig.vehicle.pack(heartbeat(), source=(2, 1)))
    rig.agent.wait_status(lambda s: s["link"]["counters"]["foreign"] == 2)
    link = rig.agent.status()["link"]
    assert (link["state"], link["other_autopilots"]) == ("open", ["2/1"])
    rig.agent.wait_log("there is an autopilot 2/1")
    assert rig.agent.log.read_text().count("there is an autopilot 2/1") == 1
    rig.vehicle.heartbeats = True
    rig.agent.wait_status(lambda s: s["link"]["state"] == "ready")


def test_every_class_of_input_is_counted(ready):
    ready.vehicle.heartbeats = False
    before = counters(ready)
    frame = ready.vehicle.pack(mavlink.MAVLink_statustext_message(6, b"hello"))
    unknown_flags = frame[:2] + b"\x02" + frame[3:]
    bad_checksum = frame[:-1] + bytes([frame[-1] ^ 1])
    codec = mavlink.MAVLink(None, 1, 1)
    private = mavlink.MAVLink_message(54_321, "PRIVATE")._pack(codec, 77, b"\x01\x02\x03")
    old = mavlink.MAVLink_statustext_message(6, b"old").pack(codec, force_mavlink1=True)
    for data in (frame, private, old, b"\x00" * 100, unknown_flags, frame, bad_checksum, frame):
        ready.vehicle.write(data)
    ready.agent.wait_status(
        lambda s: s["link"]["counters"]["frames"] >= before["frames"] + 4
        and s["link"]["counters"]["bad_checksum"] > before["bad_checksum"]
    )
    grown = {name: count - before[name] for name, count in counters(ready).items()}
    assert grown["mavlink_1"] == 1
    assert grown["unknown_message"] == 1
    assert grown["unknown_flags"] >= 1
    assert grown["foreign"] == 0
    skipped = len(private) + 100 + len(unknown_flags) + len(bad_checksum)
    assert grown["skipped_bytes"] == skipped
    # And the line works.
    ready.vehicle.heartbeats = True
    request = seeds.request("image_stop_capture")
    command_id = ready.publisher().request(request)["command_id"]
    assert ready.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"
