"""The line shared with a ground station, which pymavlink plays."""

import os
import socket
import threading

import pytest

os.environ["MAVLINK20"] = "1"
os.environ["MAVLINK_DIALECT"] = "development"
from pymavlink import mavutil
from pymavlink.dialects.v20 import development as mavlink

import seeds
from observed import TIMEOUT_S
from ports import free_port
from vehicle import Ack

STOP = mavlink.MAV_CMD_IMAGE_STOP_CAPTURE
ACCEPTED = mavlink.MAV_RESULT_ACCEPTED
DENIED = mavlink.MAV_RESULT_DENIED
STATION = (255, 190)


class GroundStation:
    """Speaks to the agent's forward at a port."""

    def __init__(self, port):
        self.link = mavutil.mavudp(
            f"127.0.0.1:{port}", input=False, source_system=255, source_component=190
        )

    def join(self):
        """Says a first word, by which the agent learns where to send, until it hears the vehicle."""
        for _ in range(TIMEOUT_S * 2):
            self.link.mav.heartbeat_send(
                mavlink.MAV_TYPE_GCS, mavlink.MAV_AUTOPILOT_INVALID, 0, 0, mavlink.MAV_STATE_ACTIVE
            )
            if self.link.recv_match(type="HEARTBEAT", blocking=True, timeout=0.5):
                return
        raise AssertionError("the ground station hears no vehicle")

    def wait(self, kind):
        message = self.link.recv_match(type=kind, blocking=True, timeout=TIMEOUT_S)
        assert message, f"the ground station got no {kind}"
        return message

    def command(self, command, target=(1, 1)):
        self.link.mav.command_long_send(*target, command, 0, 0, 0, 0, 0, 0, 0, 0)


def start(rig, direction):
    port = free_port(socket.SOCK_DGRAM)
    forward = f'[[forward]]\nendpoint = "udpin:127.0.0.1:{port}"\ndirection = "{direction}"\n'
    rig.start_ready(forward=forward)
    station = GroundStation(port)
    station.join()
    return station


@pytest.fixture
def station(rig):
    """A ground station that hears the vehicle and may command it; the agent is ready."""
    station = start(rig, "both")
    yield station
    station.link.close()


def counts(rig):
    return rig.agent.status()["forwards"][0]


def send_unanswered(rig, **changes):
    request = seeds.request("image_stop_capture", **changes)
    command_id = rig.publisher().request(request)["command_id"]
    rig.publisher().wait_status(command_id, "DELIVERED")
    return command_id


def of_station(frame):
    return (frame.message.get_srcSystem(), frame.message.get_srcComponent()) == STATION


def test_ground_station_gets_what_it_asks_for(rig, station):
    answers = [
        mavlink.MAVLink_param_value_message(
            f"PARAM_{number}".encode(), number / 7, mavlink.MAV_PARAM_TYPE_REAL32, 20, number
        )
        for number in range(20)
    ]
    rig.vehicle.on_message("PARAM_REQUEST_LIST", *answers)
    station.link.mav.param_request_list_send(1, 1)
    for answer in answers:
        got = station.wait("PARAM_VALUE")
        assert (got.param_id, got.param_index) == (f"PARAM_{answer.param_index}", answer.param_index)
        assert (got.get_srcSystem(), got.get_srcComponent()) == (1, 1)
    assert rig.publisher().unmatched() == []


def test_command_of_the_ground_station_is_answered_to_it_alone(rig, station):
    station.command(STOP)
    ack = station.wait("COMMAND_ACK")
    assert (ack.command, ack.result) == (STOP, ACCEPTED)
    assert (ack.target_system, ack.target_component) == STATION
    # What came before is handled before what comes now.
    command_id = rig.publisher().request(seeds.request("nav_roi"))["command_id"]
    assert rig.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"
    assert rig.publisher().unmatched() == []
    assert [frame.message.get_srcSystem() for frame in rig.vehicle.commands()] == [255, 1]


def test_same_command_of_both_gets_each_its_own_answer(rig, station):
    rig.vehicle.on(STOP, [])
    command_id = send_unanswered(rig)
    station.command(STOP)
    rig.vehicle.wait_commands(2, STOP)
    rig.vehicle.acknowledge(STOP, Ack(DENIED, target=STATION))
    assert station.wait("COMMAND_ACK").result == DENIED
    rig.vehicle.acknowledge(STOP, Ack(ACCEPTED))
    assert rig.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"
    assert rig.publisher().unmatched() == []


def test_answer_that_names_nobody_is_no_result_while_both_wait(rig, station):
    rig.vehicle.on(STOP, [])
    command_id = send_unanswered(rig, timeout_seconds=3)
    station.command(STOP)
    rig.vehicle.wait_commands(2, STOP)
    for result in (DENIED, ACCEPTED):
        rig.vehicle.acknowledge(STOP, Ack(result, target=(0, 0)))
        assert station.wait("COMMAND_ACK").result == result
    final = rig.publisher().wait_terminal(command_id)
    assert (final["status"], final["response_code"]) == ("TIMED_OUT", "timeout.ack")
    assert "another sent the same" in final["response_message"]
    assert final["vendor_response"]["result"] is None
    assert rig.publisher().unmatched() == []


def test_nobody_else_speaks_in_our_name(rig, station):
    station.link.mav.srcSystem, station.link.mav.srcComponent = 1, 191
    station.command(STOP)
    rig.agent.wait_status(lambda status: status["forwards"][0]["refused"] == 1)
    station.link.mav.srcSystem, station.link.mav.srcComponent = STATION
    station.command(STOP)
    rig.vehicle.wait_commands(1)
    rig.vehicle.fence()
    assert [of_station(frame) for frame in rig.vehicle.commands()] == [True]


def test_read_only_forward_shows_all_and_lets_nothing_in(rig):
    station = start(rig, "out")
    station.command(STOP)
    rig.agent.wait_status(lambda status: status["forwards"][0]["refused"] >= 2)
    rig.vehicle.fence()
    assert rig.vehicle.commands() == []
    assert not any(of_station(frame) for frame in rig.vehicle.frames.since())
    station.wait("HEARTBEAT")
    station.link.close()


def test_flood_and_garbage_leave_our_commands_alone(rig, station):
    flooded = threading.Event()

    def flood():
        packed = mavlink.MAVLink_ping_message(0, 0, 1, 1).pack(mavlink.MAVLink(None, *STATION))
        while not flooded.is_set():
            station.link.port.sendto(packed, station.link.destination_addr)
            station.link.port.sendto(os.urandom(200), station.link.destination_addr)

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    try:
        rig.agent.wait_status(lambda status: status["forwards"][0]["to_vehicle"] > 100)
        for number in range(10):
            request = seeds.request("image_stop_capture", idempotency_key=f"in the flood {number}")
            command_id = rig.publisher().request(request)["command_id"]
            assert rig.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"
    finally:
        flooded.set()
        thread.join()
    rig.vehicle.fence()
    assert len(rig.vehicle.commands()) == 10
    # Every frame arrived whole, and nothing that was none.
    kinds = {frame.type for frame in rig.vehicle.frames.since()}
    assert kinds <= {"HEARTBEAT", "PING", "COMMAND_LONG"}, kinds
    assert counts(rig)["garbage_bytes"] > 0
    assert rig.publisher().unmatched() == []
