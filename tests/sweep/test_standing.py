"""A study's finished trials by what each has reached, or, pruned, was heading for."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep.contenders import HORIZON, PROGRESS, START
from sweep.projection import even_progress, project
from sweep.standing import standing

LOSSES = (3.0, 2.6, 2.4)


def trial(number: int, losses: Sequence[float], told: Mapping[str, Any], *, complete: bool = False) -> FrozenTrial:
    state, value = (TrialState.COMPLETE, min(losses)) if complete else (TrialState.PRUNED, None)
    reports = dict(enumerate(losses, start=1))
    made = create_trial(state=state, value=value, intermediate_values=reports, user_attrs=dict(told))
    made.number = number
    return made


def test_the_best_comes_first() -> None:
    trials = [trial(number, [value], {}, complete=True) for number, value in enumerate((2.5, 2.3, 2.4))]
    assert [(seen.number, seen.loss) for seen in standing(trials)] == [(1, 2.3), (2, 2.4), (0, 2.5)]


@pytest.mark.parametrize("told", [{}, {START: 3.5}])
def test_a_pruned_one_stands_where_its_own_progress_says_that_it_was_heading(told: dict[str, Any]) -> None:
    progress = [0.2, 0.5, 0.8, 1.0]
    (seen,) = standing([trial(0, LOSSES, told | {PROGRESS: progress})])
    expected = project(LOSSES, progress, told.get(START))
    assert (seen.loss, seen.error, seen.pruned) == (expected.loss, expected.error, True)


def test_one_that_tells_only_its_length_learnt_evenly() -> None:
    (seen,) = standing([trial(0, LOSSES, {HORIZON: 8})])
    assert seen.loss == project(LOSSES, even_progress(8)).loss


def test_one_that_tells_nothing_was_at_its_end() -> None:
    (seen,) = standing([trial(0, LOSSES, {})])
    assert seen.loss == 2.4


def test_one_whose_curve_says_nothing_is_left_out() -> None:
    trials = [trial(0, [2.5], {HORIZON: 8}), trial(1, [], {}), trial(2, [2.5, math.nan], {HORIZON: 8})]
    assert standing(trials) == []
