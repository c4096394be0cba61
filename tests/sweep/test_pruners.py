"""Which trials of an Optuna study are pruned, parked and taken up again by the trend of their curves."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import optuna
import pytest
from optuna.pruners import MedianPruner, NopPruner
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep.contenders import HORIZON, PARKED, PROGRESS, START, WARMUP
from sweep.projection import TIE
from sweep.pruners import PRUNERS, START_LOSS, TrendPromotion, TrendPruner

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


def reporting(study: optuna.Study, losses: Sequence[float], **attributes: Any) -> FrozenTrial:
    """A trial that runs and has reported this much."""
    trial = study.ask()
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
    for step, loss in enumerate(losses, start=1):
        trial.report(loss, step)
    return study.trials[trial.number]


def reason(study: optuna.Study, losses: Sequence[float], **attributes: Any) -> str | None:
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
    assert reason(make_study(done(GOOD)), BAD[:5]) == "projected 2.780 ± 0.284, and trial 0 reached 2.180"


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
    assert reason(make_study(done(flat)), [2.0 + 3 * TIE] * 5) is not None


def test_nobody_is_pruned_without_a_rival() -> None:
    assert pruned_at(make_study(), BAD) is None


def test_nobody_is_pruned_before_three_reports() -> None:
    study = make_study(done(GOOD))
    assert reason(study, (50.0,)) is None
    assert reason(study, (50.0, 49.9)) is None
    assert reason(study, (50.0, 49.9, 49.8)) is not None


def test_with_the_loss_before_training_one_report_may_be_enough() -> None:
    assert reason(make_study(done(GOOD)), (50.0,), **{START: 50.01}) is not None
    assert reason(make_study(done(GOOD)), (50.0,), **{START: 80.0}) is None, "it falls fast enough"


def test_nobody_is_pruned_in_warm_up() -> None:
    study = make_study(done(GOOD), warmup=4)
    assert [reason(study, BAD[:n]) is None for n in (3, 4, 5, 6)] == [True, True, False, False]


def test_a_trial_may_have_a_progress_of_its_own() -> None:
    """The same reports are nearly the end of one trial, and the beginning of another."""
    study = make_study(done(GOOD))
    early, late = ([0.01 * report for report in range(1, 6)], [0.9 + 0.01 * report for report in range(1, 6)])
    assert reason(study, BAD[:5], **{START: 5.0, PROGRESS: [*early, 1.0]}) is None
    assert reason(study, BAD[:5], **{START: 5.0, PROGRESS: [*late, 1.0]}) is not None


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
    assert reason(study, BAD[:5]) == "projected 2.780 ± 0.284, and trial 0 reached 1.800"


def test_a_running_trial_with_one_report_promises_nothing() -> None:
    study = make_study()
    reporting(study, (0.5,))
    assert reason(study, BAD[:5]) == "projected 2.780 ± 0.284, and trial 0 reached 0.500"


def test_the_leader_of_running_trials_is_not_pruned() -> None:
    study = make_study()
    reporting(study, BAD[:5])
    reporting(study, BAD[:4])
    assert reason(study, GOOD[:5]) is None


def test_a_pruned_trial_counts_by_what_it_reached() -> None:
    near = create_trial(value=2.7)
    assert reason(make_study(near), BAD[:5]) is None
    assert reason(make_study(near, done(GOOD[:4], TrialState.PRUNED)), BAD[:5]) is not None


def test_the_last_hope_is_not_pruned_for_one_that_was_pruned() -> None:
    assert reason(make_study(done(GOOD[:4], TrialState.PRUNED)), BAD[:5]) is None


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
    assert reason(study, down[:5]) == "projected -2.780 ± 0.284, and trial 0 reached -2.180"
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


@pytest.mark.parametrize(
    ("name", "kind"),
    [("promote", TrendPromotion), ("trend", TrendPruner), ("median", MedianPruner), ("none", NopPruner)],
)
def test_a_pruner_is_made_by_its_name(name: str, kind: type) -> None:
    assert type(PRUNERS[name](1)) is kind


def test_those_that_project_make_something_of_the_loss_before_training() -> None:
    assert {name for name in PRUNERS if isinstance(PRUNERS[name](1), TrendPruner)} == set(START_LOSS)


class TestPromotion:
    """Parking, in a study that knows of it."""

    def study(
        self, *others: FrozenTrial, direction: Literal["minimize", "maximize"] = "minimize"
    ) -> tuple[optuna.Study, TrendPromotion]:
        pruner = TrendPromotion(10)
        study = optuna.create_study(direction=direction, pruner=pruner)
        study.add_trials(others)
        return study, pruner

    def parked(self, losses: Sequence[float], start: float = 4.0) -> FrozenTrial:
        reports = dict(enumerate(losses, start=1))
        attributes = {PARKED: True, START: start}
        return create_trial(state=TrialState.WAITING, intermediate_values=reports, user_attrs=attributes)

    def test_what_does_not_lead_is_parked_while_trials_are_to_begin(self) -> None:
        study, pruner = self.study(self.parked(GOOD[:4]))
        trial = reporting_new(study, [loss + 0.02 for loss in GOOD[:4]])
        found = pruner.judge(study, trial, more=True)
        assert (found.action, pruner.judge(study, trial, more=False).action) == ("park", "park")
        assert found.reason == "heads for 1.656, the leader for 1.631"
        better = reporting_new(study, [loss - 0.02 for loss in GOOD[:4]])
        assert pruner.judge(study, better, more=True).action == "go on"

    def test_the_parked_one_that_heads_lowest_is_taken_up(self) -> None:
        study, pruner = self.study(self.parked([loss + 0.01 for loss in GOOD[:4]]), self.parked(GOOD[:4]))
        assert pruner.promoted(study, more=True) == 1
        assert pruner.promoted(study, more=False) == 1
        reporting_new(study, [loss - 0.01 for loss in GOOD[:4]])
        assert pruner.promoted(study, more=True) is None
        assert pruner.promoted(study, more=False) == 1

    @pytest.mark.parametrize("over", [True, False])
    def test_what_is_clearly_behind_is_given_up(self, over: bool) -> None:
        study, pruner = self.study(self.parked(BAD[:5]), done(GOOD))
        (told,) = pruner.given_up(study, over=over).values()
        assert told == "projected 2.760 ± 0.290, and trial 1 reached 2.180"

    def test_what_is_not_is_when_the_study_is_over(self) -> None:
        study, pruner = self.study(self.parked(BAD[:3]), done(GOOD))
        assert pruner.given_up(study, over=False) == {}
        assert pruner.given_up(study, over=True)[0].endswith("not taken up again: the best reached 2.180")

    def test_in_a_study_that_does_not_park_it_prunes_as_the_trend_does(self) -> None:
        study, pruner = self.study(done(GOOD))
        trend = TrendPruner(10)
        for reports in range(1, 11):
            for losses in (BAD, GOOD):
                trial = reporting_new(study, losses[:reports])
                assert pruner.explain(study, trial) == trend.explain(study, trial)
                assert pruner.prune(study, trial) == trend.prune(study, trial)

    def test_a_study_that_maximises_is_read_upside_down(self) -> None:
        def turned(losses: Sequence[float]) -> list[float]:
            return [-loss for loss in losses]

        study, pruner = self.study(
            create_trial(value=-2.18), self.parked(turned(BAD[:5]), start=-4.0), direction="maximize"
        )
        assert pruner.given_up(study, over=True) == {1: "projected -2.760 ± 0.290, and trial 0 reached -2.180"}
        worse = reporting_new(study, turned(BAD[:5]))
        found = pruner.judge(study, worse, more=True)
        assert (found.action, found.reason) == ("prune", "projected -2.760 ± 0.290, and trial 0 reached -2.180")
        better = reporting_new(study, turned([loss - 0.5 for loss in GOOD[:5]]))
        assert pruner.judge(study, better, more=True).action == "go on"
        near = reporting_new(study, turned([loss - 0.45 for loss in GOOD[:5]]))
        found = pruner.judge(study, near, more=True)
        assert (found.action, found.reason) == ("park", "heads for -1.282, the leader for -1.222")


def reporting_new(study: optuna.Study, losses: Sequence[float]) -> FrozenTrial:
    """A new running trial; `ask` hands out a parked one where the storage does not know of parking."""
    reports, start = dict(enumerate(losses, start=1)), math.copysign(4.0, losses[0])
    study.add_trial(create_trial(state=TrialState.RUNNING, intermediate_values=reports, user_attrs={START: start}))
    return study.trials[-1]
