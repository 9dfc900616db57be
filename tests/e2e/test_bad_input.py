"""What is no valid request gets an error that names the field; no journal entry, no frame."""

import json

import pytest

import contract
import seeds
from conftest import Rig

LIMIT = 16 * 1024


def with_payload(command_type, **fields):
    payload = json.loads(seeds.BODIES[command_type])["payload"]
    return seeds.request(command_type, payload={**payload, **fields})


STOP = "image_stop_capture"

# name: (body, code, field)
REQUESTS = {
    "missing vendor": (seeds.request(STOP, vendor=...), "request.invalid", "vendor"),
    "missing device_id": (seeds.request(STOP, device_id=...), "request.invalid", "device_id"),
    "missing command_type": (seeds.request(STOP, command_type=...), "request.invalid", "command_type"),
    "missing payload": (seeds.request(STOP, payload=...), "request.invalid", "payload"),
    "payload is a list": (seeds.request(STOP, payload=[0]), "request.invalid", "payload"),
    "payload is null": (seeds.request(STOP, payload=None), "request.invalid", "payload"),
    "vendor is a number": (seeds.request(STOP, vendor=4), "request.invalid", "vendor"),
    "command_type is a list": (seeds.request(STOP, command_type=[]), "request.invalid", "command_type"),
    "timeout is a string": (seeds.request(STOP, timeout_seconds="30"), "request.invalid", "timeout_seconds"),
    "timeout is a fraction": (seeds.request(STOP, timeout_seconds=1.5), "request.invalid", "timeout_seconds"),
    "timeout over 300": (seeds.request(STOP, timeout_seconds=301), "request.out_of_range", "timeout_seconds"),
    "timeout below 0": (seeds.request(STOP, timeout_seconds=-1), "request.out_of_range", "timeout_seconds"),
    "unknown field": (seeds.request(STOP, priority=1), "request.unknown_field", "priority"),
    "unknown payload field": (with_payload(STOP, colour=1), "request.unknown_field", "payload.colour"),
    "raw parameter": (with_payload(STOP, param1=1), "request.unknown_field", "payload.param1"),
    "field of another command": (with_payload(STOP, focus=1), "request.unknown_field", "payload.focus"),
    "foreign device": (seeds.request(STOP, device_id="px4-real-2"), "target.device_mismatch", "device_id"),
    "foreign vendor": (seeds.request(STOP, vendor="dji"), "target.vendor_unsupported", "vendor"),
    "unknown command": (seeds.request(STOP, command_type="do_a_barrel_roll"), "request.unknown_command", "command_type"),
    "command in upper case": (seeds.request(STOP, command_type="IMAGE_STOP_CAPTURE"), "request.unknown_command", "command_type"),
    "value is a list": (with_payload(STOP, target_camera_id=[1]), "request.invalid", "payload.target_camera_id"),
    "value is a truth value": (with_payload(STOP, target_camera_id=True), "request.invalid", "payload.target_camera_id"),
    "unknown enumeration value": (
        with_payload("preflight_reboot_shutdown", autopilot=9), "request.out_of_range", "payload.autopilot"),
    "unknown enumeration name": (
        with_payload("nav_roi", roi_mode="MAV_ROI_NOWHERE"), "request.out_of_range", "payload.roi_mode"),
    "value below its minimum": (with_payload("nav_roi", wp_index=-1), "request.out_of_range", "payload.wp_index"),
    "value above its maximum": (
        with_payload("preflight_reboot_shutdown", component_id=256), "request.out_of_range", "payload.component_id"),
    "value between increments": (with_payload("nav_roi", roi_index=0.5), "request.out_of_range", "payload.roi_index"),
    "latitude over the pole": (with_payload("nav_roi", x=90.1), "request.out_of_range", "payload.x"),
    "longitude over the date line": (with_payload("nav_roi", y=-180.1), "request.out_of_range", "payload.y"),
    "unknown frame": (seeds.request("nav_roi", frame="MAV_FRAME_MOON"), "request.out_of_range", "frame"),
}  # fmt: skip

NO_KEY = {
    "missing idempotency_key": seeds.request(STOP, idempotency_key=...),
    "idempotency_key is a number": seeds.request(STOP, idempotency_key=7),
    "idempotency_key is empty": seeds.request(STOP, idempotency_key=""),
}

