"""Pruned trials in a comparison: where their curve was heading, by what the complete curves made come true."""

import math

import pytest

from sweep.observations import Ended, observe
from sweep.pruners import project

HORIZON = 10


def falling(final: float, speed: float, reports: int = HORIZON) -> list[float]:
    return [final + speed**step - speed**HORIZON for step in range(1, reports + 1)]


def trial(number: int, losses: list[float], pruned: bool = False) -> Ended:
    return Ended(number, {"lora_rank": 8}, losses, min(losses, default=2.0), HORIZON, pruned)


def test_complete_trials_count_by_their_best_loss() -> None:
    (seen,) = observe([trial(0, [2.5, 2.0, 2.1])])
    assert (seen.loss, seen.error, seen.pruned) == (2.0, 0.0, False)


def test_a_run_without_a_curve_counts_by_its_value() -> None:
    (seen,) = observe([Ended(0, {}, [], 1.25, 0, pruned=False)])
    assert seen.loss == 1.25


def test_with_few_complete_curves_a_pruned_trial_counts_by_its_projection() -> None:
    losses = falling(2.0, 0.6, reports=4)
    seen = observe([trial(0, falling(2.0, 0.6)), trial(1, losses, pruned=True)])[1]
    assert seen.loss == pytest.approx(project(losses, HORIZON).loss)
    assert seen.error == pytest.approx(project(losses, HORIZON).error)
    assert seen.pruned


@pytest.mark.parametrize("speed", [0.5, 0.6, 0.8])
def test_complete_curves_correct_what_a_projection_promises(speed: float) -> None:
    complete = [trial(number, falling(2.0 + number / 10, speed)) for number in range(3)]
    pruned = trial(3, falling(2.7, speed, reports=4), pruned=True)
    seen = observe([*complete, pruned])[3]
    assert project(pruned.losses, HORIZON).loss != pytest.approx(2.7, abs=0.005)
    assert seen.loss == pytest.approx(2.7, abs=1e-6)


def test_a_correction_has_bounds() -> None:
    flat_then_steep = [3.0, 2.99, 2.98, 2.0]
    complete = [Ended(number, {}, flat_then_steep, 2.0, 4, pruned=False) for number in range(3)]
    pruned = Ended(3, {}, flat_then_steep[:3], 2.98, 4, pruned=True)
    change = 2.98 - project(flat_then_steep[:3], 4).loss
    assert observe([*complete, pruned])[3].loss == pytest.approx(2.98 - 3 * change)


@pytest.mark.parametrize("losses", [[2.5], [2.5, math.nan], [2.5, math.inf, 2.4]])
def test_a_pruned_trial_that_tells_nothing_is_left_out(losses: list[float]) -> None:
    seen = observe([trial(0, [2.5, 2.0]), Ended(1, {}, losses, 2.5, HORIZON, pruned=True)])
    assert [run.number for run in seen] == [0]
