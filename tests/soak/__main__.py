"""An accelerated hour on a bad serial line: noise, unplugs, reboots, and commands all the while.

Before it the cost of PX4's onboard stream is measured. The same seed makes the same plan, on a clock
that is never quite the same.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[1:1] = [str(TESTS / "e2e"), str(TESTS / "chaos")]

from agent import BINARY  # noqa: E402
from cost import cost_of_the_stream  # noqa: E402
from hour import soak_for  # noqa: E402
from timeline import ACCELERATION, timeline, told  # noqa: E402


def main():
    parser = argparse.ArgumentParser(prog="tests/run soak", description=__doc__)
    parser.add_argument("minutes", type=int, nargs="?", default=60, help="before acceleration")
    parser.add_argument("seed", type=int, nargs="?")
    parser.add_argument("--cost-only", action="store_true", help="measure the stream's cost, no more")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else int(time.time())
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"seed {seed}, in {folder}, of {BINARY}", flush=True)
    rows = cost_of_the_stream(folder / "cost", seed)
    show(rows)
    if arguments.cost_only:
        shutil.rmtree(folder)
        return 0
    steps = timeline(seed, arguments.minutes)
    print(f"{arguments.minutes} minutes, {ACCELERATION} times as fast: {told(steps)}", flush=True)
    rows, violations = soak_for(folder / "hour", seed, steps)
    show(rows)
    if violations:
        print("\n".join(["BROKEN", *violations, f"the log is in {folder}"]))
        print(f"again with: tests/run soak {arguments.minutes} {seed}")
        return 1
    shutil.rmtree(folder)
    return 0


def show(rows):
    print("\n".join(f"| {name} | {value} |" for name, value in rows), flush=True)


if __name__ == "__main__":
    sys.exit(main())
