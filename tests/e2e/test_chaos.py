"""A few rounds of what `tests/run chaos` does by the hundred."""

from concurrent.futures import ProcessPoolExecutor

from plan import TROUBLES, plan
from rounds import run_round

SEEDS = (1, 2, 3, 4, 5, 6, 7, 8, 14, 23)
ROUNDS_AT_A_TIME = 4


def test_nothing_is_lost_or_sent_twice(tmp_path):
    with ProcessPoolExecutor(ROUNDS_AT_A_TIME) as pool:
        folders = [tmp_path / str(seed) for seed in SEEDS]
        outcomes = list(pool.map(run_round, SEEDS, folders))
    for outcome in outcomes:
        told = [f"seed {outcome.seed}:", *outcome.violations, outcome.story]
        assert not outcome.violations, "\n".join(told)


def test_the_seeds_have_every_trouble():
    names = {name for seed in SEEDS for name, _ in plan(seed)}
    assert {*TROUBLES, "kill_agent", "repeat"} <= names
