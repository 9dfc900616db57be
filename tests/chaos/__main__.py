"""Kills the agent, and everything around it, at random moments, and checks what is promised.

Round by round, each from a seed of its own; the same seed makes the same plan, on a clock that is
never quite the same.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from rounds import run_rounds, table  # noqa: E402


def main():
    parser = argparse.ArgumentParser(prog="tests/run chaos", description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=200)
    parser.add_argument("seed", type=int, nargs="?", help="of the first round; the rest count up")
    parser.add_argument("--jobs", type=int, default=2 * os.cpu_count(), help="at a time")
    parser.add_argument("--stop", action="store_true", help="at the first violation")
    arguments = parser.parse_args()
    first = arguments.seed if arguments.seed is not None else int(time.time())
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    started = time.monotonic()
    outcomes = []
    print(f"{arguments.rounds} rounds from seed {first} in {folder}", flush=True)
    seeds = range(first, first + arguments.rounds)
    for outcome in run_rounds(seeds, folder, arguments.jobs):
        outcomes.append(outcome)
        print(f"seed {outcome.seed}: {told(outcome)}", flush=True)
        if not outcome.violations:
            shutil.rmtree(folder / str(outcome.seed))
        elif arguments.stop:
            break
    print(table(outcomes, time.monotonic() - started))
    if any(outcome.violations for outcome in outcomes):
        return 1
    folder.rmdir()
    return 0


def told(outcome):
    if not outcome.violations:
        return f"good, {outcome.events['kills']} kills, {outcome.events['commands']} commands"
    again = f"again with: tests/run chaos 1 {outcome.seed}"
    return "\n".join(["BROKEN", *outcome.violations, outcome.story, again])


if __name__ == "__main__":
    sys.exit(main())
