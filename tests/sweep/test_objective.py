"""One trial from its parameters to its value, however it ends: in Optuna, our tables, the folder and the dashboard."""

import json
import math
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState

from sweep.claims import claim
from sweep.contenders import HORIZON, PROGRESS, START, WARMUP
from sweep.errors import EnvironmentFault, SweepError, TrialFailed, TrialInterrupted, WorkerDied
from sweep.objective import FAILURE, make_objective
from sweep.recovery import OWNER, put_back_interrupted, put_back_own, this_process
from sweep.study import INFEASIBLE, finished_trials
from sweep.trial_files import CONFIG, CURVE, LOG, delete_losing_adapters
from tests.sweep.fakes import SPACE, Event, FakeSweep, curve, make_space, moved, report
from trials.failure import FailureClass
from trials.folders import ADAPTER, CHECKPOINT

FALLING = curve(3.0, 2.7, 2.5, 2.4, 2.375)
DIED = WorkerDied("worker 7 died (signal 9)", "its last words")


def test_a_complete_trials_value_is_its_best_loss_and_not_its_last(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, curve(3.0, 2.7, 2.5, 2.75, 2.625))
    sweep.play()
    assert (sweep.trial().state, sweep.trial().value) == (TrialState.COMPLETE, 2.5)
    assert (sweep.row()["state"], sweep.row()["value"], sweep.row()["reason"]) == ("complete", 2.5, "")


def test_a_run_gets_the_settings_that_the_sampler_drew(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, FALLING)
    sweep.play()
    ((config, folder),), params = sweep.launcher.started, sweep.trial().params
    assert (config.lora_rank, config.learning_rate) == (params["lora_rank"], params["learning_rate"])
    assert config.lora_alpha == params["lora_rank"] * params["alpha_ratio"]
    assert folder == sweep.folder() == sweep.output / "demo" / "trials" / "00000"


def test_every_report_is_in_our_table_and_in_optuna(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, FALLING)
    sweep.play()
    assert sweep.results.curve(0).reports == FALLING
    assert sweep.trial().intermediate_values == {one.evaluation: one.eval_loss for one in FALLING}


def test_a_trial_says_its_horizon_and_its_warm_up_to_the_pruner(tmp_path: Path) -> None:
    warm = make_space(SPACE.replace("warmup_ratio: 0.0", "warmup_ratio: 0.5"))
    sweep = FakeSweep(tmp_path, FALLING, space=warm)
    sweep.play()
    attributes = sweep.trial().user_attrs
    assert (attributes[HORIZON], attributes[WARMUP]) == (5, 2)  # after steps 2, 4, 6, 8, 10; warm-up ends at 5


def test_a_trial_says_its_progress_and_where_it_began_to_the_pruner(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, FALLING, start_loss=3.25)
    sweep.play()
    attributes = sweep.trial().user_attrs
    # Cosine without warm-up.
    rates = [1 + math.cos(math.pi * step / 10) for step in range(10)]
    assert attributes[PROGRESS] == pytest.approx([sum(rates[:step]) / sum(rates) for step in (2, 4, 6, 8, 10)])
    assert attributes[START] == 3.25


def test_where_it_began_is_left_open_when_that_was_not_measured(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, FALLING)
    sweep.play()
    assert START not in sweep.trial().user_attrs


def test_the_folder_holds_log_settings_and_picture(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, [moved(1), moved(2), *FALLING])
    sweep.play()
    folder = sweep.folder()
    assert json.loads((folder / CONFIG).read_text())["config"]["lora_rank"] == sweep.trial().params["lora_rank"]
    assert len((folder / LOG).read_text().splitlines()) == 2 + len(FALLING)
    assert (folder / CURVE).read_bytes().startswith(b"\x89PNG")


