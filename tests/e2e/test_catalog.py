"""Every command of the catalogue with random payloads: pymavlink reads what was asked.

What a frame must say is computed here, from the request, `downlinkd catalog --json` and, for
reserved params, the MAVLink XML. It shares nothing with the agent's own encoding.
"""

import json
import math
import os
import random
import struct
import subprocess
import xml.etree.ElementTree as ElementTree
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest
from pymavlink.dialects.v20 import development as mavlink

from agent import REPOSITORY, run_to_end

VALID_PER_COMMAND = 40
INVALID_PER_COMMAND = 20
INT32_MAX = 2**31 - 1
# Beyond it a float skips integers.
FLOAT_INTEGERS = 2**24
# x and y of COMMAND_INT: 1e-7 degrees, 1e-4 metres.
DEGREES = Decimal(10) ** 7
METRES = Decimal(10) ** 4
ALWAYS_LOCAL = ("nav_land_local", "nav_takeoff_local")
# Actuators 5 and 6 are fractions, so COMMAND_INT carries them as it carries degrees.
INT_SCALE = {"do_set_actuator": DEGREES}


def frames_of(scale):
    """The MAV_FRAMEs whose coordinates are in this scale, by name."""
    words = ("GLOBAL",) if scale == DEGREES else ("LOCAL", "BODY")
    return {
        entry.name: number
        for number, entry in mavlink.enums["MAV_FRAME"].items()
        if any(word in entry.name for word in words) and "RESERVED" not in entry.name
    }


class Command:
    """One entry of the catalogue, and what MAVLink says beyond it."""

    def __init__(self, entry):
        self.type = entry["command_type"]
        self.id = entry["mavlink_command_id"]
        self.fields = entry["fields"]
        self.has_location = entry["transport"] == "COMMAND_INT"
        self.reserved = reserved_defaults(entry["source_xml"])[entry["mavlink_command"]]

    def scales(self):
        """The scales that a location of this command can have, the assumed frame's first."""
        if self.type in ALWAYS_LOCAL:
            return [METRES]
        if any(field["name"] == "latitude" for field in self.fields):
            return [DEGREES]
        return [DEGREES, METRES]

    def is_place(self, field):
        return self.has_location and field["param"] in (5, 6)


class Request:
    """A request, and the values that its seven params must have; None is unset."""

    def __init__(self, command, chance):
        self.command = command
        self.payload = {}
        self.params = {index: command.reserved.get(index, 0) for index in range(1, 8)}
        self.frame = None
        self.frame_number = 0
        self.scale = INT_SCALE.get(command.type, Decimal(1))
        if command.has_location:
            self._choose_frame(chance)
        for field in command.fields:
            self._say(field, chance)

    def line(self):
        body = {
            "vendor": "px4",
            "device_id": "px4-real-1",
            "command_type": self.command.type,
            "payload": self.payload,
            "idempotency_key": "key",
        }
        if self.frame is not None:
            body["frame"] = self.frame
        return json.dumps(body)

    def x_and_y(self):
        """Params 5 and 6 as COMMAND_INT carries them, or None where it cannot."""
        scaled = [None if v is None else exact(v) * self.scale for v in self._place()]
        limits = (value is None or abs(value) < INT32_MAX for value in scaled)
        whole = (value is None or self.scale != 1 or value == int(value) for value in scaled)
        return scaled if all(limits) and all(whole) else None

    def _place(self):
        return self.params[5], self.params[6]

    def _choose_frame(self, chance):
        scales = self.command.scales()
        self.scale = scales[0]
        # What PX4 assumes, or what these two commands mean.
        assumed = mavlink.MAV_FRAME_GLOBAL if self.scale == DEGREES else mavlink.MAV_FRAME_LOCAL_NED
        self.frame_number = assumed
        if chance.random() < 0.6:
            self.scale = chance.choice(scales)
            self.frame, self.frame_number = chance.choice(list(frames_of(self.scale).items()))

    def _say(self, field, chance):
        kind = chance.random()
        if kind < 0.3:
            said = field["default"]
        elif kind < 0.4:
            said = self.payload[field["name"]] = None
        else:
            text, said = allowed(field, self._limit(field), chance)
            self.payload[field["name"]] = text
        self.params[field["param"]] = said

    def _limit(self, field):
        if not self.command.is_place(field):
            return 1e6
        if self.scale == METRES:
            return 200_000
        return 90 if field["param"] == 5 else 180


