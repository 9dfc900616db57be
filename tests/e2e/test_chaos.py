"""A few rounds of what `tests/run chaos` does by the hundred."""

from plan import TROUBLES, plan
from rounds import run_rounds

SEEDS = (1, 2, 3, 4, 5, 6, 7, 8, 14, 23)
ROUNDS_AT_A_TIME = 5


def test_nothing_is_lost_or_sent_twice(tmp_path):
    for outcome in run_rounds(SEEDS, tmp_path, ROUNDS_AT_A_TIME):
        told = [f"seed {outcome.seed}:", *outcome.violations, outcome.story]
        assert not outcome.violations, "\n".join(told)


def test_the_seeds_have_every_trouble():
    names = {name for seed in SEEDS for name, _ in plan(seed)}
    assert {*TROUBLES, "kill_agent", "repeat"} <= names
