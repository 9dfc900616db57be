"""Runs rounds, and says what came of them."""

from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context

from plan import plan
from world import World

LOG_CHARACTERS = 6000


@dataclass
class Outcome:
    seed: int
    violations: list
    events: Counter
    statuses: Counter
    story: str = field(repr=False)


def run_rounds(seeds, folder, at_a_time):
    """Runs the rounds of these seeds below `folder`; gives each outcome as it comes."""
    # Not forked, since the caller may have threads.
    with ProcessPoolExecutor(at_a_time, get_context("spawn")) as pool:
        running = [pool.submit(run_round, seed, folder / str(seed)) for seed in seeds]
        try:
            for future in as_completed(running):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def run_round(seed, folder):
    """Runs the round of this seed in a new folder."""
    world = World(folder)
    violations = world.ledger.violations
    steps = plan(seed)
    try:
        world.start()
        for name, arguments in steps:
            getattr(world, name)(**arguments)
        world.settle()
    except AssertionError as error:
        violations.append(str(error))
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
    return Outcome(seed, violations, world.events, world.ledger.tally(world.asked), story)


def table(outcomes, seconds):
    """The summary, in Markdown."""
    events = sum((outcome.events for outcome in outcomes), Counter())
    statuses = sum((outcome.statuses for outcome in outcomes), Counter())
    rows = [("rounds", len(outcomes)), ("seconds", round(seconds))]
    rows += sorted(events.items()) + sorted(statuses.items())
    rows.append(("violations", sum(len(outcome.violations) for outcome in outcomes)))
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {count} |" for name, count in rows)])
