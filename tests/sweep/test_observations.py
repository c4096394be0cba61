"""Pruned trials in a comparison: where their curve was heading, by what the complete curves made come true."""

import math

import pytest

from sweep.observations import Ended, observe
from sweep.projection import even_progress, project

HORIZON = 10
PROGRESS = even_progress(HORIZON)


def falling(final: float, speed: float, reports: int = HORIZON) -> list[float]:
    return [final + speed**step - speed**HORIZON for step in range(1, reports + 1)]


def trial(number: int, losses: list[float], pruned: bool = False, start: float | None = None) -> Ended:
    return Ended(number, {"lora_rank": 8}, losses, min(losses, default=2.0), PROGRESS, pruned, start)


def test_complete_trials_count_by_their_best_loss() -> None:
    (seen,) = observe([trial(0, [2.5, 2.0, 2.1])])
    assert (seen.loss, seen.error, seen.pruned) == (2.0, 0.0, False)


def test_a_run_without_a_curve_counts_by_its_value() -> None:
    (seen,) = observe([Ended(0, {}, [], 1.25, [], pruned=False)])
    assert seen.loss == 1.25


@pytest.mark.parametrize("start", [None, 3.2])
def test_with_few_complete_curves_a_pruned_trial_counts_by_its_projection(start: float | None) -> None:
    losses = falling(2.0, 0.6, reports=4)
    seen = observe([trial(0, falling(2.0, 0.6)), trial(1, losses, pruned=True, start=start)])[1]
    expected = project(losses, PROGRESS, start)
    assert (seen.loss, seen.error, seen.pruned) == (expected.loss, expected.error, True)


def test_the_loss_before_training_moves_a_projection() -> None:
    losses = falling(2.0, 0.6, reports=4)
    headings = [trial(0, losses, start=start).heading(4).loss for start in (None, 3.2)]
    assert headings[0] != pytest.approx(headings[1], abs=0.01)


@pytest.mark.parametrize("speed", [0.5, 0.6, 0.8])
def test_complete_curves_correct_what_a_projection_promises(speed: float) -> None:
    complete = [trial(number, falling(2.0 + number / 10, speed)) for number in range(3)]
    pruned = trial(3, falling(2.7, speed, reports=4), pruned=True)
    seen = observe([*complete, pruned])[3]
    assert pruned.heading(4).loss != pytest.approx(2.7, abs=0.005)
    assert seen.loss == pytest.approx(2.7, abs=1e-6)
    assert seen.error == pytest.approx(0, abs=1e-6), "they all said how"


def test_curves_that_go_on_differently_leave_it_unsure() -> None:
    def error(*speeds: float) -> float:
        complete = [trial(number, falling(2.0, speed)) for number, speed in enumerate(speeds)]
        return observe([*complete, trial(9, falling(2.7, 0.6, reports=4), pruned=True)])[-1].error

    assert 0 <= error(0.6, 0.6, 0.6) < error(0.55, 0.6, 0.65) < error(0.5, 0.6, 0.7)


def test_each_curve_is_cut_where_the_pruned_one_ended_and_projected_by_its_own_progress() -> None:
    late = [share**3 for share in PROGRESS]  # most is learnt at the end
    complete = [Ended(n, {}, falling(2.0 + n / 10, 0.8), 2.0 + n / 10, late, pruned=False, start=4.0) for n in range(3)]
    pruned = Ended(3, {}, falling(2.7, 0.8, reports=4), 3.0, late, pruned=True, start=4.3)
    assert pruned.heading(4).loss < trial(3, falling(2.7, 0.8, reports=4), start=4.3).heading(4).loss - 0.1
    assert observe([*complete, pruned])[3].loss == pytest.approx(2.7, abs=0.15)


def test_a_correction_has_bounds() -> None:
    flat_then_steep, progress = [3.0, 2.99, 2.98, 2.0], even_progress(4)
    complete = [Ended(number, {}, flat_then_steep, 2.0, progress, pruned=False) for number in range(3)]
    pruned = Ended(3, {}, flat_then_steep[:3], 2.98, progress, pruned=True)
    change = 2.98 - project(flat_then_steep[:3], progress).loss
    assert change > 0
    assert observe([*complete, pruned])[3].loss == pytest.approx(2.98 - 3 * change)


@pytest.mark.parametrize("losses", [[2.5], [2.5, math.nan], [2.5, math.inf, 2.4]])
def test_a_pruned_trial_that_tells_nothing_is_left_out(losses: list[float]) -> None:
    seen = observe([trial(0, [2.5, 2.0]), Ended(1, {}, losses, 2.5, PROGRESS, pruned=True)])
    assert [run.number for run in seen] == [0]


def test_a_single_loss_tells_something_where_the_loss_before_training_is_known() -> None:
    seen = observe([trial(0, [2.5, 2.0]), trial(1, [2.5], pruned=True, start=3.0)])
    assert [run.number for run in seen] == [0, 1]
    assert seen[1].loss < 2.5
