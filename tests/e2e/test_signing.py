"""An issuer with a key: nobody speaks in its name who does not have it."""

import json
import time

import pytest

import seeds
import signing

REPLIES = "downlink/v1/px4/px4-real-1/replies/cloud"


@pytest.fixture
def signed(rig):
    """An agent whose issuer must sign, and whose clock is right."""
    rig.start_with_key(clock_synchronized=True)
    return rig


def body_of(key):
    request = seeds.request("image_stop_capture") | {"idempotency_key": key}
    return json.dumps(request).encode()


def answer(rig, data, properties=None):
    """Publishes and returns the reply."""
    mark = len(rig.publisher().messages)
    rig.publisher().publish(data, properties=properties)
    return rig.publisher().wait_on(REPLIES, lambda _: True, "a reply", mark)


def code(reply):
    return reply["error"]["code"] if "error" in reply else reply["status"]


@pytest.mark.parametrize("way", ["properties", "envelope"])
def test_a_signed_command_goes_out(signed, way):
    body = body_of("signed")
    if way == "properties":
        reply = answer(signed, body, signing.properties(body))
    else:
        reply = answer(signed, signing.envelope(body))
    assert code(reply) == "ACCEPTED"
    assert signed.publisher().wait_terminal(reply["command_id"])["status"] == "SUCCEEDED"
    assert len(signed.vehicle.commands()) == 1


def test_nothing_else_goes_out(signed):
    body = body_of("forged")
    other = body_of("other")
    now = int(time.time())
    for properties, expected in [
        (None, "auth.failed"),
        (signing.properties(body, secret=bytes(32)), "auth.failed"),
        (signing.properties(other), "auth.failed"),
        (signing.properties(body, topic="downlink/v1/px4/px4-real-2/commands/cloud"), "auth.failed"),
        (signing.properties(body, api_id="ops"), "auth.failed"),
        (signing.properties(body, timestamp=now - 90), "auth.stale"),
    ]:
        assert code(answer(signed, body, properties)) == expected
        # As many refusals as in a burst get an answer; the next one comes with the next second.
        time.sleep(1)
    signed.vehicle.fence()
    assert signed.vehicle.commands() == []
    assert signed.publisher().lifecycle_keys() == set()


def test_a_recording_finds_its_own_command_and_no_other(signed):
    body = body_of("recorded")
    recorded = signing.properties(body, nonce="used-once")
    first = answer(signed, body, recorded)
    signed.publisher().wait_terminal(first["command_id"])
    for _ in range(2):
        again = answer(signed, body, recorded)
        assert (again["command_id"], again["duplicate"]) == (first["command_id"], True)
        other = body_of("by the same nonce")
        reply = answer(signed, other, signing.properties(other, nonce="used-once"))
        assert code(reply) == "auth.replay"
        # The nonce is durable.
        signed.agent.kill()
        signed.restart_agent()
    signed.vehicle.fence()
    assert len(signed.vehicle.commands()) == 1


def test_without_a_clock_the_challenge_vouches_for_the_time(rig):
    rig.start_with_key(clock_synchronized=False)
    body = body_of("without a clock")
    assert code(answer(rig, body, signing.properties(body))) == "auth.clock_untrusted"
    challenge = rig.wait_ready(0)["challenge"]
    # Whatever the publisher's own clock says.
    signed = signing.properties(body, timestamp=1_000_000_000, challenge=challenge)
    reply = answer(rig, body, signed)
    assert code(reply) == "ACCEPTED"
    rig.publisher().wait_terminal(reply["command_id"])

    rig.agent.kill()
    rig.restart_agent()
    other = body_of("with an old challenge")
    old = signing.properties(other, challenge=challenge)
    assert code(answer(rig, other, old)) == "auth.clock_untrusted"
    rig.vehicle.fence()
    assert len(rig.vehicle.commands()) == 1


def test_a_key_is_taken_up_without_a_restart(rig):
    rig.start_ready()
    body = body_of("before")
    assert code(answer(rig, body)) == "ACCEPTED"
    rig.agent.require_signatures("cloud", signing.SECRET)
    rig.agent.reload()
    rig.agent.wait_log("was read again")
    body = body_of("after")
    assert code(answer(rig, body)) == "auth.failed"

    drop_in = rig.agent.config.with_name("conf.d") / "10-key.toml"
    drop_in.write_text("[[guard.issuer]]\nid = 7\n")
    rig.agent.reload()
    rig.agent.wait_log("stays as it was")
    assert code(answer(rig, body)) == "auth.failed"
