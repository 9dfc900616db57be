"""Flight and critical commands go under a grant, and under nothing else."""

import json

import pytest

import seeds
import signing
from agent import run_to_end

REBOOT = "preflight_reboot_shutdown"
CRITICAL = {"scope": {"risk": "critical"}, "duration_seconds": 60, "count": 2}


def request(key, **changes):
    return seeds.request(REBOOT, idempotency_key=key, **changes)


def outcome(rig, key, api_id="cloud"):
    """The terminal response code of a new reboot command."""
    publisher = rig.publisher(api_id)
    reply = publisher.request(request(key))
    return publisher.wait_terminal(reply["command_id"])["response_code"]


def presence_grants(rig, condition, what):
    presence = rig.publisher().wait_presence(lambda p: p["online"] and condition(p["grants"]), what)
    return presence["grants"]


@pytest.fixture
def guarded(rig):
    """The reboot needs a grant; `ops` and `chief` may grant, and two persons must."""
    rig.configure("guarded", (), ())
    issuers = "".join(
        f"""\
[[guard.issuer]]
id = "{issuer}"
{permission}
[[guard.issuer.key]]
kid = "1"
hmac_key_file = "{rig.agent.write_key(issuer, signing.secret(issuer))}"
"""
        for issuer, permission in (
            ("cloud", 'commands = ["*"]'),
            ("other", 'commands = ["*"]'),
            ("ops", "may_grant = true"),
            ("chief", "may_grant = true"),
        )
    )
    rule = f'[[guard.command]]\ntype = "{REBOOT}"\n'
    drop_ins = rig.agent.config.with_name("conf.d")
    drop_ins.mkdir()
    (drop_ins / "guard.toml").write_text(f'{issuers}{rule}[guard.grant]\nmax_duration = "2min"\n')
    rig.broker.start()
    rig.vehicle.plug_in()
    rig.publisher()
    rig.agent.start()
    rig.wait_ready(mark=0)
    return rig


def cli(rig, *arguments):
    return run_to_end(*arguments, "--config", rig.agent.config)


def test_without_a_grant_nothing_critical_goes(guarded):
    assert outcome(guarded, "a") == "grant.missing"
    guarded.vehicle.fence()
    assert guarded.vehicle.commands() == []


def test_a_signed_grant_lets_as_many_through_as_it_says(guarded):
    reply = guarded.publisher("ops").grant(action="open", **CRITICAL)
    assert reply["grant"]["state"] == "open"
    assert reply["grant"]["opened_by"] == {"issuer": "ops"}
    shown = presence_grants(guarded, lambda grants: grants, "a grant")
    assert shown[0]["grant_id"] == reply["grant"]["grant_id"]
    assert outcome(guarded, "a") == "MAV_RESULT_ACCEPTED"
    assert outcome(guarded, "b", "other") == "MAV_RESULT_ACCEPTED"
    assert outcome(guarded, "c") == "grant.exhausted"
    # A duplicate is no new command.
    assert guarded.publisher().request(request("a"))["duplicate"]
    assert len(guarded.vehicle.commands()) == 2


def test_a_grant_for_one_issuer_is_no_other_ones(guarded):
    guarded.publisher("ops").grant(action="open", issuer="cloud", **CRITICAL)
    assert outcome(guarded, "a", "other") == "grant.missing"
    assert outcome(guarded, "a") == "MAV_RESULT_ACCEPTED"


def test_a_revoked_grant_lets_nothing_through(guarded):
    ops = guarded.publisher("ops")
    grant_id = ops.grant(action="open", **CRITICAL)["grant"]["grant_id"]
    assert ops.grant(action="revoke", grant_id=grant_id)["revoked"] == [grant_id]
    assert outcome(guarded, "a") == "grant.missing"


def test_who_may_not_grant_is_refused(guarded):
    reply = guarded.publisher("cloud").grant(action="open", **CRITICAL)
    assert reply["error"]["code"] == "auth.not_permitted"
    too_long = {**CRITICAL, "duration_seconds": 121}
    reply = guarded.publisher("ops").grant(action="open", **too_long)
    assert reply["error"]["code"] == "policy.out_of_bounds"
    assert outcome(guarded, "a") == "grant.missing"