MALFORMED = {
    "nothing": b"",
    "half an object": seeds.BODIES[STOP].encode()[:-1],
    "more after the object": seeds.BODIES[STOP].encode() + b"{}",
    "a list": b"[" + seeds.BODIES[STOP].encode() + b"]",
    "a string": b'"image_stop_capture"',
    "null": b"null",
    "not UTF-8": seeds.BODIES[STOP].encode().replace(b"px4-real-1", b"px4-real-\xff"),
    "a number that is none": seeds.BODIES[STOP].encode().replace(b":0}", b":NaN}"),
}

QUERIES = {
    "malformed": (b"{", "envelope.malformed", None),
    "a list": (b"[]", "envelope.malformed", None),
    "neither id nor key": (b"{}", "request.invalid", "command_id"),
    "command_id is a number": (b'{"command_id":1}', "request.invalid", "command_id"),
    "unknown field": (b'{"idempotency_key":"k","since":1}', "request.unknown_field", "since"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One ready agent for all of this page: nothing here may change its state or the vehicle's."""
    rig = Rig(tmp_path_factory.mktemp("bad_input"))
    rig.start_ready()
    yield rig
    rig.vehicle.fence()
    frames, lifecycles = rig.vehicle.commands(), rig.publisher().lifecycle_keys()
    rig.close()
    assert frames == []
    assert lifecycles == set()


def refuse(rig, body, code, field, **options):
    """The body gets exactly this error."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = rig.publisher().refused(data, **options)
    contract.check_error(reply, code, field, data)
    return reply


def check_unknown(rig, key):
    """The journal has no such key."""
    state = rig.publisher().query(idempotency_key=key)
    assert state["error"]["code"] == "query.not_found"


@pytest.mark.parametrize("name", REQUESTS)
def test_invalid_request(shared, name):
    body, code, field = REQUESTS[name]
    reply = refuse(shared, body, code, field)
    assert reply["idempotency_key"] == body["idempotency_key"]
    check_unknown(shared, body["idempotency_key"])


@pytest.mark.parametrize("name", NO_KEY)
def test_request_without_a_usable_key(shared, name):
    reply = refuse(shared, NO_KEY[name], "request.invalid", "idempotency_key")
    assert not reply["idempotency_key"]


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_request(shared, name):
    refuse(shared, MALFORMED[name], "envelope.malformed", None)
    check_unknown(shared, json.loads(seeds.BODIES[STOP])["idempotency_key"])


@pytest.mark.parametrize("name", QUERIES)
def test_bad_query(shared, name):
    body, code, field = QUERIES[name]
    refuse(shared, body, code, field, kind="queries")


@pytest.mark.parametrize("name", ["unknown payload field", "raw parameter"])
def test_error_lists_the_right_names(shared, name):
    body, code, field = REQUESTS[name]
    assert "target_camera_id" in refuse(shared, body, code, field)["error"]["message"]


def test_error_names_the_device(shared):
    body, code, field = REQUESTS["foreign device"]
    message = refuse(shared, body, code, field)["error"]["message"]
    assert "px4-real-1" in message


@pytest.mark.parametrize("size", [LIMIT + 1, 2 * LIMIT])
def test_oversized_request(shared, size):
    body = seeds.BODIES[STOP].encode()
    refuse(shared, body + b" " * (size - len(body)), "envelope.too_large", None)


def test_far_oversized_request_does_not_stop_the_agent(shared):
    # The broker may hold back what the agent has said that it cannot take.
    shared.publisher().publish(b" " * (1 << 20))
    check_unknown(shared, "anything")


def test_request_of_the_largest_size_is_read(shared):
    body, code, field = REQUESTS["unknown command"]
    data = json.dumps(body).encode()
    refuse(shared, data + b" " * (LIMIT - len(data)), code, field)


@pytest.mark.parametrize("kind", ["commands", "queries"])
def test_retained_request(shared, kind):
    body = seeds.BODIES[STOP].encode() if kind == "commands" else b'{"idempotency_key":"k"}'
    refuse(shared, body, "envelope.retained", None, kind=kind, retain=True)


def test_retained_request_from_before_the_agent(rig):
    rig.broker.start()
    data = rig.publisher().publish(seeds.request(STOP), retain=True)
    mark = len(rig.publisher().messages)
    rig.configure("guarded", ("cloud",), seeds.TYPES)
    rig.vehicle.plug_in()
    rig.agent.start()
    reply = rig.publisher().wait_on(
        "downlink/v1/px4/px4-real-1/replies/cloud", lambda _: True, "the error", mark
    )
    contract.check_error(reply, "envelope.retained", None, data)
    rig.vehicle.fence()
    assert rig.vehicle.commands() == []
    assert rig.publisher().lifecycle_keys() == set()
