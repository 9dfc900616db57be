"""Runs rounds, and says what came of them."""

import sys
from collections import Counter
from dataclasses import dataclass, field

from plan import plan
from world import Violation, World

LOG_CHARACTERS = 6000


@dataclass
class Outcome:
    seed: int
    violations: list
    events: Counter
    statuses: Counter
    story: str = field(repr=False)


def run_round(seed, folder):
    """Runs the round of this seed in a new folder."""
    world = World(folder)
    violations = world.ledger.violations
    steps = plan(seed)
    try:
        for name, arguments in steps:
            getattr(world, name)(**arguments)
        world.settle()
    except Violation as violation:
        violations.append(str(violation))
    finally:
        world.close()
    world.ledger.read()
    world.ledger.check(world.asked, world.vehicle.answers)
    world.events["frames"] = world.ledger.frames()
    world.events["duplicate replies"] = world.ledger.duplicate_replies()
    story = ""
    if violations:
        log = world.agent.log.read_text(errors="replace")[-LOG_CHARACTERS:]
        story = "\n".join([*(f"  {name} {arguments}" for name, arguments in steps), log])
    return Outcome(
        seed, violations, world.events, world.ledger.tally(world.asked), story
    )


def report(outcomes, seconds, file=sys.stdout):
    """The summary as a table of Markdown."""
    events = sum((outcome.events for outcome in outcomes), Counter())
    statuses = sum((outcome.statuses for outcome in outcomes), Counter())
    rows = [("rounds", len(outcomes)), ("seconds", round(seconds))]
    rows += sorted(events.items()) + sorted(statuses.items())
    rows.append(("violations", sum(len(outcome.violations) for outcome in outcomes)))
    print("| | |\n|---|---|", file=file)
    for name, count in rows:
        print(f"| {name} | {count} |", file=file)
