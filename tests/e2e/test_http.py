"""The HTTP API is another door to the same house."""

import json
import shutil
import socket
import subprocess
import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

import seeds
import signing
from agent import REPOSITORY, run_to_end
from http_client import COMMANDS, ask, look_up, submit
from observed import TIMEOUT_S

CREATED = {"command_id", "status", "accepted_at"}
FOUND = {
    "command_id",
    "status",
    "vendor",
    "device_id",
    "command_type",
    "response_code",
    "response_message",
    "vendor_response",
}


def run_curl(line, agent):
    """Runs a printed line, given a host; returns the status and the JSON."""
    assert shutil.which("curl"), "tests/run installs it"
    line = line.replace('"/api', f'"http://127.0.0.1:{agent.http_port}/api')
    line = line.replace("curl", "curl -sS -w '\\n%{http_code}'", 1)
    result = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    body, status = result.stdout.rsplit("\n", 1)
    return int(status), json.loads(body)


def signed(line, body):
    fields = signing.credentials(body, **signing.BY_HTTP)
    for placeholder, name in {
        "YOUR_API_ID": "api_id",
        "YOUR_UNIX_SECONDS": "timestamp",
        "YOUR_NONCE": "nonce",
        "YOUR_SIGNATURE": "signature",
    }.items():
        line = line.replace(placeholder, fields[name])
    return line


def wait_end(agent, command_id):
    """Asks until a command has ended."""
    deadline = time.monotonic() + TIMEOUT_S
    while (found := look_up(agent, command_id).json)["status"] in ("ACCEPTED", "DELIVERED"):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("command_type", seeds.TYPES)
def test_the_printed_lines_work(ready, command_type):
    body = seeds.BODIES[command_type].encode()
    line = signed(seeds.curl(command_type), body)
    status, created = run_curl(line, ready.agent)
    assert (status, set(created), created["status"]) == (201, CREATED, "ACCEPTED")
    found = wait_end(ready.agent, created["command_id"])
    assert (set(found), found["status"]) == (FOUND, "SUCCEEDED")
    assert found["response_code"] == "MAV_RESULT_ACCEPTED"
    assert found["vendor_response"]["frame_sent"] is True

    query = seeds.CURL_QUERY.replace("8cdb5bf3-8902-c5f7-f9aa-dc7fa0af1de0", created["command_id"])
    assert run_curl(query, ready.agent) == (200, found)
    # The very same line again, and lines as they are printed.
    status, again = run_curl(line, ready.agent)
    assert (status, again) == (200, {**created, "status": "SUCCEEDED"})
    status, unknown = run_curl(seeds.CURL_QUERY, ready.agent)
    assert (status, unknown["error"]["code"]) == (404, "query.not_found")
    status, refused = run_curl(seeds.curl(command_type), ready.agent)
    assert (status, refused["error"]["code"]) == (400, "envelope.malformed")
    assert len(ready.vehicle.commands()) == 1

    # Those who listen by MQTT hear all of it.
    last = ready.publisher().wait_terminal(created["command_id"])
    assert {name: last[name] for name in FOUND} == found
    assert ready.publisher().statuses(created["command_id"]) == [
        "ACCEPTED",
        "DELIVERED",
        "SUCCEEDED",
    ]


