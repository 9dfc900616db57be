"""Nobody speaks in an issuer's name who does not have its key."""

import json
import time

import pytest

import seeds
import signing

FLOOD = 2000
REPLIES = "downlink/v1/px4/px4-real-1/replies/cloud"


def body_of(key):
    request = seeds.request("image_stop_capture") | {"idempotency_key": key}
    return json.dumps(request).encode()


def answer(rig, data, properties=None):
    """Publishes as it is, and returns the reply."""
    mark = len(rig.publisher().messages)
    rig.publisher().publish(data, properties=properties, sign=False)
    return rig.publisher().wait_on(REPLIES, lambda _: True, "a reply", mark)


def code(reply):
    return reply["error"]["code"] if "error" in reply else reply["status"]


@pytest.mark.parametrize("way", ["properties", "envelope"])
def test_a_signed_command_goes_out(ready, way):
    body = body_of("signed")
    if way == "properties":
        reply = answer(ready, body, signing.properties(body))
    else:
        reply = answer(ready, signing.envelope(body))
    assert code(reply) == "ACCEPTED"
    assert ready.publisher().wait_terminal(reply["command_id"])["status"] == "SUCCEEDED"
    assert len(ready.vehicle.commands()) == 1


def test_nothing_else_goes_out(ready):
    body = body_of("forged")
    other = body_of("other")
    now = int(time.time())
    for properties, expected in [
        (None, "auth.failed"),
        (signing.properties(body, key=bytes(32)), "auth.failed"),
        (signing.properties(other), "auth.failed"),
        (signing.properties(body, topic="downlink/v1/px4/px4-real-2/commands/cloud"), "auth.failed"),
        (signing.properties(body, api_id="ops", key=signing.secret("cloud")), "auth.failed"),
        (signing.properties(body, timestamp=now - 90), "auth.stale"),
    ]:
        assert code(answer(ready, body, properties)) == expected
        # As many refusals as in a burst get an answer; the next one comes with the next second.
        time.sleep(1)
    ready.vehicle.fence()
    assert ready.vehicle.commands() == []
    assert ready.publisher().lifecycle_keys() == set()


def test_a_disabled_agent_asks_its_issuers_for_signatures_too(rig):
    rig.start_ready(mode="disabled")
    body = body_of("disabled")
    assert code(answer(rig, body)) == "auth.failed"
    assert code(answer(rig, body, signing.properties(body))) == "ACCEPTED"


def test_a_recording_finds_its_own_command_and_no_other(ready):
    body = body_of("recorded")
    recorded = signing.properties(body, nonce="used-once")
    first = answer(ready, body, recorded)
    ready.publisher().wait_terminal(first["command_id"])
    for _ in range(2):
        again = answer(ready, body, recorded)
        assert (again["command_id"], again["duplicate"]) == (first["command_id"], True)
        other = body_of("by the same nonce")
        reply = answer(ready, other, signing.properties(other, nonce="used-once"))
        assert code(reply) == "auth.replay"
        # The nonce is durable.
        ready.agent.kill()
        ready.restart_agent()
    ready.vehicle.fence()
    assert len(ready.vehicle.commands()) == 1


def test_without_a_clock_the_challenge_vouches_for_the_time(rig):
    rig.agent.set_clock_synchronized(False)
    rig.start_ready()
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


def test_a_key_is_taken_up_without_a_restart(ready):
    def signed_with(key, name):
        body = body_of(name)
        return code(answer(ready, body, signing.properties(body, key=key)))

    old, new = signing.secret("cloud"), bytes(range(32))
    assert signed_with(new, "too early") == "auth.failed"
    ready.agent.write_key("cloud", new)
    ready.agent.reload()
    ready.agent.wait_log("was read again")
    assert signed_with(old, "too late") == "auth.failed"
    assert signed_with(new, "in time") == "ACCEPTED"

    # An issuer without a key, in a drop-in.
    drop_ins = ready.agent.config.with_name("conf.d")
    drop_ins.mkdir()
    (drop_ins / "10-issuer.toml").write_text(
        '[[guard.issuer]]\nid = "cloud"\ncommands = ["*"]\n'
    )
    ready.agent.reload()
    ready.agent.wait_log("stays as it was")
    assert code(answer(ready, body_of("unsigned"))) == "auth.failed"
    assert signed_with(new, "still in time") == "ACCEPTED"


def test_a_flood_of_forged_requests_costs_no_disk_and_starves_no_true_one(ready):
    def journal_files():
        # sled only ever appends or makes new files.
        files = [file.stat() for file in ready.agent.journal.rglob("*") if file.is_file()]
        return sorted((file.st_ino, file.st_size, file.st_mtime_ns) for file in files)

    def forge(numbers):
        for number in numbers:
            body = body_of(f"forged-{number}")
            signed = signing.properties(body, key=bytes(32))
            client.publish(f"{seeds.BASE}/commands/cloud", body, qos=1, properties=signed)

    publisher = ready.publisher()
    client = publisher.client
    before = journal_files()
    forge(range(FLOOD))
    ready.agent.wait_status(lambda status: status["refusals"] == {"auth.failed": FLOOD})
    assert journal_files() == before
    errors = [m for m in publisher.messages.since() if "error" in m.body]
    assert 0 < len(errors) < FLOOD / 10

    forge(range(FLOOD, 2 * FLOOD))
    reply = publisher.request(seeds.request("image_stop_capture"))
    assert publisher.wait_terminal(reply["command_id"])["status"] == "SUCCEEDED"
    ready.agent.wait_status(lambda status: status["refusals"] == {"auth.failed": 2 * FLOOD})
    assert publisher.lifecycle_keys() == {"req-image_stop_capture-001"}
    assert len(ready.vehicle.commands()) == 1
