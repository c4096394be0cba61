"""How a study's trials look to pruning."""

import math
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep.contenders import (
    HORIZON,
    PARKED,
    PROGRESS,
    START,
    UNKNOWN,
    WARMUP,
    Contender,
    contender,
    direction_sign,
    is_parked,
    others,
)
from sweep.projection import Projection, even_progress, project
from tests.sweep.contending import of_curve

REPORTS = {1: 3.0, 2: 2.6, 3: 2.4}
UNFINISHED = (TrialState.RUNNING, TrialState.WAITING)


def trial(
    state: TrialState = TrialState.RUNNING,
    reports: Mapping[int, float] = REPORTS,
    told: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    value = 2.3 if state == TrialState.COMPLETE else None
    return create_trial(state=state, value=value, intermediate_values=dict(reports), user_attrs=dict(told or {}))


def seen(made: FrozenTrial, sign: float = 1.0) -> Contender:
    return contender(made, horizon=10, warmup=2, sign=sign)


class TestContender:
    def test_losses_come_in_the_order_of_their_steps_whatever_the_steps_are(self) -> None:
        assert seen(trial(reports={30: 2.4, 10: 3.0, 20: 2.6})).losses == (3.0, 2.6, 2.4)

    def test_a_trial_says_how_long_it_is_and_what_it_has_learnt_when(self) -> None:
        told = seen(trial(told={PROGRESS: [0.1, 0.5, 0.9, 1.0], HORIZON: 4, WARMUP: 1, START: 3.5}))
        assert (told.progress, told.warmup, told.start) == ([0.1, 0.5, 0.9, 1.0], 1, 3.5)

    def test_one_that_does_not_is_as_long_as_the_studys_and_learns_evenly(self) -> None:
        assert (seen(trial()).progress, seen(trial()).warmup, seen(trial()).start) == (even_progress(10), 2, None)
        assert seen(trial(told={HORIZON: 4})).progress == even_progress(4)

    @pytest.mark.parametrize(
        ("state", "parked", "expected"),
        [
            (TrialState.RUNNING, False, (True, False, False)),
            (TrialState.RUNNING, True, (True, False, False)),
            (TrialState.WAITING, True, (False, True, False)),
            (TrialState.WAITING, False, (False, False, False)),
            (TrialState.COMPLETE, True, (False, False, True)),
            (TrialState.PRUNED, True, (False, False, False)),
        ],
    )
    def test_it_runs_is_parked_or_is_complete_or_neither(
        self, state: TrialState, parked: bool, expected: tuple[bool, bool, bool]
    ) -> None:
        found = seen(trial(state, told={PARKED: parked}))
        assert (found.running, found.parked, found.complete) == expected
        assert found.unfinished == (found.running or found.parked)
        assert is_parked(trial(state, told={PARKED: parked})) == found.parked

    def test_a_complete_one_has_its_value_beside_its_reports(self) -> None:
        assert seen(trial(TrialState.COMPLETE)).losses == (3.0, 2.6, 2.4, 2.3)
        assert seen(trial(TrialState.COMPLETE, {})).losses == (2.3,)

    def test_where_a_study_maximises_all_is_turned(self) -> None:
        found = seen(trial(TrialState.COMPLETE, told={START: 3.5}), sign=-1.0)
        assert (found.losses, found.start) == ((-3.0, -2.6, -2.4, -2.3), -3.5)

    def test_an_unfinished_one_is_heading_where_its_curve_is_projected(self) -> None:
        for state in ("running", "parked"):
            found = of_curve(0, [3.0, 2.6, 2.4], start=3.5, **{state: True})
            assert found.heading == project([3.0, 2.6, 2.4], even_progress(10), 3.5)

    @pytest.mark.parametrize("complete", [True, False])
    def test_a_finished_one_is_where_it_is(self, complete: bool) -> None:
        assert of_curve(0, [3.0, 2.4, 2.6], start=3.5, complete=complete).heading == Projection(2.4, 0.0)

    def test_a_diverged_one_is_heading_nowhere(self) -> None:
        found = of_curve(0, [3.0, math.nan, 2.0], running=True)
        assert (found.sound, found.reached, found.heading) == (False, 2.0, UNKNOWN)
        assert of_curve(0, [], running=True).heading == UNKNOWN


def test_others_are_all_but_one() -> None:
    assert [each.number for each in others([of_curve(number, [2.0]) for number in range(3)], 1)] == [0, 2]


@pytest.mark.parametrize(("direction", "sign"), [("minimize", 1.0), ("maximize", -1.0)])
def test_losses_are_turned_where_a_study_maximises(direction: Any, sign: float) -> None:
    assert direction_sign(optuna.create_study(direction=direction)) == sign
