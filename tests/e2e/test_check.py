"""`downlinkd check`: each item's level, and that nothing is disturbed by looking."""

import json
import os
import subprocess
import threading
import time

import pytest
from pymavlink.dialects.v20 import development as mavlink

import seeds
from agent import BINARY, clean_environment
from broker import Broker
from observed import TIMEOUT_S

CONFIGURATION = 78
# Items that depend on the machine the test runs on; what they judge is tested by tables.
MACHINE = {"clock", "file system", "journal", "console"}


def check(rig, *more):
    """The exit code, and the findings by item."""
    result = subprocess.run(
        [BINARY, "check", "--config", rig.agent.config, "--output", "json", *more],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env=clean_environment(rig.agent.config.parent / "bin"),
        check=False,
    )
    assert result.stderr == "", result.stderr
    said = json.loads(result.stdout)
    findings = {finding["item"]: finding for finding in said["findings"]}
    assert len(findings) == len(said["findings"])
    failures = [item for item, finding in findings.items() if finding["level"] == "failure"]
    assert said["failures"] == len(failures)
    if result.returncode != CONFIGURATION:
        assert result.returncode == (1 if failures else 0)
    # Whatever is wrong comes with what to do.
    assert all(f["level"] == "ok" or f["advice"] for f in findings.values())
    return result.returncode, findings


def levels(findings):
    return {item: f["level"] for item, f in findings.items() if item not in MACHINE}


@pytest.fixture
def surroundings(rig):
    """Everything but the agent; its keys closed to others."""
    configure(rig)
    rig.broker.start()
    rig.vehicle.plug_in()
    return rig


def configure(rig, **settings):
    rig.configure("guarded", ("cloud",), seeds.TYPES, **settings)
    rig.agent.config.with_name("cloud.hmac").chmod(0o600)


def file_system_of(path):
    """As findmnt knows it."""
    kind = subprocess.run(
        ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", path],
        capture_output=True, text=True, check=True,
    )
    return kind.stdout.strip()


def test_everything_is_fine(surroundings):
    _, findings = check(surroundings)
    assert levels(findings) == {
        "configuration": "ok", "local API": "ok", "port": "ok", "vehicle": "ok",
        "autopilot version": "ok", "MAVLink signing": "ok", "broker": "ok", "presence": "ok",
        "secrets": "ok",
    }
    assert set(findings) - set(levels(findings)) == MACHINE
    assert "1/1 (PX4, quadrotor)" in findings["vehicle"]["found"]
    assert findings["presence"]["found"] == "published, and read back"
    # Not one byte.
    assert len(surroundings.vehicle.frames) == 0
    kind = file_system_of(surroundings.agent.config.parent)
    assert findings["file system"]["found"].startswith(f"{kind} on ")
    assert not surroundings.agent.journal.exists()
    presence = surroundings.publisher().wait_presence(lambda p: not p["online"], "the absence")
    assert presence["device_id"] == "px4-real-1"


def test_text_is_one_line_for_each_item(surroundings):
    result = subprocess.run(
        [BINARY, "check", "--config", surroundings.agent.config],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        env=clean_environment(surroundings.agent.config.parent / "bin"),
    )
    lines = result.stdout.splitlines()
    assert all(line.split()[0] in ("ok", "warning", "failure") for line in lines)
    assert any(line.startswith("ok       vehicle ") for line in lines), result.stdout


def test_the_clock_is_asked_about(surroundings):
    surroundings.agent.set_clock_synchronized(False)
    _, findings = check(surroundings)
    assert findings["clock"]["level"] == "warning"


def test_asking_sends_one_frame(surroundings):
    _, findings = check(surroundings, "--ask")
    assert findings["autopilot version"]["level"] == "warning"
    sent = surroundings.vehicle.frames.since()
    assert [frame.type for frame in sent] == ["COMMAND_LONG"]
    message = sent[0].message
    assert (message.command, message.param1) == (mavlink.MAV_CMD_REQUEST_MESSAGE, 148)