def test_a_grant_is_signed_for_its_topic_and_counts_once(guarded):
    ops = guarded.publisher("ops")
    body = json.dumps({"action": "open", **CRITICAL}).encode()
    topic = f"{seeds.BASE}/grants/ops"
    # The signature of a command's topic is none for the grants' topic.
    elsewhere = signing.properties(body, topic=f"{seeds.BASE}/commands/ops", api_id="ops")
    options = {"kind": "grants", "sign": False}
    reply = ops.refused(body, properties=elsewhere, **options)
    assert reply["error"]["code"] == "auth.failed"
    assert ops.refused(body, **options)["error"]["code"] == "auth.failed"

    signed = signing.properties(body, topic=topic, api_id="ops")
    mark = len(ops.messages)
    ops.publish(body, properties=signed, **options)
    ops.wait_on(f"{seeds.BASE}/replies/ops", lambda r: "grant" in r, "a grant", mark)
    assert ops.refused(body, properties=signed, **options)["error"]["code"] == "auth.replay"
    # The nonce is known over a restart, the grant is gone with it.
    guarded.agent.kill()
    guarded.restart_agent()
    assert ops.refused(body, properties=signed, **options)["error"]["code"] == "auth.replay"
    assert outcome(guarded, "a") == "grant.missing"


def test_the_lost_link_ends_the_grant(guarded):
    guarded.publisher("ops").grant(action="open", **CRITICAL)
    presence_grants(guarded, lambda grants: grants, "a grant")
    mark = len(guarded.publisher().messages)
    guarded.vehicle.unplug()
    guarded.wait_link("closed", mark)
    guarded.vehicle.plug_in()
    guarded.wait_ready(mark)
    assert outcome(guarded, "a") == "grant.missing"


def test_two_persons(guarded):
    (guarded.agent.config.with_name("conf.d") / "two.toml").write_text(
        '[guard.grant]\ntwo_person = ["critical"]\n'
    )
    guarded.agent.reload()
    guarded.agent.wait_log("was read again")
    ops = guarded.publisher("ops")
    grant = ops.grant(action="open", **CRITICAL)["grant"]
    assert grant["state"] == "pending"
    assert outcome(guarded, "a") == "grant.missing"
    approve = {"action": "approve", "grant_id": grant["grant_id"]}
    assert ops.grant(**approve)["error"]["code"] == "auth.not_permitted"
    approved = guarded.publisher("chief").grant(**approve)["grant"]
    assert (approved["state"], approved["approved_by"]) == ("open", {"issuer": "chief"})
    assert outcome(guarded, "b") == "MAV_RESULT_ACCEPTED"


def test_an_operator_at_the_vehicle(guarded, tmp_path):
    opened = cli(guarded, "grant", "--risk", "critical", "--for", "1min", "--count", "1")
    assert opened.returncode == 0, opened.stderr
    assert outcome(guarded, "a") == "MAV_RESULT_ACCEPTED"
    assert outcome(guarded, "b") == "grant.exhausted"
    too_long = cli(guarded, "grant", "--risk", "critical", "--for", "3min")
    assert too_long.returncode == 1
    assert "(policy.out_of_bounds)" in too_long.stderr

    status = guarded.agent.status()
    assert status["grants"] == []
    assert status["refusals"] == {"grant.exhausted": 1}

    file = tmp_path / "request.json"
    body = json.dumps(request("c")).encode()
    file.write_bytes(signing.envelope(body))
    explained = json.loads(cli(guarded, "guard", "explain", file, "--output", "json").stdout)
    verdicts = {layer["layer"]: layer["code"] or layer["verdict"] for layer in explained["layers"]}
    assert verdicts == {
        "authentication": "passes",
        "mode": "passes",
        "permission": "passes",
        "policy": "passes",
        "state": "passes",
        "grant": "grant.exhausted",
        "transport": "passes",
    }
    cli(guarded, "grant", "--command", REBOOT, "--for", "1min")
    file.write_bytes(signing.envelope(body))
    passes = cli(guarded, "guard", "explain", file)
    assert passes.returncode == 0, passes.stdout
    assert passes.stdout.endswith("it would be sent\n")
    # Nothing came of asking: neither a command nor a nonce.
    guarded.publisher().publish(file.read_bytes(), sign=False)
    guarded.vehicle.wait_commands(2)