def allowed(field, limit, chance):
    """A value that the field allows, as a request says it and as a number."""
    enum = field["enum"]
    if enum is not None:
        return allowed_entry(enum, chance)
    minimum = -limit if field["min"] is None else field["min"]
    maximum = max(limit, minimum) if field["max"] is None else field["max"]
    if field["increment"] is not None:
        first = 0 if field["min"] is None else minimum
        steps = int((maximum - first) / field["increment"])
        value = first + chance.randint(0, steps) * field["increment"]
        return value, value
    value = chance.choice([minimum, maximum, chance.uniform(minimum, maximum)])
    value = round(value, chance.randint(0, 9))
    value = min(max(value, minimum), maximum)
    return value, value


def allowed_entry(enum, chance):
    one, two = chance.choice(enum["entries"]), chance.choice(enum["entries"])
    by_name = chance.random() < 0.5
    if enum["bitmask"]:
        value = one["value"] | two["value"]
        if enum["name"] == "MAV_BOOL" and chance.random() < 0.5:
            return bool(value), value
        return (f"{one['name']}|{two['name']}" if by_name else value), value
    return (one["name"] if by_name else one["value"]), one["value"]


def spoil(request, chance):
    """Makes a request wrong in one thing."""
    command = request.command
    frames = ["MAV_FRAME_MISSION"] if command.has_location else ["MAV_FRAME_GLOBAL"]
    fields = [("param1", 0), ("no_such_field", 1)]
    for field in command.fields:
        fields += [(field["name"], value) for value in forbidden(command, field)]
    wrong = chance.choice(frames + fields)
    if wrong in frames:
        request.frame = wrong
    else:
        name, value = wrong
        request.payload[name] = value


def forbidden(command, field):
    values = [[], {}, "no such entry", 1e39, -1e39]
    if field["enum"] is not None:
        known = max(entry["value"] for entry in field["enum"]["entries"])
        return [*values, 0.5, -1, 2 * known + 1 if known else 2, 2**32]
    values += [True, "0"]
    if field["min"] is not None:
        values.append(field["min"] - 1)
    if field["max"] is not None:
        values.append(field["max"] + 1)
    if field["increment"] is not None:
        values.append(0.5)
    if not command.is_place(field):
        values += [FLOAT_INTEGERS + 1, -FLOAT_INTEGERS - 1]
    return values


@cache
def reserved_defaults(source_xml):
    """What params without a field send, by command: the XML's default; NaN is unset."""
    root = ElementTree.parse(definitions() / source_xml)
    return {
        entry.get("name"): {
            int(param.get("index")): unset_if_nan(float(param.get("default")))
            for param in entry.findall("param")
            if param.get("default") is not None
        }
        for entry in root.findall(".//enum[@name='MAV_CMD']/entry")
    }


@cache
def definitions():
    """The folder of the MAVLink XML that the agent is built from."""
    packages = json.loads(cargo("metadata", "--format-version", "1"))["packages"]
    manifest = next(it["manifest_path"] for it in packages if it["name"] == "mavlink")
    return Path(manifest).parent / "mavlink" / "message_definitions" / "v1.0"


def unset_if_nan(value):
    return None if math.isnan(value) else value


def exact(value):
    """The number as the request writes it, without a float's error."""
    return Decimal(repr(value))


