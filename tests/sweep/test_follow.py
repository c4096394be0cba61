"""When a trial has shown enough, and what is recorded on the way."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from sweep.errors import TrialInterrupted, WorkerDied
from sweep.follow import Follower
from sweep.progress import TrialView
from sweep.trial_files import LOG
from tests.sweep.fakes import Event, FakeLauncher, FakeSweep, curve, moved, report
from trials.protocol import Finished

FALLING = curve(3.0, 2.7, 2.5, 2.4, 2.375)


def test_a_diverged_trial_is_pruned_at_once_with_the_reason(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, curve(2.5, 3.75, 2.4))
    sweep.play()
    reason = "diverged: evaluation loss 3.750 at step 4 is more than 1 above the first, 2.500"
    assert sweep.trial().state == TrialState.PRUNED
    assert (sweep.row()["state"], sweep.row()["reason"], sweep.trial().user_attrs["reason"]) == (
        "pruned",
        reason,
        reason,
    )
    assert len(sweep.results.curve(0).reports) == 2
    assert sweep.launcher.runs[0].closed


def test_a_loss_that_is_not_a_number_prunes_and_is_kept(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, curve(2.5, float("nan")))
    sweep.play()
    assert (sweep.trial().state, sweep.row()["value"]) == (TrialState.PRUNED, 2.5)
    assert sweep.row()["reason"] == "diverged: evaluation loss is nan at step 4"


OVER_FITTING = curve(2.25, 2.3, 2.4, 2.5, 2.6, train_losses=(2.0, 1.5, 1.0, 0.5, 0.25))


def test_over_fitting_ends_a_trial_that_leads_as_complete(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, curve(3.0, 2.7, 2.5), OVER_FITTING)
    sweep.play()
    assert (sweep.trial(1).state, sweep.trial(1).value) == (TrialState.COMPLETE, 2.25)
    assert sweep.row(1)["reason"].startswith("over-fitting: evaluation loss rises 2.250 → 2.500 over 3 evaluations")
    assert len(sweep.results.curve(1).reports) == 4


def test_over_fitting_prunes_a_trial_that_does_not_lead(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, curve(3.0, 2.5, 2.249), OVER_FITTING)  # a tie, so that its trend prunes nothing
    sweep.play()
    assert sweep.trial(1).state == TrialState.PRUNED
    assert sweep.row(1)["reason"].startswith("over-fitting")


def test_a_trial_that_will_not_win_is_pruned_with_the_reason(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, FALLING, curve(4.0, 3.75, 3.5, 3.45, 3.4))
    sweep.play()
    assert sweep.trial(1).state == TrialState.PRUNED
    assert sweep.row(1)["reason"].startswith("at 3 of 5: projected ")
    assert sweep.row(1)["reason"].endswith("and trial 0 reached 2.375")
    assert sweep.row(1)["trainable_parameters"] == 1234


def test_a_stock_pruner_prunes_under_its_name(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, FALLING, curve(4.0, 3.75))
    sweep.study.pruner = optuna.pruners.MedianPruner(n_startup_trials=1)
    sweep.play()
    assert sweep.row(1)["reason"] == "at 1 of 5: pruned by MedianPruner"


def test_a_trial_that_stops_early_is_complete_with_the_reason(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, [*curve(3.0, 2.5, 2.6, 2.55), Finished(1234, early=True)])
    sweep.play()
    assert (sweep.trial().state, sweep.trial().value) == (TrialState.COMPLETE, 2.5)
    assert sweep.row()["reason"] == "stopped early: no improvement since evaluation 2"
    assert sweep.row()["trainable_parameters"] == 1234


def test_the_log_of_a_trial_that_changed_its_worker_has_each_step_once(tmp_path: Path) -> None:
    whole: list[Event] = [moved(1), moved(2), report(1, 3.0), moved(3), moved(4), report(2, 2.5)]
    resumed: list[Event] = [report(1, 3.0), *whole[3:]]
    sweep = FakeSweep(tmp_path, [*whole[:4], WorkerDied("died")], resumed)
    sweep.play()
    lines = [json.loads(line) for line in (sweep.folder() / LOG).read_text().splitlines()]
    assert [line["current_steps"] for line in lines] == [1, 2, 2, 3, 4, 4]
    assert lines[3]["elapsed_time"] >= "0:00:10"  # what the first report says goes before


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
class TestFollower:
    """Without the objective around it."""

    def follower(self, tmp_path: Path) -> tuple[FakeSweep, Follower]:
        sweep = FakeSweep(tmp_path)
        trial = sweep.study.ask()
        view = TrialView(trial.number, 8, 16, "qv", 1e-3, total_evaluations=5)
        session = sweep.session
        return sweep, Follower(trial, tmp_path / "trial", view, session.results, session.progress)

    def test_a_run_that_was_closed_without_an_end_is_interrupted(self, tmp_path: Path) -> None:
        _, follower = self.follower(tmp_path)
        launcher = FakeLauncher([FALLING])
        run = launcher.start(None, tmp_path, follower.on_step)  # type: ignore[arg-type]
        run.closed = True
        with pytest.raises(TrialInterrupted):
            follower.follow(run)

    def test_a_run_without_a_finite_loss_is_pruned(self, tmp_path: Path) -> None:
        _, follower = self.follower(tmp_path)
        run = FakeLauncher([[]]).start(None, tmp_path, follower.on_step)  # type: ignore[arg-type]
        ending = follower.follow(run)
        assert (ending.state, ending.reason) == ("pruned", "diverged: no evaluation loss was finite")

    def test_steps_and_evaluations_are_shown(self, tmp_path: Path) -> None:
        sweep, follower = self.follower(tmp_path)
        events: list[Event] = [moved(1), moved(2, train_loss=2.75), report(1, 2.5)]
        follower.follow(FakeLauncher([events]).start(None, tmp_path, follower.on_step))  # type: ignore[arg-type]
        assert "trial 0  1 of 5    step 2 of 10  train 2.50  eval 2.500  200 tok/s" in sweep.said.getvalue()
