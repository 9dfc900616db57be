"""What happens in an hour, all of it from a seed."""

import random
from collections import Counter
from dataclasses import dataclass, field

from commands import Asked
from line import FAULTS
from plan import asked

# An hour's faults and commands come in six minutes; the stream, the agent's own times, and how long
# a fault lasts are as always.
ACCELERATION = 10
# Seconds from one to the next, before that.
NOISE_EVERY_S = 2
COMMAND_EVERY_S = 3
UNPLUG_EVERY_S = 60
REBOOT_EVERY_S = 300
LONGEST_UNPLUG_S = 3.0
# The share of the noise that hits an answer.
AIMED = 0.2
# Other traffic on the same line, beside what damages the line.
TRAFFIC = ("another autopilot", "answers for others", "MAVLink 1")
# Those before are a reboot's and the probes'.
FIRST_NUMBER = 2000
REBOOT_TIMEOUT_S = 2


@dataclass(order=True)
class Step:
    """A method of Soak, when it is due (in seconds of the run), and its arguments."""

    at: float
    name: str = field(compare=False)
    arguments: dict = field(compare=False)


def timeline(seed, minutes):
    chance = random.Random(seed)
    make = {
        "noise": lambda number: noise(chance),
        "ask": lambda number: {"asked": asked(chance, FIRST_NUMBER + number)},
        "unplug": lambda number: {"seconds": absence(chance)},
        "reboot": lambda number: reboot(chance, number + 1),
    }
    every = {
        "noise": NOISE_EVERY_S,
        "ask": COMMAND_EVERY_S,
        "unplug": UNPLUG_EVERY_S,
        "reboot": REBOOT_EVERY_S,
    }
    steps = []
    for name, interval in every.items():
        for number in range(int(minutes * 60 / interval)):
            at = (number + chance.random()) * interval / ACCELERATION
            steps.append(Step(at, name, make[name](number)))
    return sorted(steps)


def noise(chance):
    what = chance.choice((*FAULTS, *TRAFFIC))
    is_aimed = chance.random() < AIMED
    # Few frames are answers.
    frames = 1 if is_aimed else chance.choice((1, 1, 2, 5))
    return {"what": what, "frames": frames, "is_aimed": is_aimed}


def absence(chance):
    return chance.choice((0.0, chance.uniform(0.0, 0.3), *2 * [chance.uniform(0, LONGEST_UNPLUG_S)]))


def reboot(chance, number):
    """By USB the device node goes with the vehicle; a UART falls silent, long enough to be missed."""
    node_goes = chance.random() < 0.5
    return {
        "asked": Asked(number, "preflight_reboot_shutdown", "accept", REBOOT_TIMEOUT_S),
        "node_goes": node_goes,
        "seconds": chance.uniform(1.5, 4.0) if node_goes else chance.uniform(3.5, 6.0),
    }


def told(steps):
    """How many of each there are."""
    counts = Counter(step.name for step in steps)
    return ", ".join(f"{count} x {name}" for name, count in sorted(counts.items()))
