"""MAVLink 2 message signing between the agent and pymavlink."""

import pytest
from pymavlink.dialects.v20 import development as mavlink

import seeds
from agent import run_to_end
from vehicle import Ack, Vehicle, signing

STOP = mavlink.MAV_CMD_IMAGE_STOP_CAPTURE
ACCEPTED = Ack(mavlink.MAV_RESULT_ACCEPTED)
KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
LINK_ID = 7


@pytest.fixture
def signed(rig):
    """A rig whose agent has the key, not started."""
    file = rig.agent.config.with_name("mavlink.key")
    file.write_text(f"hex:{KEY.hex()}\n")
    link = f'signing_key_file = "{file}"\nsigning_link_id = {LINK_ID}'
    rig.start_signed = lambda: rig.start(link=link)
    return rig


@pytest.fixture
def ready(signed):
    """Started, and the vehicle has the key too."""
    signed.vehicle.sign(KEY)
    signed.start_signed()
    signed.wait_ready(mark=0)
    return signed


def request(rig, key):
    return rig.publisher().request(seeds.request("image_stop_capture", idempotency_key=key))[
        "command_id"
    ]


def send_unanswered(rig, key):
    """A command that the vehicle got and does not answer."""
    rig.vehicle.on(STOP, [])
    command_id = request(rig, key)
    rig.publisher().wait_status(command_id, "DELIVERED")
    return command_id


def ack():
    return mavlink.MAVLink_command_ack_message(STOP, 0, 0, 0, 1, 191)


def pack_with(state):
    """A COMMAND_ACK of the autopilot, signed by `state`."""
    codec = mavlink.MAVLink(None, 1, 1)
    codec.signing = state or codec.signing
    return bytes(ack().pack(codec))


def check_does_not_count(rig, command_id, data, counter):
    """The agent counts these bytes, and the command goes on waiting."""
    before = rig.agent.status()["link"]["counters"][counter]
    rig.vehicle.write(data)
    rig.agent.wait_status(lambda s: s["link"]["counters"][counter] > before)
    assert not rig.publisher().query(command_id=command_id)["terminal"]


def timestamps(rig):
    """Of every frame that the agent has sent."""
    frames = rig.vehicle.frames.since()
    assert all(frame.message.get_signed() for frame in frames)
    return [int.from_bytes(frame.raw[-12:-6], "little") for frame in frames]


def check_strictly_increasing(numbers):
    assert all(former < later for former, later in zip(numbers, numbers[1:], strict=False))


def test_commands_and_answers_are_signed(ready):
    command_id = request(ready, "signed")
    assert ready.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"
    ready.vehicle.fence()
    check_strictly_increasing(timestamps(ready))
    assert {frame.type for frame in ready.vehicle.frames.since()} == {"HEARTBEAT", "COMMAND_LONG"}
    assert {frame.message.get_link_id() for frame in ready.vehicle.frames.since()} == {LINK_ID}
    link = ready.agent.status()["link"]
    assert link["signed"]
    assert [link["counters"][name] for name in ("unsigned", "bad_signature", "replayed")] == [0] * 3


@pytest.mark.parametrize(
    ("key", "counter", "told"),
    [(None, "unsigned", "not signed"), (OTHER_KEY, "bad_signature", "signed with another key")],
)
def test_a_vehicle_without_the_key_is_not_heard(signed, key, counter, told):
    if key is not None:
        signed.vehicle.sign(key)
    signed.start_signed()
    signed.wait_link("open")
    signed.agent.wait_status(lambda s: s["link"]["counters"][counter] >= 2)
    final = signed.publisher().wait_terminal(request(signed, "unheard"))
    assert (final["status"], final["response_code"]) == ("FAILED", "transport.not_ready")
    assert signed.vehicle.commands() == []
    assert signed.agent.status()["link"]["state"] == "open"
    signed.agent.wait_log("frames that do not count")
    log = signed.agent.log.read_text()
    assert log.count("frames that do not count") == 1 and told in log