def test_a_version_that_passes_by(surroundings):
    version = mavlink.MAVLink_autopilot_version_message(
        0, (1 << 24) | (15 << 16) | (4 << 8) | 255, 0, 0, 0, [0] * 8, [0] * 8, [0] * 8, 0, 0, 0
    )
    _, findings = while_saying(surroundings, lambda: surroundings.vehicle.say(version))
    assert "1.15.4 (official release)" in findings["autopilot version"]["found"]


def test_another_autopilot_on_the_line(surroundings):
    other = mavlink.MAVLink_heartbeat_message(
        mavlink.MAV_TYPE_FIXED_WING, mavlink.MAV_AUTOPILOT_ARDUPILOTMEGA, 0, 0, 0, 3
    )
    _, findings = while_saying(surroundings, lambda: surroundings.vehicle.say(other, source=(2, 1)))
    assert findings["vehicle"]["level"] == "warning"
    assert "2/1 (ArduPilot, fixed wing)" in findings["vehicle"]["found"]


def test_a_vehicle_that_signs(surroundings):
    codec = mavlink.MAVLink(None, 1, 1)
    codec.signing.secret_key = b"k" * 32
    codec.signing.sign_outgoing = True
    codec.signing.timestamp = 1
    beat = mavlink.MAVLink_heartbeat_message(2, mavlink.MAV_AUTOPILOT_PX4, 0, 0, 3, 3)
    _, findings = while_saying(
        surroundings, lambda: surroundings.vehicle.say(beat.pack(codec))
    )
    assert findings["MAVLink signing"]["level"] == "failure"


@pytest.mark.parametrize("noise", [b"\xfd\x09\x00", b"\x00\x80\xf8\xfe", b"login: "])
def test_bytes_that_are_no_frames(surroundings, noise):
    surroundings.vehicle.heartbeats = False
    code, findings = while_saying(
        surroundings, lambda: surroundings.vehicle.say(noise * 50)
    )
    assert (code, findings["vehicle"]["level"]) == (1, "failure")
    assert "no MAVLink frame" in findings["vehicle"]["found"]
    assert "baud" in findings["vehicle"]["advice"]


def while_saying(rig, say):
    """Checks, while the vehicle's end says something again and again."""
    done = threading.Event()

    def repeat():
        while not done.wait(0.1):
            say()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        return check(rig)
    finally:
        done.set()
        thread.join()


def test_a_silent_line(surroundings):
    surroundings.vehicle.heartbeats = False
    code, findings = check(surroundings)
    assert (code, findings["vehicle"]["level"]) == (1, "failure")
    assert "nothing is heard" in findings["vehicle"]["found"]
    assert "autopilot version" not in findings


def test_no_port(surroundings):
    surroundings.vehicle.close()
    code, findings = check(surroundings)
    assert (code, findings["port"]["level"]) == (1, "failure")
    assert "is not there" in findings["port"]["found"]
    assert "vehicle" not in findings


def test_a_port_that_is_held(surroundings):
    holder = os.open(surroundings.vehicle.port, os.O_RDWR | os.O_NOCTTY)
    _, findings = check(surroundings)
    os.close(holder)
    assert findings["port"]["level"] == "failure"
    assert f"(process {os.getpid()})" in findings["port"]["found"]
    assert "vehicle" not in findings


def test_no_broker(surroundings):
    surroundings.broker.stop()
    code, findings = check(surroundings)
    assert (code, findings["broker"]["level"]) == (1, "failure")
    assert "presence" not in findings
    assert levels(findings)["vehicle"] == "ok"


