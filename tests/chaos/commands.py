"""The commands of a chaos run: each carries a number of its own on the wire, and has an answer."""

from dataclasses import dataclass, field

from pymavlink.dialects.v20 import development as mavlink

from vehicle import Ack, Vehicle

VEHICLE = "px4-real-1"
RETRANSMITS = 2
# Added to a number: the same idempotency key with another content.
CONFLICT = 1_000_000


@dataclass(frozen=True)
class Kind:
    """A MAV_CMD, and the field of its payload that takes a command's number."""

    mav_cmd: int
    number_field: str
    number_param: str
    others: dict = field(default_factory=dict)
    retransmitted: bool = False


PLACE = {"latitude": 47.397742, "longitude": 8.545594}
KINDS = {
    "do_digicam_control": Kind(mavlink.MAV_CMD_DO_DIGICAM_CONTROL, "shot_id", "param7"),
    "do_set_servo": Kind(mavlink.MAV_CMD_DO_SET_SERVO, "pwm", "param2"),
    "do_change_speed": Kind(mavlink.MAV_CMD_DO_CHANGE_SPEED, "speed", "param2"),
    # These go out as COMMAND_INT.
    "do_set_roi_location": Kind(
        mavlink.MAV_CMD_DO_SET_ROI_LOCATION, "altitude", "param7", PLACE
    ),
    "do_set_home": Kind(mavlink.MAV_CMD_DO_SET_HOME, "altitude", "param7", PLACE),
    # Its policy allows retransmissions.
    "do_mount_control": Kind(
        mavlink.MAV_CMD_DO_MOUNT_CONTROL, "pitch", "param1", retransmitted=True
    ),
    # PX4 reads nothing of it but param1. Numbers up to 255.
    "preflight_reboot_shutdown": Kind(
        mavlink.MAV_CMD_PREFLIGHT_REBOOT_SHUTDOWN, "component_id", "param4", {"autopilot": 1}
    ),
}
# Those that leave the vehicle running, and take any number.
HARMLESS = tuple(name for name in KINDS if name != "preflight_reboot_shutdown")
KIND_BY_MAV_CMD = {kind.mav_cmd: kind for kind in KINDS.values()}

# What the vehicle does with a command, and how often.
MOODS = {
    "accept": 10,
    "slow": 7,
    "late": 2,
    "silent": 3,
    "refuse": 2,
    "twice": 2,
    "progress": 3,
    "other form": 3,
    "stray": 1,
    "second frame": 0,
}


@dataclass(frozen=True)
class Asked:
    """A command as it is asked for."""

    number: int
    command_type: str
    mood: str
    timeout_s: int

    @property
    def key(self):
        return f"chaos-{self.number}"

    @property
    def kind(self):
        return KINDS[self.command_type]

    def body(self, number=None):
        number = self.number if number is None else number
        return {
            "vendor": "px4",
            "device_id": VEHICLE,
            "command_type": self.command_type,
            "payload": {**self.kind.others, self.kind.number_field: number},
            "idempotency_key": self.key,
            "timeout_seconds": self.timeout_s,
        }


def number_of(message):
    """The number in a command frame, in either form."""
    kind = KIND_BY_MAV_CMD[message.command]
    as_int = message.get_type() == "COMMAND_INT"
    names = {"param5": "x", "param6": "y", "param7": "z"} if as_int else {}
    return int(getattr(message, names.get(kind.number_param, kind.number_param)))


class MoodyVehicle(Vehicle):
    """Answers each command as it was asked to; every Ack tells by its result_param2 for which."""

    def __init__(self, port, asked, heartbeat_interval_s=0.05, cable=None):
        super().__init__(port, heartbeat_interval_s=heartbeat_interval_s, cable=cable)
        self._asked = asked
        self._frames_of = {}
        # (MAV_CMD, result, result_param2) of all answers that may have been given.
        self.answers = set()

    def answers_to(self, message):
        number = number_of(message)
        asked = self._asked.get(number)
        if asked is None:
            # The checks report this frame.
            return []
        frames = self._frames_of[number] = self._frames_of.get(number, 0) + 1
        answers = [
            Ack(result, progress, number, source, after=after)
            for result, after, progress, source in answers_of(asked, message, frames)
        ]
        self.answers |= {(message.command, ack.result, number) for ack in answers}
        return answers


def answers_of(asked, message, frames):
    """(result, seconds after the frame, progress, source) of each answer to the frame."""
    own = (1, 1)
    accepted = mavlink.MAV_RESULT_ACCEPTED
    in_progress = mavlink.MAV_RESULT_IN_PROGRESS
    is_long = message.get_type() == "COMMAND_LONG"
    other_form = (
        mavlink.MAV_RESULT_COMMAND_INT_ONLY if is_long else mavlink.MAV_RESULT_COMMAND_LONG_ONLY
    )
    return {
        "accept": [(accepted, 0.0, 0, own)],
        "slow": [(accepted, 0.3 + asked.number % 7 / 10, 0, own)],
        "late": [(accepted, asked.timeout_s + 0.3, 0, own)],
        "silent": [],
        "refuse": [(mavlink.MAV_RESULT_DENIED, 0.0, 0, own)],
        "twice": [(accepted, 0.0, 0, own), (accepted, 0.05, 0, own)],
        "progress": [
            (in_progress, 0.05, 10, own),
            (in_progress, 0.2, 60, own),
            (accepted, 0.5, 0, own),
        ],
        "other form": [(other_form if frames == 1 else accepted, 0.0, 0, own)],
        "stray": [(mavlink.MAV_RESULT_UNSUPPORTED, 0.05, 0, (1, 100))],
        "second frame": [(accepted, 0.0, 0, own)] if frames == 2 else [],
    }[asked.mood]
