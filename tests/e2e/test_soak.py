"""A little of what `tests/run soak` does for minutes."""

from hour import soak_for
from line import FAULTS
from timeline import TRAFFIC, timeline

SEED = 3
MINUTES = 3


def test_noise_costs_only_the_frames_that_it_hits(tmp_path):
    steps = [step for step in timeline(SEED, MINUTES) if step.name == "noise"]
    check(tmp_path, steps)


def test_every_command_ends_right_on_a_line_that_comes_and_goes(tmp_path):
    check(tmp_path, timeline(SEED, MINUTES))


def test_the_seed_has_every_fault():
    steps = timeline(SEED, MINUTES)
    assert {"noise", "ask", "unplug"} <= {step.name for step in steps}
    struck = {step.arguments["what"] for step in steps if step.name == "noise"}
    assert struck == {*FAULTS, *TRAFFIC}


def check(folder, steps):
    rows, violations = soak_for(folder / "soak", SEED, steps, is_warmed_up=False)
    assert not violations, "\n".join([*violations, str(rows)])
