"""`downlinkd send`: what a cloud client does, with exit codes that say how it ended."""

import json
import os
import pty
import re
import subprocess

import pytest
from pymavlink.dialects.v20 import development as mavlink

import seeds
import signing
from agent import BINARY, clean_environment, run_to_end
from broker import Broker
from certificates import Authority
from observed import TIMEOUT_S
from relay import Relay
from vehicle import Ack

SHOOT = mavlink.MAV_CMD_DO_DIGICAM_CONTROL
FAILED, TIMED_OUT, UNMATCHED, DELIVERED, ACCEPTED, REFUSED, UNREACHABLE, UNKNOWN = range(2, 10)
USAGE = 64
CONFIGURATION = 78


def arguments(rig, *more, command=("do_digicam_control", "shoot_command=1"), issuer="cloud",
              key=None, port=None):
    key = key or rig.agent.write_key(f"sender-{issuer}", signing.secret(issuer))
    url = f"mqtt://127.0.0.1:{port or rig.broker.port}"
    how = ["--issuer", issuer, "--key-file", key, "--url", url, "--device", "px4-real-1"]
    return ["send", *command, *how, *more]


def send(rig, *more, **how):
    return run_to_end(*arguments(rig, *more, **how))


def start(rig, *more, **how):
    """A `send` that goes on while the test does."""
    return subprocess.Popen(
        [BINARY, *arguments(rig, *more, **how)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )


def steps(result):
    """The second column of each line."""
    return [line.split()[2] for line in result.stdout.splitlines()]


def check_frames(rig, count, command=SHOOT):
    rig.vehicle.fence()
    assert len(rig.vehicle.commands(command)) == count


def test_succeeds(ready):
    result = send(ready)
    assert result.returncode == 0, result.stderr
    assert steps(result) == ["ACCEPTED", "DELIVERED", "SUCCEEDED"]
    assert "MAV_RESULT_ACCEPTED" in result.stdout
    assert "\x1b" not in result.stdout
    check_frames(ready, 1)


def test_wait_and_everything_from_the_configuration(ready):
    key = ready.agent.write_key("sender", signing.secret("cloud"))
    result = run_to_end(
        "send", "image_stop_capture", "target_camera_id=0", "--wait", "--issuer", "cloud",
        "--key-file", key, "--kid", "1", "--config", ready.agent.config,
    )
    assert result.returncode == 0, result.stderr


def test_json_is_what_came(ready):
    result = send(ready, "--output", "json", "--idempotency-key", "json-1")
    assert result.returncode == 0, result.stderr
    received = [json.loads(line) for line in result.stdout.splitlines()]
    reply, *updates = received
    assert reply["idempotency_key"] == "json-1" and not reply["duplicate"]
    assert updates == ready.publisher().updates(reply["command_id"])
    assert "json-1" in result.stderr


def test_an_ed25519_key(rig):
    rig.configure("guarded", ("cloud",), seeds.TYPES)
    folder = rig.agent.config.parent
    made = run_to_end("keygen", "--algorithm", "ed25519", "--issuer", "ops", "--kid", "7",
                      "--out", folder)
    text = rig.agent.config.read_text()
    rig.agent.config.write_text(text.replace("[[guard.command]]", made.stdout + "[[guard.command]]", 1))
    rig.broker.start()
    rig.vehicle.plug_in()
    rig.publisher()
    rig.agent.start()
    rig.wait_ready(mark=0)
    result = send(rig, issuer="ops", key=folder / "ops-7.pem")
    assert result.returncode == 0, result.stderr


def test_with_the_challenge_when_the_clock_is_untrusted(rig):
    rig.agent.set_clock_synchronized(False)
    rig.start_ready()
    result = send(rig)
    assert result.returncode == 0, result.stderr
    check_frames(rig, 1)


def test_fails(ready):
    ready.vehicle.on(SHOOT, [Ack(mavlink.MAV_RESULT_DENIED)])
    result = send(ready)
    assert result.returncode == FAILED
    assert steps(result) == ["ACCEPTED", "DELIVERED", "FAILED"]
    assert "MAV_RESULT_DENIED" in result.stdout


def test_progress_is_shown(ready):
    in_progress = Ack(mavlink.MAV_RESULT_IN_PROGRESS, progress=40)
    done = Ack(mavlink.MAV_RESULT_ACCEPTED, after=0.3)
    ready.vehicle.on(SHOOT, [in_progress, done])
    result = send(ready)
    assert result.returncode == 0, result.stderr
    assert "DELIVERED 40 %  MAV_RESULT_IN_PROGRESS" in result.stdout


def test_times_out(ready):
    ready.vehicle.on(SHOOT, [])
    result = send(ready, "--timeout", "1")
    assert result.returncode == TIMED_OUT
    assert "timeout.ack" in result.stdout


def test_an_answer_of_another_component(ready):
    ready.vehicle.on(SHOOT, [Ack(mavlink.MAV_RESULT_ACCEPTED, source=(1, 100))])
    assert send(ready, "--timeout", "1").returncode == UNMATCHED


def test_nobody_waits(ready):
    ready.vehicle.on(SHOOT, [])
    result = send(ready, "--timeout", "0")
    assert result.returncode == DELIVERED, result.stdout + result.stderr
    assert steps(result) == ["ACCEPTED", "DELIVERED"]


def test_the_broker_may_keep_it_for_as_long_as_it_may_take(ready):
    publisher = ready.publisher()
    topic = f"{seeds.BASE}/commands/cloud"
    publisher.expect_reconnect()
    publisher.client.subscribe(topic, 1)
    publisher.wait_subscribed()
    for _ in range(3):
        assert send(ready, "--timeout", "7").returncode == 0
    def requests(seen):
        return [m.properties for m in seen if m.topic == topic]

    publisher.messages.wait_for(lambda seen: len(requests(seen)) == 3, "the requests")
    # The broker takes a second off where its clock went on to the next one meanwhile.
    told = [request.MessageExpiryInterval for request in requests(publisher.messages.since())]
    assert max(told) == 7, told


def test_no_wait(ready):
    result = send(ready, "--no-wait")
    assert result.returncode == ACCEPTED
    assert steps(result) == ["ACCEPTED"]
    ready.vehicle.wait_commands(1, SHOOT)


def test_a_refusal_of_the_guard(ready):
    result = send(ready, command=("nav_return_to_launch",))
    assert result.returncode == FAILED
    assert "policy.command_denied" in result.stdout
    check_frames(ready, 0, mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH)


def test_the_wrong_key(ready):
    key = ready.agent.write_key("wrong", b"x" * 32)
    result = send(ready, key=key)
    assert result.returncode == REFUSED
    assert "auth.failed" in result.stdout
    check_frames(ready, 0)


def test_a_duplicate_tells_how_it_ended(ready):
    first = send(ready, "--idempotency-key", "once")
    again = send(ready, "--idempotency-key", "once")
    assert (first.returncode, again.returncode) == (0, 0), again.stderr
    assert steps(again) == ["SUCCEEDED", "SUCCEEDED"]
    assert "duplicate" in again.stdout and "MAV_RESULT_ACCEPTED" in again.stdout
    other = send(ready, "--idempotency-key", "once", command=("do_digicam_control",))
    assert other.returncode == REFUSED
    assert "idempotency.conflict" in other.stdout
    check_frames(ready, 1)


def test_a_duplicate_of_one_under_way_is_followed(ready):
    ready.vehicle.on(SHOOT, [])
    assert send(ready, "--no-wait", "--idempotency-key", "once").returncode == ACCEPTED
    ready.vehicle.wait_commands(1, SHOOT)
    again = start(ready, "--idempotency-key", "once")
    assert "duplicate" in again.stdout.readline()
    ready.vehicle.acknowledge(SHOOT, Ack(mavlink.MAV_RESULT_ACCEPTED))
    out, err = again.communicate(timeout=TIMEOUT_S)
    assert again.returncode == 0, out + err
    check_frames(ready, 1)


def test_what_the_catalogue_refuses_is_not_sent(ready):
    mark = len(ready.publisher().messages)
    for command, named in [
        (("nav_rio",), ["nav_rio", "nav_roi"]),
        (("do_digicam_control", "zoom=1"), ["payload.zoom", "shoot_command"]),
        (("do_digicam_control", "shoot_command=NaN"), ["payload.shoot_command", "NaN"]),
        (("do_digicam_control", "shoot_command"), ["FIELD=VALUE"]),
    ]:
        result = send(ready, command=command)
        assert result.returncode == USAGE, result.stderr
        assert all(text in result.stderr for text in named), result.stderr
    ready.publisher().query(idempotency_key="nothing")
    assert len(ready.publisher().messages.since(mark)) == 1


def test_entry_names_and_null(ready):
    result = send(ready, command=("nav_roi", "roi_mode=MAV_ROI_LOCATION", "x=null", "z=30.5"))
    assert result.returncode == 0, result.stderr
    frame = ready.vehicle.commands(mavlink.MAV_CMD_NAV_ROI)[0].message
    assert (frame.param1, frame.x, frame.z) == (mavlink.MAV_ROI_LOCATION, 2**31 - 1, 30.5)
    assert "note:" in result.stderr


@pytest.mark.parametrize("text", ["hex:5a5a", "secret", None], ids=["short", "form", "missing"])
def test_a_key_that_is_none(ready, text):
    key = ready.agent.config.with_name("bad.hmac")
    if text:
        key.write_text(text)
    result = send(ready, key=key)
    assert result.returncode == CONFIGURATION
    assert "bad.hmac" in result.stderr and "5a5a" not in result.stderr


def test_no_broker(rig):
    rig.agent.config.parent.mkdir(exist_ok=True)
    result = send(rig)
    assert result.returncode == UNREACHABLE
    assert "nothing was published" in result.stderr and "refused" in result.stderr
    assert result.stdout == ""


def test_an_offline_vehicle_is_warned_of_and_the_request_does_not_wait_for_ever(rig):
    rig.start_ready()
    rig.agent.terminate()
    result = send(rig, "--timeout", "1", "--idempotency-key", "offline")
    assert result.returncode == UNKNOWN
    assert "the vehicle is offline" in result.stderr and "--idempotency-key" in result.stderr
    # It has expired at the broker meanwhile.
    rig.restart_agent()
    assert rig.publisher().query(idempotency_key="offline")["error"]["code"] == "query.not_found"
    check_frames(rig, 0)


def test_a_cut_before_the_answer(ready):
    relay = Relay(ready.broker.port)
    # The broker gets the request, and everything that it says from then on is lost.
    ready.vehicle.on(SHOOT, [])
    sender = start(ready, "--idempotency-key", "cut", port=relay.port)
    # Before the cut: what is read ahead here is lost to communicate().
    command_id = re.search(r"command_id (\S+),", sender.stderr.readline())[1]
    ready.vehicle.wait_commands(1, SHOOT)
    relay.cut()
    ready.vehicle.acknowledge(SHOOT, Ack(mavlink.MAV_RESULT_ACCEPTED))
    assert ready.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"
    out, err = sender.communicate(timeout=TIMEOUT_S)
    assert sender.returncode == 0, out + err
    assert "trying again" in err
    check_frames(ready, 1)
    relay.close()


def test_a_lost_reply_repeats_the_very_same_message(ready):
    relay = Relay(ready.broker.port)
    ready.agent.freeze()
    sender = start(ready, "--idempotency-key", "lost", port=relay.port)
    # The agent sleeps, so the broker has the request and nobody has answered.
    assert "lost" in sender.stderr.readline()
    topic = f"{seeds.BASE}/commands/cloud"
    wait_broker_log(ready, f"'{topic}'")
    relay.hold()
    ready.agent.thaw()
    ready.vehicle.wait_commands(1, SHOOT)
    relay.release()
    out, err = sender.communicate(timeout=TIMEOUT_S)
    assert sender.returncode == 0, out + err
    assert "duplicate" in out
    check_frames(ready, 1)
    relay.close()


def wait_broker_log(rig, text):
    # Received from the sender, as mosquitto logs it.
    rig.publisher().messages.wait_for(
        lambda _: re.search(rf"Received PUBLISH from downlinkd-send.*{text}", rig.broker.log.read_text())
        or None,
        "the request at the broker",
    )


def test_a_terminal_shows_a_line_that_is_rewritten(ready):
    ready.vehicle.on(SHOOT, [Ack(mavlink.MAV_RESULT_ACCEPTED, after=0.5)])
    master, slave = pty.openpty()
    sender = subprocess.Popen(
        [BINARY, *arguments(ready)],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    os.close(slave)
    shown = b""
    try:
        while data := os.read(master, 4096):
            shown += data
    except OSError:
        # The other end of the pty is closed: the program has ended.
        pass
    assert sender.wait(TIMEOUT_S) == 0
    sender.stderr.close()
    os.close(master)
    text = shown.decode()
    assert "\r\x1b[K" in text and "waiting for the vehicle" in text and "⠋" in text
    # What remains on the screen.
    lines = [line.rsplit("\r\x1b[K", 1)[-1].strip() for line in text.split("\r\n")]
    assert [line.split()[2] for line in lines if line] == ["ACCEPTED", "DELIVERED", "SUCCEEDED"]


def test_over_mutual_tls(rig, tmp_path):
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.issue("broker")
    rig.broker = Broker(
        tmp_path / "tls",
        [f"cafile {authority.pem}", f"certfile {certificate}", f"keyfile {key}",
         "require_certificate true"],
    )
    rig.broker.start()
    certificate, key = authority.issue("cloud")
    url = ("--url", f"mqtts://localhost:{rig.broker.port}", "--timeout", "1", "--no-wait")
    ours = ("--ca-file", authority.pem, "--cert-file", certificate, "--cert-key-file", key)
    rig.agent.config.write_text('[device]\nid = "px4-real-1"\n')
    sender = ("--issuer", "cloud", "--key-file", rig.agent.write_key("sender", b"x" * 32),
              "--config", rig.agent.config)

    def send_with(*files):
        return run_to_end("send", "nav_roi", *sender, *url, *files)

    # Nobody is there to answer; the broker has it.
    result = send_with(*ours)
    assert result.returncode == UNKNOWN, result.stderr
    assert "no agent has announced itself" in result.stderr
    assert "Received PUBLISH from downlinkd-send" in rig.broker.log.read_text()
    other = Authority(tmp_path / "other")
    for files in (ours[:2], ("--ca-file", other.pem, *ours[2:])):
        result = send_with(*files)
        assert result.returncode == UNREACHABLE, result.stderr
        assert "certificate" in result.stderr
    result = send_with("--ca-file", tmp_path / "none.pem")
    assert result.returncode == CONFIGURATION
    assert "none.pem" in result.stderr