def test_the_dashboard_gets_files_and_a_note(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, FALLING)
    sweep.play()
    artifacts = get_all_artifact_meta(sweep.trial(), storage=sweep.study._storage)
    assert {artifact.filename for artifact in artifacts} == {CURVE, LOG, CONFIG}
    assert all((sweep.output / "artifacts" / artifact.artifact_id).stat().st_size > 0 for artifact in artifacts)
    assert "Best evaluation loss 2.3750 nats per token, at evaluation 5 of 5" in sweep.note()


def test_a_dead_workers_trial_goes_on_and_its_reports_are_taken_once(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, [*FALLING[:3], DIED], FALLING)
    sweep.play()
    assert (len(sweep.study.trials), sweep.trial().state, sweep.trial().value) == (1, TrialState.COMPLETE, 2.375)
    assert sweep.results.curve(0).reports == FALLING
    assert sweep.said.getvalue().count("step 2 of 10") == 1
    assert sweep.launcher.started[0] == sweep.launcher.started[1]
    assert sweep.launcher.runs[0].closed
    assert "trial 0: worker 7 died (signal 9); going on with a new worker" in sweep.said.getvalue()


def test_the_third_death_fails_the_trial_with_its_last_words(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, [FALLING[0], DIED], [DIED], [DIED])
    sweep.run(1)
    assert (sweep.trial().state, sweep.row()["state"]) == (TrialState.FAIL, "failed")
    assert sweep.row()["reason"] == "worker 7 died (signal 9)"
    assert sweep.trial().user_attrs["error"] == "worker 7 died (signal 9)\nits last words"
    assert len(sweep.launcher.started) == 3


def test_a_trial_without_memory_at_its_smallest_fails_at_once(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, [TrialFailed("out of memory: 2 GiB", "Traceback", FailureClass.MEMORY)], FALLING)
    sweep.run(1)
    assert (sweep.trial().state, sweep.row()["state"]) == (TrialState.FAIL, "failed")
    assert (sweep.row()["reason"], sweep.row()["value"]) == ("out of memory: 2 GiB", None)
    assert sweep.trial().user_attrs["error"] == "out of memory: 2 GiB\nTraceback"
    assert sweep.trial().user_attrs[FAILURE] == "out of memory"
    assert "**failed**: out of memory" in sweep.note()


def test_a_failed_trial_does_not_keep_the_next_from_its_turn(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, *[[TrialFailed("broken")]] * 3, FALLING)
    sweep.play()
    assert [trial.state for trial in sweep.study.trials] == [TrialState.FAIL, TrialState.COMPLETE]


def test_where_no_worker_can_start_the_sweep_ends_and_its_trial_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = FakeSweep(tmp_path, FALLING)

    def start(*_: object) -> None:
        raise SweepError("the model is gone")

    monkeypatch.setattr(sweep.launcher, "start", start)
    with pytest.raises(EnvironmentFault, match=r"(?s)the model is gone.*the same line goes on"):
        sweep.run(1)
    assert (sweep.trial().state, sweep.row()["state"]) == (TrialState.RUNNING, "running")
    assert sweep.session.stopping.is_set()


def claimed(study: optuna.Study) -> optuna.Trial:
    trial = claim(study, 100)
    assert trial is not None
    return trial


