"""A little of what `tests/run soak` does for minutes."""

from hour import soak_for
from line import FAULTS
from timeline import TRAFFIC, timeline

SEED = 3
MINUTES = 3


def test_a_bad_line_costs_only_what_it_hits(tmp_path):
    rows, violations = soak_for(tmp_path / "soak", SEED, timeline(SEED, MINUTES))
    assert not violations, "\n".join([*violations, str(rows)])


def test_the_seed_has_every_fault():
    steps = timeline(SEED, MINUTES)
    assert {"noise", "ask", "unplug"} <= {step.name for step in steps}
    struck = {step.arguments["what"] for step in steps if step.name == "noise"}
    assert struck == {*FAULTS, *TRAFFIC}
