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
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from rounds import report, run_round  # noqa: E402


def main():
    parser = argparse.ArgumentParser(prog="tests/run chaos", description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=200)
    parser.add_argument("seed", type=int, nargs="?", help="of the first round; the rest count up")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="rounds at a time")
    parser.add_argument("--stop", action="store_true", help="at the first violation")
    arguments = parser.parse_args()
    first = arguments.seed if arguments.seed is not None else int(time.time())
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    started = time.monotonic()
    outcomes = []
    print(f"{arguments.rounds} rounds from seed {first} in {folder}", flush=True)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        seeds = range(first, first + arguments.rounds)
        running = [pool.submit(run_round, seed, folder / str(seed)) for seed in seeds]
        for future in as_completed(running):
            outcome = future.result()
            outcomes.append(outcome)
            print(f"seed {outcome.seed}: {told(outcome)}", flush=True)
            if not outcome.violations:
                shutil.rmtree(folder / str(outcome.seed))
            elif arguments.stop:
                pool.shutdown(wait=True, cancel_futures=True)
                break
    report(outcomes, time.monotonic() - started)
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