class TestInterruption:
    """A stop saves the trial; it goes on under its number."""

    def stopped(self, tmp_path: Path, *rest: list[Event]) -> FakeSweep:
        """A sweep that is stopped in its first trial's second evaluation."""
        sweep = FakeSweep(tmp_path, *rest)
        sweep.launcher.plays.insert(0, [FALLING[0], sweep.session.stop, *FALLING[1:]])
        with pytest.raises(TrialInterrupted):
            sweep.run(1)
        return sweep

    def go_on(self, sweep: FakeSweep) -> None:
        sweep.session.stopping.clear()
        sweep.launcher.saving = False
        sweep.play()

    def test_an_interrupted_trial_is_not_told(self, tmp_path: Path) -> None:
        sweep = self.stopped(tmp_path)
        assert (sweep.trial().state, sweep.row()["state"]) == (TrialState.RUNNING, "interrupted")
        assert sweep.results.curve(0).reports == FALLING[:2]

    def test_its_checkpoint_and_adapter_stay(self, tmp_path: Path) -> None:
        sweep = self.stopped(tmp_path)
        assert (sweep.folder() / CHECKPOINT).is_dir()
        assert (sweep.folder() / ADAPTER).is_dir()

    def test_it_goes_on_under_its_number_with_its_settings(self, tmp_path: Path) -> None:
        sweep = self.stopped(tmp_path, list(FALLING))
        assert put_back_own(sweep.study) == [0]
        self.go_on(sweep)
        assert [(trial.number, trial.state) for trial in sweep.study.trials] == [(0, TrialState.COMPLETE)]
        assert sweep.launcher.started[0] == sweep.launcher.started[1]
        assert sweep.results.curve(0).reports == FALLING

    def test_the_next_session_finds_it_when_this_one_was_killed(self, tmp_path: Path) -> None:
        sweep = self.stopped(tmp_path, list(FALLING))
        before = this_process() | {"started": 0.0}
        sweep.storage.set_trial_user_attr(sweep.trial()._trial_id, OWNER, before)
        assert put_back_interrupted(sweep.study) == [0]
        self.go_on(sweep)
        assert (len(sweep.study.trials), sweep.trial().state) == (1, TrialState.COMPLETE)
        assert sweep.trial().user_attrs[OWNER].items() >= this_process().items()

    def test_a_trial_that_was_asked_for_as_the_sweep_stopped_does_not_begin(self, tmp_path: Path) -> None:
        sweep = FakeSweep(tmp_path, FALLING)
        sweep.session.stop()
        with pytest.raises(TrialInterrupted):
            make_objective(sweep.session)(claimed(sweep.study))
        assert sweep.launcher.started == []
        assert put_back_own(sweep.study) == [], "there is nothing to go on from"
        assert [trial.state for trial in sweep.study.trials] == [TrialState.WAITING]

    def test_a_worker_that_dies_in_the_stop_is_not_replaced(self, tmp_path: Path) -> None:
        sweep = FakeSweep(tmp_path)
        sweep.launcher.plays = [[FALLING[0], sweep.session.stopping.set, DIED], FALLING]
        with pytest.raises(TrialInterrupted):
            sweep.run(1)
        assert (sweep.row()["state"], len(sweep.launcher.started)) == ("interrupted", 1)


CONSTRAINED = make_space(SPACE + "constraints:\n  small: lora_rank <= 4\n")


class TestConstraints:
    """A trial that breaks one is not trained and does not count."""

    def test_it_is_pruned_as_infeasible_and_not_trained(self, tmp_path: Path) -> None:
        sweep = FakeSweep(tmp_path, space=CONSTRAINED)
        sweep.run(1)
        assert sweep.trial().state == TrialState.PRUNED
        assert sweep.trial().user_attrs[INFEASIBLE] == "not trained: breaks the constraint small"
        assert (sweep.launcher.started, sweep.results.trials()) == ([], [])

    def test_it_does_not_count(self, tmp_path: Path) -> None:
        sweep = FakeSweep(tmp_path, space=CONSTRAINED)
        sweep.run(3)
        assert finished_trials(sweep.study) == []

    def test_the_sampler_is_told_how_far_it_is_broken(self, tmp_path: Path) -> None:
        sweep = FakeSweep(tmp_path, space=CONSTRAINED)
        sweep.run(1)
        assert sweep.trial().constraints == {"small": sweep.trial().params["lora_rank"] - 4}

    @pytest.mark.filterwarnings("error:The constraint value is ignored")
    def test_one_that_is_met_is_told_once_over_an_interruption(self, tmp_path: Path) -> None:
        met = make_space(SPACE + "constraints:\n  small: lora_rank <= 32\n")
        sweep = FakeSweep(tmp_path, [FALLING[0], TrialInterrupted()], FALLING, space=met)
        with pytest.raises(TrialInterrupted):
            sweep.run(1)
        put_back_own(sweep.study)
        sweep.play()
        assert sweep.trial().state == TrialState.COMPLETE
        assert sweep.trial().constraints["small"] <= 0


