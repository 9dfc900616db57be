"""What the guard refuses becomes a lifecycle, and never a frame."""

import pytest

import contract
import seeds


def check_refused(rig, request, code, **options):
    """ACCEPTED, then FAILED with the guard's code, and nothing on the wire."""
    reply = rig.publisher().request(request, **options)
    contract.check_create_reply(reply, request)
    final = rig.publisher().wait_terminal(reply["command_id"])
    updates = rig.publisher().updates(reply["command_id"])
    contract.check_sequence(updates)
    for update in updates:
        contract.check_update(update, reply, request)
    assert [u["status"] for u in updates] == ["ACCEPTED", "FAILED"]
    assert final["response_code"] == code
    assert final["response_message"]
    assert final["vendor_response"]["frame_sent"] is False
    assert final["vendor_response"]["result"] is None
    rig.vehicle.fence()
    assert rig.vehicle.commands() == []


@pytest.mark.parametrize("issuers", [(), ("cloud",)], ids=["no issuer", "an issuer"])
def test_disabled_mode_sends_nothing(rig, issuers):
    rig.start_ready(mode="disabled", issuers=issuers)
    presence = rig.publisher().wait_presence(lambda p: p["online"], "presence")
    assert presence["guard_mode"] == "disabled"
    # Where no issuer is configured nobody is asked for a signature.
    sign = issuers != ()
    check_refused(rig, seeds.request("image_stop_capture"), "guard.disabled", sign=sign)


def test_command_without_a_rule_is_denied(rig):
    rig.start_ready(commands=("image_stop_capture",))
    check_refused(rig, seeds.request("preflight_reboot_shutdown"), "policy.command_denied")


def test_everything_is_denied_without_rules(rig):
    rig.start_ready(commands=())
    check_refused(rig, seeds.request("image_stop_capture"), "policy.command_denied")


def test_silent_vehicle_is_not_sent_to(rig):
    rig.vehicle.heartbeats = False
    rig.start()
    rig.wait_link("open")
    check_refused(rig, seeds.request("image_stop_capture"), "transport.not_ready")


def test_vehicle_that_falls_silent_is_not_sent_to(ready):
    mark = len(ready.publisher().messages)
    ready.vehicle.heartbeats = False
    ready.wait_link("open", mark)
    check_refused(ready, seeds.request("image_stop_capture"), "transport.not_ready")


def test_refused_command_stays_refused(rig):
    rig.start_ready(commands=())
    request = seeds.request("image_stop_capture")
    command_id = rig.publisher().request(request)["command_id"]
    rig.publisher().wait_status(command_id, "FAILED")
    rig.agent.terminate()
    rig.configure("guarded", ("cloud",), seeds.TYPES)
    rig.restart_agent()
    reply = rig.publisher().request(request)
    assert (reply["duplicate"], reply["status"]) == (True, "FAILED")
    rig.vehicle.fence()
    assert rig.vehicle.commands() == []


def test_unknown_issuer_is_refused_without_detail(ready):
    stranger = ready.publisher("stranger")
    reply = stranger.refused(seeds.request("image_stop_capture"))
    assert reply["error"]["code"] == "auth.failed"
    assert "cloud" not in str(reply)
    ready.vehicle.fence()
    assert ready.vehicle.commands() == []
    assert stranger.lifecycle_keys() == set()
