"""Queries read an issuer's own commands, and nothing else."""

import pytest

import contract
import seeds


@pytest.fixture
def succeeded(ready):
    request = seeds.request("nav_roi")
    reply = ready.publisher().request(request)
    return request, reply, ready.publisher().wait_terminal(reply["command_id"])


def check_state(state, request, reply, last):
    """A query's reply is the last lifecycle update, and the request_id."""
    contract.check_update(state, reply, request)
    assert {name: state[name] for name in last} == last


def test_query_by_command_id(ready, succeeded):
    request, reply, last = succeeded
    check_state(ready.publisher().query(command_id=reply["command_id"]), request, reply, last)


def test_query_by_idempotency_key(ready, succeeded):
    request, reply, last = succeeded
    state = ready.publisher().query(idempotency_key=request["idempotency_key"])
    check_state(state, request, reply, last)


def test_query_outlives_a_kill(ready, succeeded):
    request, reply, last = succeeded
    ready.agent.kill()
    ready.restart_agent()
    state = ready.publisher().query(command_id=reply["command_id"])
    check_state(state, request, reply, {**last, "seq": state["seq"]})
    assert state["seq"] >= last["seq"]


def test_query_in_between_gets_the_present_status(ready):
    ready.vehicle.on(80, [])
    reply = ready.publisher().request(seeds.request("nav_roi"))
    ready.publisher().wait_status(reply["command_id"], "DELIVERED")
    state = ready.publisher().query(command_id=reply["command_id"])
    assert (state["status"], state["terminal"]) == ("DELIVERED", False)


@pytest.mark.parametrize(
    "question",
    [
        {"command_id": "8cdb5bf3-8902-c5f7-f9aa-dc7fa0af1de0"},
        {"idempotency_key": "never-used"},
    ],
)
def test_query_for_nothing(ready, question):
    assert ready.publisher().query(**question)["error"]["code"] == "query.not_found"


def test_another_issuer_learns_nothing(rig):
    rig.start_ready(issuers=("cloud", "ops"))
    request = seeds.request("image_stop_capture")
    command_id = rig.publisher().request(request)["command_id"]
    rig.publisher().wait_terminal(command_id)
    ops = rig.publisher("ops")
    for question in ({"command_id": command_id}, {"idempotency_key": request["idempotency_key"]}):
        assert ops.query(**question)["error"]["code"] == "query.not_found"
    assert ops.lifecycle_keys() == set()


def test_disabled_agent_answers_queries(rig):
    rig.start_ready(mode="disabled")
    command_id = rig.publisher().request(seeds.request("nav_roi"))["command_id"]
    rig.publisher().wait_terminal(command_id)
    state = rig.publisher().query(command_id=command_id)
    assert (state["status"], state["response_code"]) == ("FAILED", "guard.disabled")