class TestWhatIsKept:
    """Adapters of the best, checkpoints of those that go on."""

    def kept(self, sweep: FakeSweep, name: str) -> list[int]:
        numbers = range(len(sweep.results.trials()))
        return [number for number in numbers if (sweep.folder(number) / name).exists()]

    def test_only_the_best_trials_keep_their_adapters(self, tmp_path: Path) -> None:
        sweep = FakeSweep(tmp_path, *([report(1, loss)] for loss in (2.5, 2.8, 2.4, 2.6)), keep_adapters=2)
        sweep.play()
        assert self.kept(sweep, ADAPTER) == [0, 2]

    def test_of_equal_trials_the_earlier_keeps_its_adapter(self, tmp_path: Path) -> None:
        sweep = FakeSweep(tmp_path, [report(1, 2.5)], [report(1, 2.5)], keep_adapters=1)
        sweep.play()
        assert self.kept(sweep, ADAPTER) == [0]

    def test_pruned_and_failed_trials_keep_none(self, tmp_path: Path) -> None:
        broken: list[Event] = [report(1, 2.5), TrialFailed("broken")]
        sweep = FakeSweep(tmp_path, curve(2.5, 9.0), *[broken] * 3)
        sweep.play()
        assert self.kept(sweep, ADAPTER) == []

    def test_checkpoints_go_once_the_trial_is_told(self, tmp_path: Path) -> None:
        broken: list[Event] = [report(1, 2.5), TrialFailed("broken")]
        sweep = FakeSweep(tmp_path, FALLING, curve(2.5, 9.0), *[broken] * 3)
        sweep.play()
        assert self.kept(sweep, CHECKPOINT) == []


class TestLostMachine:
    """Optuna clones a trial whose heartbeat is stale; the clone goes on in the first one's folder."""

    def lost(self, tmp_path: Path) -> FakeSweep:
        """A sweep whose first trial was lost after two evaluations."""
        sweep = FakeSweep(tmp_path, [*FALLING[:2], TrialInterrupted()])
        with pytest.raises(TrialInterrupted):
            sweep.run(1)
        sweep.study.tell(0, state=TrialState.FAIL)  # as another machine does
        optuna.storages.RetryHeartbeatStaleTrialCallback()(sweep.study, sweep.trial())
        return sweep

    def test_the_clone_goes_on_in_the_lost_ones_folder(self, tmp_path: Path) -> None:
        sweep = self.lost(tmp_path)
        sweep.launcher.plays.append(FALLING)
        sweep.play()
        assert sweep.launcher.started[0] == sweep.launcher.started[1]
        assert sweep.results.curve(1).reports == FALLING
        assert (sweep.folder(1) / ADAPTER).exists()
        assert not (sweep.folder(1) / CHECKPOINT).exists()

    def test_the_lost_one_is_told_as_failed(self, tmp_path: Path) -> None:
        sweep = self.lost(tmp_path)
        sweep.launcher.plays.append(FALLING)
        sweep.play()
        assert [row["state"] for row in sweep.results.trials()] == ["failed", "complete"]
        assert sweep.row(0)["reason"] == "its machine was lost; trial 1 goes on"

    def test_the_clones_adapter_stays_while_other_trials_end(self, tmp_path: Path) -> None:
        sweep = self.lost(tmp_path)
        there = list[bool]()

        def another_ends() -> None:
            delete_losing_adapters(sweep.results.trials(), sweep.output, keep=3)
            there.append((sweep.folder(1) / ADAPTER).exists())

        sweep.launcher.plays.append([*FALLING[:3], another_ends])
        sweep.play()
        assert there == [True]


def test_the_view_counts_trials_and_knows_the_best(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, [report(1, 2.5)], [report(1, 2.25)])
    sweep.play()
    assert "trial 1  complete  1 of 5  best 2.250  best so far   [2 of 10, best 2.250" in sweep.said.getvalue()