@pytest.mark.parametrize(("password", "level"), [("correct horse", "ok"), ("wrong one", "failure")], ids=["right", "wrong"])
def test_passwords(rig, tmp_path, password, level):
    passwords = tmp_path / "passwords"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", passwords, "px4-real-1", "correct horse"], check=True,
        capture_output=True,
    )
    # The last word counts.
    closed = [f"password_file {passwords}", "allow_anonymous false"]
    rig.broker = Broker(tmp_path / "closed", closed)
    rig.broker.start()
    rig.vehicle.plug_in()
    configure(rig)
    secret = rig.agent.config.with_name("password")
    secret.write_text(f"{password}\n")
    secret.chmod(0o644)
    text = rig.agent.config.read_text()
    rig.agent.config.write_text(
        text.replace("[mqtt]", f'[mqtt]\nusername = "px4-real-1"\npassword_file = "{secret}"')
    )
    _, findings = check(rig)
    assert findings["broker"]["level"] == level, findings["broker"]
    assert findings["secrets"]["level"] == "failure"
    assert "mode 644" in findings["secrets"]["found"]
    assert password not in json.dumps(findings)
    if level == "failure":
        assert "username" in findings["broker"]["advice"]


def test_a_broker_that_lets_nobody_publish_presence(rig, tmp_path):
    rules = tmp_path / "acl"
    rules.write_text("topic read #\n")
    rules.chmod(0o600)
    rig.broker = Broker(tmp_path / "closed", [f"acl_file {rules}"])
    rig.broker.start()
    rig.vehicle.plug_in()
    configure(rig)
    _, findings = check(rig)
    assert findings["presence"]["level"] == "failure", findings["presence"]


def test_an_agent_that_runs_is_not_disturbed(ready):
    ready.agent.config.with_name("cloud.hmac").chmod(0o600)
    session = ready.publisher().wait_presence(lambda p: p["online"], "presence")["session"]
    mark = len(ready.publisher().messages)
    started = time.monotonic()
    _, findings = check(ready, "--ask")
    assert time.monotonic() - started < TIMEOUT_S / 2
    assert levels(findings) == {
        "configuration": "ok", "local API": "ok", "vehicle": "ok", "broker": "ok",
        "presence": "ok", "secrets": "ok",
    }
    assert "the running agent's" in findings["journal"]["found"]
    # No frame of ours on the line, no presence of ours at the broker, the agent's connection stays.
    assert {frame.type for frame in ready.vehicle.frames.since()} == {"HEARTBEAT"}
    check_no_absence(ready, mark)
    assert ready.agent.status()["session"] == session
    reply = ready.publisher().request(seeds.request("do_digicam_control"))
    assert ready.publisher().wait_terminal(reply["command_id"])["status"] == "SUCCEEDED"
    assert "not connected" not in ready.agent.log.read_text()


def test_an_agent_elsewhere_is_not_made_to_look_offline(ready):
    """The same device by another configuration, whose socket nobody serves."""
    other = ready.agent.config.with_name("other.toml")
    text = ready.agent.config.read_text()
    other.write_text(text.replace("api.sock", "other.sock"))
    ready.agent.config = other
    mark = len(ready.publisher().messages)
    _, findings = check(ready)
    assert findings["presence"]["level"] == "warning"
    assert "another machine" in findings["presence"]["advice"]
    # The port and the journal are taken, and no agent says so.
    assert findings["port"]["level"] == "failure"
    assert findings["journal"]["level"] == "failure"
    check_no_absence(ready, mark)


def check_no_absence(rig, mark):
    """Nothing that says that the agent is offline came before the answer to a later query."""
    rig.publisher().query(idempotency_key="nothing")
    assert all(m.body.get("online", True) for m in rig.publisher().messages.since(mark))


def test_a_wrong_configuration(rig):
    configure(rig)
    text = rig.agent.config.read_text()
    rig.agent.config.write_text(text.replace('mode = "guarded"', 'mode = "open"'))
    code, findings = check(rig)
    assert (code, findings["configuration"]["level"]) == (CONFIGURATION, "failure")
    assert "open" in findings["configuration"]["found"]
