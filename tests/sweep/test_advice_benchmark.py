"""The benchmark of remedies: what it plays, and what it counts."""

import math

import optuna
import pytest

from tests.benchmarks.advice import Run, best_known, run_at, search
from tests.benchmarks.advice_grid import TASKS, grid

EVALUATIONS = TASKS["enough"][2]
STEPS = tuple(range(4, 4 * EVALUATIONS + 1, 4))


def run(loss: float) -> Run:
    """A run that falls from 3 to a loss, all but a tenth of the way in its first steps."""
    falling = [loss + (3 - loss) * 0.8**step for step in range(1, STEPS[-1] + 1)]
    return Run(falling, STEPS, [falling[step - 1] for step in STEPS])


@pytest.fixture
def recorded() -> dict[tuple[int, ...], dict[float, Run]]:
    """Everywhere the best rate is 1e-2; from 0.1 on runs are lost."""
    losses = {1e-4: 2.9, 1e-3: 2.5, 1e-2: 2.0, 1e-1: math.nan, 0.464: math.nan}
    return {
        (rank, ratio, batch): {rate: run(loss + (rank == 4) * 0.1) for rate, loss in losses.items()}
        for rank in (4, 16)
        for ratio in (1, 4)
        for batch in (4, 16)
    }


def knobs(rate: float) -> dict[str, float]:
    return {"lora_rank": 16, "alpha_ratio": 1, "effective_batch_size": 4, "learning_rate": rate}


def test_between_two_rates_losses_are_between_in_the_rates_logarithm(
    recorded: dict[tuple[int, ...], dict[float, Run]],
) -> None:
    runs = recorded[16, 1, 4]
    half = run_at(recorded, knobs(10**-2.5))
    between = [(a + b) / 2 for a, b in zip(runs[1e-3].evaluation, runs[1e-2].evaluation, strict=True)]
    assert half.evaluation == pytest.approx(between)
    assert half.training[0] == pytest.approx((runs[1e-3].training[0] + runs[1e-2].training[0]) / 2)
    assert run_at(recorded, knobs(1e-3)) is runs[1e-3]
    assert run_at(recorded, knobs(1e-5)) is runs[1e-4]


def test_next_to_a_lost_run_the_nearer_one_counts(recorded: dict[tuple[int, ...], dict[float, Run]]) -> None:
    runs = recorded[16, 1, 4]
    assert run_at(recorded, knobs(10**-1.6)) is runs[1e-2]
    assert run_at(recorded, knobs(10**-1.4)) is runs[1e-1]


def test_the_best_known_loss_is_one_in_the_range(recorded: dict[tuple[int, ...], dict[float, Run]]) -> None:
    assert best_known(recorded, (1e-4, 1.0)) == recorded[16, 1, 4][1e-2].evaluation[-1]
    assert best_known(recorded, (1e-4, 5e-3)) == recorded[16, 1, 4][1e-3].evaluation[-1]


def test_a_search_counts_trials_and_rows_until_it_is_near(
    recorded: dict[tuple[int, ...], dict[float, Run]],
) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    plain = search("enough", recorded, (1e-4, 0.464), 3, advisor=False, total=9)
    advised = search("enough", recorded, (1e-4, 0.464), 3, advisor=True, total=9)
    assert plain.advised == 0
    assert 1 <= advised.advised <= 3
    assert "remedies helped" in advised.helped
    for found in (plain, advised):
        assert 1 <= found.trials <= 10
        assert 0 < found.rows <= 9 * STEPS[-1] * 16 / 1000


def test_the_grid_has_each_run_once() -> None:
    runs = [(task, tuple(found.values())) for task, found in grid()]
    assert len(runs) == len(set(runs)) == 2 * 13 * 8