def test_the_documented_script_works(ready, tmp_path):
    page = (REPOSITORY / "docs" / "signing.md").read_text()
    script = page.split("```")[-2].replace("8080", str(ready.agent.http_port))
    (tmp_path / "body").write_text(seeds.BODIES["image_stop_capture"])
    (tmp_path / "cloud.hmac").write_text(f"hex:{signing.secret('cloud').hex()}")
    result = subprocess.run(
        ["sh", "-euc", script], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    created = json.loads(result.stdout)
    assert (set(created), created["status"]) == (CREATED, "ACCEPTED"), created
    assert wait_end(ready.agent, created["command_id"])["status"] == "SUCCEEDED"


def test_one_key_is_one_command_by_every_way(ready):
    request = seeds.request("nav_roi")
    reply = ready.publisher().request(request)
    ready.publisher().wait_terminal(reply["command_id"])
    for by_socket in (False, True):
        again = submit(ready.agent, request, by_socket)
        assert (again.status, again.json) == (
            200,
            {
                "command_id": reply["command_id"],
                "status": "SUCCEEDED",
                "accepted_at": reply["accepted_at"],
            },
        )
    other = submit(ready.agent, {**request, "timeout_seconds": 30, "payload": {"z": 7}})
    assert (other.status, other.code) == (409, "idempotency.conflict")
    assert other.json["command_id"] == reply["command_id"]

    first = submit(ready.agent, seeds.request("image_stop_capture"), by_socket=True).json
    wait_end(ready.agent, first["command_id"])
    mark = len(ready.publisher().messages)
    ready.publisher().publish(seeds.request("image_stop_capture"))
    topic = f"{seeds.BASE}/replies/cloud"
    reply = ready.publisher().wait_on(topic, lambda _: True, "a reply", mark)
    assert (reply["command_id"], reply["duplicate"]) == (first["command_id"], True)
    ready.vehicle.fence()
    assert len(ready.vehicle.commands()) == 2


def test_a_signature_is_for_one_way_only_and_a_nonce_for_both(ready):
    body = json.dumps(seeds.request("nav_roi")).encode()
    by_mqtt = {"method": "MQTT", "topic": f"{seeds.BASE}/commands/cloud"}
    refused = submit(ready.agent, body, **by_mqtt)
    assert (refused.status, refused.code) == (401, "auth.failed")
    assert "www-authenticate" in refused.headers
    mark = len(ready.publisher().messages)
    by_http = signing.properties(body, **signing.BY_HTTP)
    ready.publisher().publish(body, properties=by_http, sign=False)
    topic = f"{seeds.BASE}/replies/cloud"
    reply = ready.publisher().wait_on(topic, lambda _: True, "a reply", mark)
    assert reply["error"]["code"] == "auth.failed"

    # What has made a command by MQTT is used up for HTTP.
    used = signing.properties(body, nonce="once")
    ready.publisher().request(json.loads(body), properties=used, sign=False)
    other = submit(ready.agent, seeds.request("nav_roi", idempotency_key="other"), nonce="once")
    assert (other.status, other.code) == (401, "auth.replay")
    ready.vehicle.fence()
    assert len(ready.vehicle.commands()) == 1


def test_an_envelope_in_place_of_headers(ready):
    body = json.dumps(seeds.request("nav_roi")).encode()
    envelope = signing.envelope(body, **signing.BY_HTTP)
    # Whatever it calls itself.
    created = ask(ready.agent, "POST", COMMANDS, envelope, [("Content-Type", "text/html")])
    assert (created.status, set(created.json)) == (201, CREATED)
    both = ask(ready.agent, "POST", COMMANDS, envelope, signing.headers(envelope))
    assert (both.status, both.code) == (400, "envelope.malformed")


def test_what_is_wrong_is_told_and_makes_nothing(ready):
    body = json.dumps(seeds.request("nav_roi")).encode()
    headers = signing.headers(body)
    now = int(time.time())
    unknown = "/8cdb5bf3-8902-c5f7-f9aa-dc7fa0af1de0"
    for name, method, path, data, extra, status, code in [
        ("no credentials", "POST", "", body, [], 401, "auth.failed"),
        ("half a signature", "POST", "", body, headers[:3], 400, "envelope.malformed"),
        ("doubled", "POST", "", body, [*headers, headers[0]], 400, "envelope.malformed"),
        ("another body", "POST", "", body + b" ", headers, 401, "auth.failed"),
        ("stale", "POST", "", body, signing.headers(body, timestamp=now - 90), 401, "auth.stale"),
        ("no JSON", "POST", "", b"{", signing.headers(b"{"), 400, "envelope.malformed"),
        ("nothing", "POST", "", b"{}", signing.headers(b"{}"), 400, "request.invalid"),
        ("large", "POST", "", b"x" * 20_000, headers, 413, "envelope.too_large"),
        ("larger", "POST", "", b"x" * 100_000, headers, 413, "envelope.too_large"),
        ("method", "PUT", "", body, headers, 405, "request.invalid"),
        ("method", "GET", "", b"", [], 405, "request.invalid"),
        ("method", "POST", unknown, body, headers, 405, "request.invalid"),
        ("unknown", "GET", unknown, b"", [], 404, "query.not_found"),
        ("no id", "GET", "/1", b"", [], 400, "request.invalid"),
    ]:
        answer = ask(ready.agent, method, COMMANDS + path, data, extra)
        assert (answer.status, answer.code) == (status, code), (name, answer)
        assert answer.json["error"]["message"]
        # As many refusals as in a burst get an answer that says why.
        time.sleep(1 if status in (400, 401, 413) else 0)
    flood = [ask(ready.agent, "POST", COMMANDS, body) for _ in range(20)]
    assert {answer.status for answer in flood} == {401, 429}
    ready.vehicle.fence()
    assert ready.vehicle.commands() == []
    # None of it counts against the true one.
    assert submit(ready.agent, body).status == 201


def test_another_issuer_has_other_commands(rig):
    rig.start_ready(issuers=("cloud", "ops"))
    request = seeds.request("image_stop_capture")
    ids = set()
    for api_id in ("cloud", "ops"):
        created = submit(rig.agent, request, api_id=api_id)
        assert created.status == 201
        ids.add(created.json["command_id"])
    assert len(ids) == 2
    forged = submit(rig.agent, request, api_id="ops", key=signing.secret("cloud"))
    assert (forged.status, forged.code) == (401, "auth.failed")


def test_where_nobody_is_asked_the_headers_name_the_issuer(rig):
    rig.start_ready(mode="disabled", issuers=())
    body = json.dumps(seeds.request("nav_roi")).encode()
    nobody = ask(rig.agent, "POST", COMMANDS, body)
    assert (nobody.status, nobody.code) == (401, "auth.failed")
    created = submit(rig.agent, body, key=bytes(32))
    assert created.status == 201
    found = wait_end(rig.agent, created.json["command_id"])
    assert (found["status"], found["response_code"]) == ("FAILED", "guard.disabled")
    assert found["vendor_response"]["frame_sent"] is False
    reply = submit(rig.agent, body, api_id="somebody")
    assert (reply.status, reply.json["status"]) == (201, "ACCEPTED")


def test_without_a_clock_the_status_tells_the_challenge(rig):
    rig.agent.set_clock_synchronized(False)
    rig.start_ready()
    request = seeds.request("nav_roi")
    refused = submit(rig.agent, request)
    assert (refused.status, refused.code) == (401, "auth.clock_untrusted")
    challenge = ask(rig.agent, "GET", "/api/v1/status").json["challenge"]
    assert submit(rig.agent, request, challenge=challenge).status == 201


def test_a_response_outlives_the_broker_and_a_kill(ready):
    ready.broker.stop()
    created = submit(ready.agent, seeds.request("nav_roi"))
    assert created.status == 201
    found = wait_end(ready.agent, created.json["command_id"])
    assert found["status"] == "SUCCEEDED"
    ready.agent.kill()
    ready.publisher().expect_reconnect()
    ready.broker.start()
    ready.publisher().wait_subscribed()
    ready.restart_agent()
    assert look_up(ready.agent, created.json["command_id"]).json == found
    again = submit(ready.agent, seeds.request("nav_roi"))
    assert (again.status, again.json["status"]) == (200, "SUCCEEDED")
    assert ready.publisher().wait_terminal(created.json["command_id"])["status"] == "SUCCEEDED"
    assert len(ready.vehicle.commands()) == 1


def test_many_at_once_and_slow_ones_beside_them(ready):
    slow = [socket.create_connection(("127.0.0.1", ready.agent.http_port)) for _ in range(60)]
    for connection in slow:
        connection.sendall(b"POST /api/v1/open/downlink/commands HTTP/1.1\r\nX-Api-Id: cl")
    answers = []
    request = seeds.request("image_stop_capture")
    threads = [
        threading.Thread(target=lambda: answers.append(submit(ready.agent, request)))
        for _ in range(100)
    ]
    for thread in threads:
        thread.start()
    reply = ready.publisher().request(seeds.request("nav_roi"))
    assert ready.publisher().wait_terminal(reply["command_id"])["status"] == "SUCCEEDED"
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert sorted(answer.status for answer in answers) == [200] * 99 + [201]
    assert len({answer.json["command_id"] for answer in answers}) == 1
    for connection in slow:
        connection.settimeout(TIMEOUT_S)
        assert connection.recv(1) == b"", "a connection that does not go on is closed"
        connection.close()
    ready.vehicle.fence()
    assert len(ready.vehicle.commands()) == 2


def test_an_agent_that_stops_answers_what_it_has_taken(ready):
    stop = threading.Event()
    answers, failures = [], []

    def keep_asking(worker):
        for number in range(10_000):
            if stop.is_set():
                return
            request = seeds.request("nav_roi", idempotency_key=f"{worker}-{number}")
            try:
                answers.append((request, submit(ready.agent, request)))
            except OSError as error:
                # Nobody listens any more.
                failures.append(error)
                return

    workers = [threading.Thread(target=keep_asking, args=(worker,)) for worker in range(4)]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + TIMEOUT_S
    while len(answers) < 20:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert ready.agent.terminate() == 0
    stop.set()
    for worker in workers:
        worker.join(TIMEOUT_S)
    assert {answer.status for _, answer in answers} <= {201, 503}
    ready.restart_agent()
    # What was answered is known; no answer has lied.
    for request, answer in answers:
        if answer.status == 201:
            again = submit(ready.agent, request)
            assert (again.status, again.json["command_id"]) == (200, answer.json["command_id"])


def test_visitors_get_no_more_than_what_is_open(ready):
    for method, path in [
        ("GET", "/api/v1/grants"),
        ("POST", "/api/v1/grants"),
        ("DELETE", "/api/v1/grants"),
        ("POST", "/api/v1/guard/explain"),
        ("GET", "/api/v1/commands"),
        ("GET", "/api/v1/commands/8cdb5bf3-8902-c5f7-f9aa-dc7fa0af1de0"),
    ]:
        answer = ask(ready.agent, method, path)
        assert (answer.status, answer.code) == (403, "auth.not_permitted"), path
    assert ask(ready.agent, "GET", "/api/v1/grants", by_socket=True).status == 200


def test_a_port_that_is_taken_stops_nothing_else(rig):
    taken = socket.create_server(("127.0.0.1", rig.agent.http_port))
    rig.start_ready()
    rig.agent.wait_log(f"failed to listen on 127.0.0.1:{rig.agent.http_port} ([api] listen)")
    assert submit(rig.agent, seeds.request("nav_roi"), by_socket=True).status == 201
    taken.close()


def test_an_open_port_is_warned_about(rig):
    rig.configure("guarded", ("cloud",), seeds.TYPES)
    text = rig.agent.config.read_text()
    port = rig.agent.http_port
    rig.agent.config.write_text(text.replace(f'"{port}"', f'"0.0.0.0:{port}"'))
    rig.agent.start()
    rig.agent.wait_log(f"open to the network at 0.0.0.0:{port}")


def query(agent, *arguments):
    return run_to_end("query", *arguments, "--config", agent.config)


def test_an_operator_asks_the_running_agent(rig):
    rig.start_ready(issuers=("cloud", "ops"))
    ids = {}
    for api_id, command_type in [("cloud", "nav_roi"), ("ops", "image_stop_capture")]:
        publisher = rig.publisher(api_id)
        created = submit(rig.agent, seeds.request(command_type), api_id=api_id).json
        ids[api_id] = created["command_id"]
        publisher.wait_terminal(ids[api_id])
    listed = json.loads(query(rig.agent, "--output", "json").stdout)
    assert [command["command_id"] for command in listed["commands"]] == [ids["ops"], ids["cloud"]]
    assert listed["complete"] is True
    last = rig.publisher().updates(ids["cloud"])[-1]
    assert listed["commands"][1] == {**last, "api_id": "cloud"}
    one = json.loads(query(rig.agent, ids["cloud"], "--output", "json").stdout)
    assert one == listed["commands"][1]

    for arguments, found in [
        (["--issuer", "ops"], ["ops"]),
        (["--command-type", "nav_roi"], ["cloud"]),
        (["--status", "succeeded", "--limit", "1"], ["ops"]),
        (["--status", "FAILED"], []),
    ]:
        listed = json.loads(query(rig.agent, *arguments, "--output", "json").stdout)
        assert [command["api_id"] for command in listed["commands"]] == found, arguments
    table = query(rig.agent).stdout.splitlines()
    assert (len(table), ids["ops"] in table[1]) == (3, True)
    by_key = query(rig.agent, "--idempotency-key", "req-nav_roi-001", "--issuer", "cloud")
    assert (by_key.returncode, ids["cloud"] in by_key.stdout) == (0, True)
    for arguments in (
        ["8cdb5bf3-8902-c5f7-f9aa-dc7fa0af1de0"],
        ["--idempotency-key", "req-nav_roi-001", "--issuer", "ops"],
    ):
        missing = query(rig.agent, *arguments)
        assert (missing.returncode, missing.stdout) == (1, "")
        assert "query.not_found" in missing.stderr
    for wrong in (["--limit", "0"], ["--status", "DONE"], ["--idempotency-key", "x"], ["x"]):
        assert query(rig.agent, *wrong).returncode == 64, wrong

    in_use = run_to_end("journal", "list", "--config", rig.agent.config)
    assert (in_use.returncode, "downlinkd query" in in_use.stderr) == (75, True)


def samples(agent, by_socket=False):
    answer = ask(agent, "GET", "/metrics", by_socket=by_socket)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.body.decode())
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_count_what_happens(ready):
    before = samples(ready.agent)
    created = submit(ready.agent, seeds.request("nav_roi")).json
    wait_end(ready.agent, created["command_id"])
    submit(ready.agent, seeds.request("nav_roi"))
    ready.publisher().refused(b"{}")
    ready.vehicle.on(2001, [])
    reply = ready.publisher().request(seeds.request("image_stop_capture", timeout_seconds=1))
    ready.publisher().wait_terminal(reply["command_id"])
    after = samples(ready.agent, by_socket=True)
    changes = {
        name: after[name] - before.get(name, 0)
        for name in after
        if after[name] != before.get(name, 0) and name[0].endswith(("_total", "_count"))
    }
    commits = changes.pop(("downlinkd_journal_commit_seconds_count",))
    assert commits >= 4
    # The vehicle's heartbeats, at least.
    assert changes.pop(("downlinkd_link_frames_total",)) >= 1
    assert changes == {
        ("downlinkd_commands_accepted_total", ("way", "http")): 1,
        ("downlinkd_commands_accepted_total", ("way", "mqtt")): 1,
        ("downlinkd_duplicates_total", ("way", "http")): 1,
        ("downlinkd_refusals_total", ("code", "request.invalid")): 1,
        ("downlinkd_commands_total", ("code", "MAV_RESULT_ACCEPTED"), ("status", "SUCCEEDED")): 1,
        ("downlinkd_commands_total", ("code", "timeout.ack"), ("status", "TIMED_OUT")): 1,
        ("downlinkd_command_delivery_seconds_count",): 2,
        ("downlinkd_command_ack_seconds_count",): 1,
        ("downlinkd_command_duration_seconds_count",): 2,
    }
    assert after[("downlinkd_link_state", ("state", "ready"))] == 1
    assert after[("downlinkd_broker_connected",)] == 1
    assert after[("downlinkd_clock_trusted",)] == 1
    assert after[("downlinkd_queued_commands",)] == 0
    assert sum(name[0] == "downlinkd_build_info" for name in after) == 1

    ready.broker.stop()
    ready.agent.wait_status(lambda status: not status["broker"]["connected"])
    assert samples(ready.agent)[("downlinkd_broker_connected",)] == 0
    ready.broker.start()
    ready.agent.wait_status(lambda status: status["broker"]["connected"])
    assert samples(ready.agent)[("downlinkd_broker_reconnects_total",)] == 1


def test_watching_survives_a_restart(ready):
    watch = ready.agent.watch_status()
    lines = iter(watch.stdout.readline, "")

    def wait_line(text):
        assert any(text in line for line in lines), f"{text!r} does not come"

    wait_line("link         ready")
    ready.agent.kill()
    wait_line("nobody listens")
    ready.restart_agent()
    wait_line("link         ready")
    watch.stdout.close()
    # Who writes to nobody ends.
    assert watch.wait(TIMEOUT_S) == 0
