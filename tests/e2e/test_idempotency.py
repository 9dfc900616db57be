"""The same key never makes a second frame."""

import pytest

import seeds


@pytest.fixture
def succeeded(ready):
    """A command that has succeeded: its request and its id."""
    request = seeds.request("image_stop_capture")
    reply = ready.publisher().request(request)
    assert ready.publisher().wait_terminal(reply["command_id"])["status"] == "SUCCEEDED"
    return request, reply["command_id"]


def check_duplicate(rig, request, command_id, status):
    reply = rig.publisher().request(request)
    assert reply["duplicate"] is True
    assert reply["command_id"] == command_id
    assert reply["status"] == status
    rig.vehicle.fence()
    assert len(rig.vehicle.commands()) == 1


def test_duplicate_sends_no_second_frame(ready, succeeded):
    check_duplicate(ready, *succeeded, "SUCCEEDED")


def test_duplicate_after_kill_sends_no_second_frame(ready, succeeded):
    ready.agent.kill()
    ready.restart_agent()
    check_duplicate(ready, *succeeded, "SUCCEEDED")


def test_duplicate_after_an_orderly_restart_sends_no_second_frame(ready, succeeded):
    ready.agent.terminate()
    ready.restart_agent()
    check_duplicate(ready, *succeeded, "SUCCEEDED")


def test_duplicate_gets_the_present_status(ready):
    ready.vehicle.on(2001, [])
    request = seeds.request("image_stop_capture")
    command_id = ready.publisher().request(request)["command_id"]
    ready.publisher().wait_status(command_id, "DELIVERED")
    check_duplicate(ready, request, command_id, "DELIVERED")


def test_duplicate_may_be_written_differently(ready, succeeded):
    request, command_id = succeeded
    # The content is what is encoded, and how long a publisher waits is no part of it.
    same = {**request, "payload": {"target_camera_id": 0.0}, "timeout_seconds": 7}
    check_duplicate(ready, same, command_id, "SUCCEEDED")


@pytest.mark.parametrize("after", ["at once", "after a kill"])
@pytest.mark.parametrize("other", ["payload", "command_type"])
def test_conflict_leaves_the_first_as_it_is(ready, succeeded, other, after):
    request, command_id = succeeded
    before = ready.publisher().updates(command_id)[-1]
    if after == "after a kill":
        ready.agent.kill()
        ready.restart_agent()
    changed = {
        "payload": {**request, "payload": {"target_camera_id": 1}},
        "command_type": seeds.request(
            "request_camera_capture_status", idempotency_key=request["idempotency_key"]
        ),
    }[other]
    reply = ready.publisher().refused(changed)
    assert reply["error"]["code"] == "idempotency.conflict"
    assert command_id in reply["error"]["message"]
    assert reply["idempotency_key"] == request["idempotency_key"]
    state = ready.publisher().query(command_id=command_id)
    assert (state["status"], state["seq"]) == ("SUCCEEDED", before["seq"])
    ready.vehicle.fence()
    assert len(ready.vehicle.commands()) == 1


def test_keys_belong_to_their_issuer(rig):
    rig.start_ready(issuers=("cloud", "ops"))
    request = seeds.request("image_stop_capture")
    ids = [rig.publisher(name).request(request)["command_id"] for name in ("cloud", "ops")]
    for name, command_id in zip(("cloud", "ops"), ids, strict=True):
        assert rig.publisher(name).wait_terminal(command_id)["status"] == "SUCCEEDED"
    assert ids[0] != ids[1]
    assert len(rig.vehicle.commands()) == 2