def float_bits(value):
    """The bits of a param as COMMAND_LONG carries it."""
    return struct.pack("<f", math.nan if value is None else value)


def cargo(subcommand, *arguments, **environment):
    result = subprocess.run(
        ["cargo", subcommand, "--locked", *arguments],
        cwd=REPOSITORY,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout


@pytest.fixture(scope="module")
def commands():
    result = run_to_end("catalog", "--json")
    assert result.returncode == 0, result.stderr
    commands = [Command(entry) for entry in json.loads(result.stdout)]
    assert len(commands) == 181
    return commands


def answers_to(requests, folder):
    """What the agent's own reading and framing make of the requests."""
    read, written = folder / "requests.jsonl", folder / "frames.jsonl"
    read.write_text("".join(f"{request.line()}\n" for request in requests))
    cargo(
        *("test", "--test", "catalog_frames"),
        *("--", "--ignored", "--exact", "requests_become_frames"),
        DOWNLINKD_REQUESTS=str(read),
        DOWNLINKD_FRAMES=str(written),
    )
    answers = [json.loads(line) for line in written.read_text().splitlines()]
    assert len(answers) == len(requests)
    return answers


def decode(text):
    """The only message of these bytes, by pymavlink."""
    messages = mavlink.MAVLink(None).parse_buffer(bytes.fromhex(text))
    assert len(messages) == 1, text
    message = messages[0]
    assert (message.get_srcSystem(), message.get_srcComponent()) == (1, 191)
    assert (message.target_system, message.target_component) == (1, 1)
    return message


def check_long(request, text):
    message = decode(text)
    assert message.get_type() == "COMMAND_LONG"
    assert (message.command, message.confirmation) == (request.command.id, 0)
    sent = [getattr(message, f"param{index}") for index in range(1, 8)]
    assert same_floats(sent, [request.params[index] for index in range(1, 8)]), (
        sent,
        request.params,
    )


def check_int(request, text):
    message = decode(text)
    assert message.get_type() == "COMMAND_INT"
    assert (message.command, message.frame) == (request.command.id, request.frame_number)
    assert (message.current, message.autocontinue) == (0, 0)
    sent = [getattr(message, f"param{index}") for index in range(1, 5)] + [message.z]
    assert same_floats(sent, [request.params[index] for index in (1, 2, 3, 4, 7)])
    for wire, asked in zip((message.x, message.y), request.x_and_y(), strict=True):
        if asked is None:
            assert wire == INT32_MAX
        else:
            # Half a unit is rounding; a whole one would be another place.
            assert abs(wire - asked) <= Decimal("0.500001"), (wire, asked)


def same_floats(sent, asked):
    return all(
        math.isnan(s) if a is None else float_bits(s) == float_bits(a)
        for s, a in zip(sent, asked, strict=True)
    )


def test_pymavlink_reads_what_was_asked(commands, tmp_path):
    chance = random.Random("valid payloads")
    requests = [Request(command, chance) for command in commands for _ in range(VALID_PER_COMMAND)]
    int_forms = 0
    for request, answer in zip(requests, answers_to(requests, tmp_path), strict=True):
        assert "error" not in answer, (request.line(), answer)
        check_long(request, answer["long"])
        assert (answer["int"] is None) == (request.x_and_y() is None), request.line()
        if answer["int"] is not None:
            check_int(request, answer["int"])
            int_forms += 1
    # Every command with a location, and most of the others.
    assert int_forms > len(requests) / 2


def test_invalid_payloads_make_no_frame(commands, tmp_path):
    chance = random.Random("invalid payloads")
    requests = [
        Request(command, chance) for command in commands for _ in range(INVALID_PER_COMMAND)
    ]
    for request in requests:
        spoil(request, chance)
    for request, answer in zip(requests, answers_to(requests, tmp_path), strict=True):
        assert set(answer) == {"error"}, request.line()
        assert answer["error"], request.line()
