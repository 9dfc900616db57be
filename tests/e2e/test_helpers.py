"""The helpers against each other, with a plain pymavlink client in the agent's place."""

import json
import os
import time
import tty
from collections import deque

import pytest
from pymavlink.dialects.v20 import development as mavlink

from observed import TIMEOUT_S
from ports import free_port
from publisher import Publisher
from seeds import BASE
from vehicle import Ack, Vehicle

COMMAND = mavlink.MAV_CMD_IMAGE_STOP_CAPTURE


class Client:
    """Opens the vehicle's port as an agent would."""

    def __init__(self, port):
        self._codec = mavlink.MAVLink(None, 1, 191)
        self._parser = mavlink.MAVLink(None)
        self._received = deque()
        self.open(port)

    def open(self, port):
        self._descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._descriptor)
        os.set_blocking(self._descriptor, False)

    def send(self, message):
        raw = message.pack(self._codec)
        self.send_raw(raw)
        return raw

    def send_raw(self, raw):
        os.write(self._descriptor, raw)

    def receive(self, message_type):
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            while self._received:
                message = self._received.popleft()
                if message.get_type() == message_type:
                    return message
            try:
                data = os.read(self._descriptor, 4096)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            self._received.extend(self._parser.parse_buffer(data) or [])
        raise AssertionError(f"no {message_type} came")

    def close(self):
        os.close(self._descriptor)


@pytest.fixture
def vehicle(tmp_path):
    vehicle = Vehicle(tmp_path / "px4")
    vehicle.plug_in()
    yield vehicle
    vehicle.close()


@pytest.fixture
def client(vehicle):
    client = Client(vehicle.port)
    yield client
    client.close()


def command_long(command=COMMAND):
    return mavlink.MAVLink_command_long_message(1, 1, command, 0, 1, 2, 3, 4, 5, 6, 7)


def test_vehicle_sends_heartbeats_of_a_px4(client):
    heartbeat = client.receive("HEARTBEAT")
    assert (heartbeat.get_srcSystem(), heartbeat.get_srcComponent()) == (1, 1)
    assert heartbeat.autopilot == mavlink.MAV_AUTOPILOT_PX4


def test_vehicle_logs_the_bytes_and_answers_the_sender(vehicle, client):
    raw = client.send(command_long())
    (frame,) = vehicle.wait_commands(1)
    assert frame.raw == raw
    assert frame.message.param7 == 7
    ack = client.receive("COMMAND_ACK")
    assert (ack.command, ack.result) == (COMMAND, mavlink.MAV_RESULT_ACCEPTED)
    assert (ack.target_system, ack.target_component) == (1, 191)


def test_vehicle_follows_its_script(vehicle, client):
    vehicle.on(
        COMMAND,
        [],
        [Ack(5, progress=40), Ack(0, source=(1, 100), target=(255, 190), result_param2=-7)],
    )
    client.send(command_long())
    client.send(command_long())
    progress = client.receive("COMMAND_ACK")
    assert (progress.result, progress.progress, progress.get_srcComponent()) == (5, 40, 1)
    final = client.receive("COMMAND_ACK")
    assert (final.result, final.result_param2, final.get_srcComponent()) == (0, -7, 100)
    assert (final.target_system, final.target_component) == (255, 190)
    assert len(vehicle.commands(COMMAND)) == 2


def test_vehicle_logs_garbage_as_such(vehicle, client):
    raw = command_long().pack(mavlink.MAVLink(None, 1, 191))
    client.send_raw(raw[:-1] + bytes([raw[-1] ^ 1]))
    vehicle.frames.wait_for(
        lambda frames: any(frame.type == "BAD_DATA" for frame in frames), "a broken frame"
    )
    assert vehicle.commands() == []


def test_vehicle_port_can_be_opened_again(vehicle, client):
    client.send(command_long())
    vehicle.wait_commands(1)
    first = os.readlink(vehicle.port)
    client.close()
    deadline = time.monotonic() + TIMEOUT_S
    while os.readlink(vehicle.port) == first:
        assert time.monotonic() < deadline, "the port stayed the same after its owner had gone"
        time.sleep(0.01)
    client.open(vehicle.port)
    client.send(command_long())
    vehicle.wait_commands(2)


def test_vehicle_can_be_unplugged_and_plugged_in_again(vehicle, client):
    vehicle.unplug()
    assert not vehicle.port.is_symlink()
    with pytest.raises(OSError):
        client.send(command_long())
    client.close()
    vehicle.plug_in()
    client.open(vehicle.port)
    client.send(command_long())
    vehicle.wait_commands(1)
    vehicle.acknowledge(COMMAND, Ack(4))


def test_nothing_is_buffered_while_nobody_has_the_port_open(vehicle):
    with pytest.raises(RuntimeError, match="nobody has"):
        vehicle.acknowledge(COMMAND, Ack(0))


def test_broker_keeps_sessions_and_retained_messages_over_a_restart(rig):
    rig.broker.start()
    cloud = rig.publisher()
    cloud.client.publish(f"{BASE}/presence", json.dumps({"n": 1}), qos=1, retain=True)
    cloud.wait_presence(lambda body: body["n"] == 1, "the first presence")
    rig.broker.stop()
    cloud.expect_reconnect()
    rig.broker.start()
    cloud.wait_subscribed()
    late = Publisher(rig.broker.port, "late")
    late.connect()
    late.wait_presence(lambda body: body["n"] == 1, "the retained presence")
    late.close()


def test_broker_can_forget(rig):
    rig.broker.start()
    cloud = rig.publisher()
    cloud.client.publish(f"{BASE}/presence", json.dumps({"n": 1}), qos=1, retain=True)
    cloud.wait_presence(lambda body: body["n"] == 1, "the presence")
    rig.broker.stop()
    rig.broker.forget()
    cloud.expect_reconnect()
    rig.broker.start()
    cloud.wait_subscribed()
    cloud.client.publish(f"{BASE}/presence", json.dumps({"n": 2}), qos=1)
    cloud.wait_presence(lambda body: body["n"] == 2, "the second presence")
    assert [m.body["n"] for m in cloud.messages.since()] == [1, 2]


def test_publisher_tells_lifecycles_and_replies_apart(rig):
    rig.broker.start()
    cloud = rig.publisher()
    accepted, failed = (1, "ACCEPTED", False), (2, "FAILED", True)
    for seq, status, terminal in (accepted, accepted, failed):
        body = {"idempotency_key": "k", "seq": seq, "status": status, "terminal": terminal}
        cloud.client.publish(f"{BASE}/lifecycle/cloud/some-id", json.dumps(body), qos=1)
    assert cloud.wait_terminal("some-id")["seq"] == 2
    assert cloud.statuses("some-id") == ["ACCEPTED", "FAILED"]
    assert cloud.lifecycle_keys() == {"k"}
    assert cloud.updates("other-id") == []


def test_no_port_is_given_twice():
    ports = [free_port() for _ in range(1000)]
    assert len(set(ports)) == len(ports)