def test_forged_and_repeated_answers_do_not_count(ready):
    genuine = ready.vehicle.pack(ack())
    command_id = send_unanswered(ready, "forged")
    # The heartbeats since then are newer.
    ready.vehicle.fence()
    check_does_not_count(ready, command_id, pack_with(None), "unsigned")
    check_does_not_count(ready, command_id, pack_with(signing(OTHER_KEY)), "bad_signature")
    check_does_not_count(ready, command_id, genuine, "replayed")
    ready.vehicle.acknowledge(STOP, ACCEPTED)
    assert ready.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"


def test_an_answer_counts_once(ready):
    first = send_unanswered(ready, "first")
    answer = ready.vehicle.pack(ack())
    ready.vehicle.write(answer)
    assert ready.publisher().wait_terminal(first)["status"] == "SUCCEEDED"
    second = send_unanswered(ready, "second")
    check_does_not_count(ready, second, answer, "replayed")


def test_a_vehicle_that_does_not_know_the_time_learns_it(signed):
    signed.vehicle.sign(KEY, timestamp=0)
    signed.start_signed()
    signed.wait_ready(mark=0)
    # So it does after a reboot.
    signed.vehicle.unplug()
    mark = len(signed.publisher().messages)
    signed.vehicle.sign(KEY, timestamp=0)
    signed.vehicle.plug_in()
    signed.wait_ready(mark)
    command_id = request(signed, "late")
    assert signed.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"


def test_time_goes_on_after_a_kill(ready):
    command_id = send_unanswered(ready, "killed")
    recorded = ready.vehicle.pack(ack())
    ready.agent.kill()
    before = timestamps(ready)
    ready.restart_agent()
    check_does_not_count(ready, command_id, recorded, "replayed")
    ready.vehicle.fence()
    after = timestamps(ready)
    assert len(after) > len(before)
    check_strictly_increasing(after)
    ready.vehicle.acknowledge(STOP, ACCEPTED)
    assert ready.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"


def test_time_goes_on_without_a_clock_and_without_the_journal(ready):
    for lose_journal in (False, True):
        before = timestamps(ready)
        ready.agent.kill()
        if lose_journal:
            kept = run_to_end("journal", "set-aside", "--config", ready.agent.config)
            assert kept.returncode == 0, kept.stderr
        # From now on the agent's own time is that of the last trusted one, or of its build.
        ready.agent.set_clock_synchronized(False)
        # The vehicle could teach it, so its time is lost, too.
        ready.vehicle.unplug()
        ready.vehicle.sign(KEY, timestamp=0)
        ready.vehicle.plug_in()
        ready.restart_agent()
        ready.vehicle.fence()
        after = timestamps(ready)
        assert len(after) > len(before)
        check_strictly_increasing(after)


def test_each_link_signs_with_its_own_key_and_id(rig, tmp_path):
    camera = Vehicle(tmp_path / "camera", source=(1, mavlink.MAV_COMP_ID_CAMERA))
    files = []
    for vehicle, key in ((rig.vehicle, KEY), (camera, OTHER_KEY)):
        vehicle.sign(key)
        files.append(rig.agent.config.with_name(f"{len(files)}.key"))
        files[-1].write_text(f"hex:{key.hex()}\n")
    camera.plug_in()
    try:
        rig.start(
            link=f"""\
component_by_domain = {{ camera-media = {mavlink.MAV_COMP_ID_CAMERA} }}
signing_key_file = "{files[0]}"
[[link.extra]]
name = "camera"
endpoint = "serial:{camera.port}:115200"
components = [{mavlink.MAV_COMP_ID_CAMERA}]
signing_key_file = "{files[1]}"
"""
        )
        publisher = rig.publisher()
        publisher.wait_presence(
            lambda p: {link["state"] for link in [p["link"], *p.get("links", [])]} == {"ready"},
            "two links that are ready",
            0,
        )
        for command_type, vehicle in (("nav_roi", rig.vehicle), ("image_stop_capture", camera)):
            body = seeds.request(command_type, idempotency_key=command_type)
            command_id = publisher.request(body)["command_id"]
            assert publisher.wait_terminal(command_id)["status"] == "SUCCEEDED"
            vehicle.fence()
            assert len(vehicle.commands()) == 1
        for link_id, vehicle in enumerate((rig.vehicle, camera)):
            frames = vehicle.frames.since()
            assert {frame.message.get_link_id() for frame in frames} == {link_id}
        assert [link["signed"] for link in rig.agent.status()["links"]] == [True]
    finally:
        camera.close()
