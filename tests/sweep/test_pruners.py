"""Projections of curves, and which trials are pruned by them. Optuna publishes no tests for pruners."""

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import optuna
import pytest
from optuna.pruners import MedianPruner, NopPruner
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep.pruners import HORIZON, PRUNERS, TIE, WARMUP, TrendPruner, project

GOOD = (3.0, 2.6, 2.4, 2.3, 2.25, 2.22, 2.2, 2.19, 2.185, 2.18)
BAD = tuple(loss + 0.8 for loss in GOOD)


def make_study(
    *others: FrozenTrial, direction: Literal["minimize", "maximize"] = "minimize", warmup: int = 0
) -> optuna.Study:
    study = optuna.create_study(direction=direction, pruner=TrendPruner(10, warmup))
    study.add_trials(others)
    return study


def done(losses: Sequence[float], state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    reports = dict(enumerate(losses, start=1))
    return create_trial(state=state, value=min(losses), intermediate_values=reports)


def reporting(study: optuna.Study, losses: Sequence[float], **attributes: int) -> FrozenTrial:
    """A trial that runs and has reported this much."""
    trial = study.ask()
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
    for step, loss in enumerate(losses, start=1):
        trial.report(loss, step)
    return study.trials[trial.number]


def reason(study: optuna.Study, losses: Sequence[float], **attributes: int) -> str | None:
    pruner = study.pruner
    assert isinstance(pruner, TrendPruner)
    return pruner.explain(study, reporting(study, losses, **attributes))


def pruned_at(study: optuna.Study, losses: Sequence[float]) -> int | None:
    """After how many reports a trial is pruned."""
    trial = study.ask()
    for step, loss in enumerate(losses, start=1):
        trial.report(loss, step)
        if trial.should_prune():
            return step
    return None


def test_a_clearly_losing_trial_is_pruned_long_before_its_end() -> None:
    assert pruned_at(make_study(done(GOOD)), BAD) in (3, 4, 5)


def test_a_pruned_trial_is_told_why_in_words() -> None:
    assert reason(make_study(done(GOOD)), BAD[:5]) == "projected 2.953 ± 0.078, and trial 0 reached 2.180"


def test_a_trial_that_wins_is_never_pruned() -> None:
    assert pruned_at(make_study(done(BAD)), GOOD) is None


def test_a_trial_like_the_best_is_never_pruned() -> None:
    assert pruned_at(make_study(done(GOOD)), GOOD) is None


def test_a_late_starter_that_catches_up_is_not_pruned() -> None:
    late = (4.0, 3.7, 3.3, 2.95, 2.7, 2.5, 2.35, 2.25, 2.2, 2.17)
    assert pruned_at(make_study(done(GOOD)), late) is None


def test_losses_that_tie_are_not_told_apart() -> None:
    flat = [2.0] * 5
    assert reason(make_study(done(flat)), [2.0 + 0.9 * TIE] * 5) is None
    assert reason(make_study(done(flat)), [2.0 + 1.1 * TIE] * 5) is not None


def test_nobody_is_pruned_without_a_rival() -> None:
    assert pruned_at(make_study(), BAD) is None


def test_nobody_is_pruned_before_three_reports() -> None:
    study = make_study(done(GOOD))
    assert reason(study, (50.0,)) is None
    assert reason(study, (50.0, 49.9)) is None
    assert reason(study, (50.0, 49.9, 49.8)) is not None


def test_nobody_is_pruned_in_warm_up() -> None:
    study = make_study(done(GOOD), warmup=4)
    assert [reason(study, BAD[:n]) is None for n in (3, 4, 5, 6)] == [True, True, True, False]


def test_a_trial_may_have_a_warm_up_of_its_own() -> None:
    study = make_study(done(GOOD), warmup=8)
    assert reason(study, BAD[:5], **{WARMUP: 1}) is not None


def test_nobody_is_pruned_at_the_horizon() -> None:
    assert reason(make_study(done(GOOD)), BAD) is None


def test_a_trial_may_have_a_horizon_of_its_own() -> None:
    study = make_study(done(GOOD))
    assert reason(study, BAD[:5], **{HORIZON: 5}) is None
    falling = (3.4, 3.1, 2.9)  # far from its end it may still win, near it no more
    assert reason(study, falling, **{HORIZON: 30}) is None
    assert reason(study, falling, **{HORIZON: 4}) is not None


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_prunes_at_once(loss: float) -> None:
    assert reason(make_study(), (2.5, loss)) == f"diverged: reported {loss}"


def test_a_trial_that_has_not_reported_goes_on() -> None:
    assert reason(make_study(done(GOOD)), ()) is None


def test_a_running_trial_counts_as_a_rival() -> None:
    study = make_study()
    reporting(study, (3.0, 2.6, 2.2, 1.8))
    assert reason(study, BAD[:5]) == "projected 2.953 ± 0.078, and trial 0 heads for 0.976"


def test_a_running_trial_with_one_report_promises_nothing() -> None:
    study = make_study()
    reporting(study, (0.5,))
    assert reason(study, BAD[:5]) == "projected 2.953 ± 0.078, and trial 0 reached 0.500"


def test_the_leader_of_running_trials_is_not_pruned() -> None:
    study = make_study()
    reporting(study, BAD[:5])
    reporting(study, BAD[:4])
    assert reason(study, GOOD[:5]) is None


def test_a_pruned_trial_counts_by_what_it_reached() -> None:
    assert reason(make_study(done(GOOD[:4], TrialState.PRUNED)), BAD[:5]) is not None


def test_a_failed_trial_is_no_rival() -> None:
    study = make_study()
    trial = study.ask()
    trial.report(0.1, 1)
    study.tell(trial, state=TrialState.FAIL)
    assert reason(study, BAD[:5]) is None


def test_a_diverged_trial_is_no_rival() -> None:
    study = make_study()
    reporting(study, (0.1, math.nan))
    assert reason(study, BAD[:5]) is None


def test_a_complete_trial_without_reports_counts_by_its_value() -> None:
    assert reason(make_study(create_trial(value=2.18)), BAD[:5]) is not None


def test_a_study_that_maximises_is_read_upside_down() -> None:
    up, down = [-loss for loss in GOOD], [-loss for loss in BAD]
    study = make_study(create_trial(value=-2.18), direction="maximize")
    assert reason(study, down[:5]) == "projected -2.953 ± 0.078, and trial 0 reached -2.180"
    assert reason(study, up[:5]) is None


def test_steps_may_leave_gaps() -> None:
    study = make_study(done(GOOD))
    trial = study.ask()
    for step, loss in zip((10, 20, 30, 40, 50), BAD, strict=False):
        trial.report(loss, step)
    assert trial.should_prune()


@pytest.mark.parametrize(("horizon", "warmup"), [(0, 0), (10, -1)])
def test_a_pruner_that_cannot_be_is_refused(horizon: int, warmup: int) -> None:
    with pytest.raises(ValueError, match="allowed: a whole number of at least"):
        TrendPruner(horizon, warmup)


@pytest.mark.parametrize(("name", "kind"), [("trend", TrendPruner), ("median", MedianPruner), ("none", NopPruner)])
def test_a_pruner_is_made_by_its_name(name: str, kind: type) -> None:
    assert isinstance(PRUNERS[name](1), kind)


@pytest.mark.parametrize("damping", [0.5, 0.6, 0.7, 0.8])
@pytest.mark.parametrize("seen", [3, 5, 8])
def test_a_falling_curve_ends_within_its_projections_error(damping: float, seen: int) -> None:
    losses = [2.0 + damping**k for k in range(10)]
    projected = project(losses[:seen], 10)
    assert abs(projected.loss - losses[-1]) <= 2 * projected.error


def test_a_better_curve_is_never_projected_worse() -> None:
    curves = [[3.0, 2.8, last] for last in (2.7, 2.6, 2.5, 2.4)]
    projected = [project(losses, 10).loss for losses in curves]
    assert projected == sorted(projected, reverse=True)


def test_a_falling_curve_is_projected_lower_the_more_reports_are_left() -> None:
    projected = [project(GOOD[:4], horizon) for horizon in range(4, 12)]
    assert all(a.loss > b.loss and a.error <= b.error for a, b in itertools.pairwise(projected))


def test_a_rise_does_not_undo_the_best_loss() -> None:
    assert project([2.0, 2.5, 3.0], 10).loss == 2.0


def test_one_value_promises_nothing() -> None:
    projected = project([2.5], 10)
    assert (projected.loss, projected.error) == (2.5, math.inf)


@pytest.mark.parametrize("horizon", [3, 2])
def test_a_curve_at_its_end_is_what_it_reached(horizon: int) -> None:
    assert project([3.0, 2.0, 2.5], horizon).loss == 2.0


def test_a_noisy_curve_is_projected_less_surely() -> None:
    smooth, noisy = [3.0, 2.9, 2.8, 2.7, 2.6, 2.5], [3.0, 3.1, 2.6, 2.9, 2.6, 2.5]
    assert project(noisy, 6).error > project(smooth, 6).error
