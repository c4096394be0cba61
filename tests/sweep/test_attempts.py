"""What is done about a trial that broke, by the class of its failure; in Optuna, our tables and in words."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from sweep.attempts import MOST_RETRIES
from sweep.errors import EnvironmentFault, SweepError, TrialFailed, WorkerDied
from sweep.failure_words import survived, with_failures
from sweep.memory import Memory
from sweep.objective import FAILURE
from sweep.results import Breakdown
from tests.sweep.fakes import Event, FakeSweep, curve, trial_row
from trials.failure import FailureClass
from trials.protocol import Limits

FALLING = curve(3.0, 2.7, 2.5, 2.4, 2.375)
UNKNOWN = TrialFailed("ZeroDivisionError: by nobody", "the traceback's end")
PREEMPTED = WorkerDied("worker 7 died (signal 9)", "its last words", failure=FailureClass.PREEMPTED)
SETUP = TrialFailed("pissa_init needs a rank of at most 32", failure=FailureClass.SETUP)
FULL = TrialFailed("OSError: [Errno 28] No space left on device", "traceback", FailureClass.ENVIRONMENT)


def outcomes(sweep: FakeSweep) -> list[tuple[str, str]]:
    return [(broke.failure, broke.outcome) for broke in sweep.results.breakdowns()]


def test_what_nobody_foresaw_is_tried_twice_more_and_fails_then_with_its_log(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, *[[UNKNOWN]] * 3, FALLING)
    sweep.run(2)
    assert [trial.state for trial in sweep.study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert len(sweep.launcher.started) == 1 + MOST_RETRIES + 1
    assert outcomes(sweep) == [("unknown", "continued")] * 2 + [("unknown", "failed")]
    assert {broke.log for broke in sweep.results.breakdowns()} == {"the traceback's end"}
    attributes = sweep.trial().user_attrs
    assert (attributes[FAILURE], attributes["reason"]) == ("unknown", str(UNKNOWN))
    assert attributes["error"].endswith("the traceback's end")
    assert FAILURE not in sweep.trial(1).user_attrs


def test_what_happens_once_costs_nothing(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, [*FALLING[:2], UNKNOWN], FALLING)
    sweep.run(1)
    assert (sweep.trial().state, sweep.trial().value) == (TrialState.COMPLETE, 2.375)
    assert sweep.results.curve(0).reports == FALLING
    assert outcomes(sweep) == [("unknown", "continued")]


def test_a_trial_that_gets_further_each_time_is_preempted_as_often_as_it_likes(tmp_path: Path) -> None:
    plays: list[list[Event]] = [[*FALLING[:made], PREEMPTED] for made in range(5) for _ in range(MOST_RETRIES)]
    sweep = FakeSweep(tmp_path, *plays, FALLING)
    sweep.run(1)
    assert (sweep.trial().state, sweep.results.curve(0).reports) == (TrialState.COMPLETE, FALLING)
    assert outcomes(sweep) == [("preempted", "continued")] * 10


def test_one_that_gets_no_further_fails_and_is_not_pruned(tmp_path: Path) -> None:
    play: list[Event] = [FALLING[0], PREEMPTED]
    sweep = FakeSweep(tmp_path, *[play] * 3)
    sweep.run(1)
    assert (sweep.trial().state, sweep.row()["state"]) == (TrialState.FAIL, "failed")
    assert outcomes(sweep)[-1] == ("preempted", "failed")


def test_what_all_trials_share_stops_the_sweep_with_one_line(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, [SETUP], FALLING)
    with pytest.raises(SweepError) as raised:
        sweep.run(5)
    assert str(raised.value) == "trial 0 cannot be trained: pissa_init needs a rank of at most 32"
    assert [trial.state for trial in sweep.study.trials] == [TrialState.FAIL]
    assert outcomes(sweep) == [("data or configuration", "failed")]
    assert sweep.session.stopping.is_set()


def test_a_full_disk_in_a_worker_stops_the_sweep_and_fails_no_trial(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, [*FALLING[:2], FULL], FALLING)
    with pytest.raises(EnvironmentFault, match=r"(?s)^trial 0: OSError: .*No space left.*the same line goes on"):
        sweep.run(5)
    assert [trial.state for trial in sweep.study.trials] == [TrialState.RUNNING]
    assert sweep.results.curve(0).reports == FALLING[:2]


def test_a_full_disk_in_the_coordinator_fails_no_trial(tmp_path: Path) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    sweep = FakeSweep(tmp_path, [FALLING[0], full, *FALLING[1:]])
    with pytest.raises(OSError, match="No space left"):
        sweep.run(5)
    assert [trial.state for trial in sweep.study.trials] == [TrialState.RUNNING]


def test_one_that_diverged_is_pruned_with_its_class_and_did_not_fail(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, curve(3.0, float("nan")))
    sweep.run(1)
    assert (sweep.trial().state, sweep.trial().user_attrs[FAILURE]) == (TrialState.PRUNED, "diverged")
    assert outcomes(sweep) == [("diverged", "pruned")]


def test_what_a_worker_learnt_of_its_room_is_kept_with_the_study(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, FALLING)
    sweep.launcher.limits = Limits(tokens=128, runs=2)
    sweep.run(1)
    assert Memory.of(sweep.study, sweep.session.plan.ready.device.kind).limits == Limits(tokens=128, runs=2)
    assert Memory.of(sweep.study, "another device") == Memory()


def test_what_two_machines_of_a_kind_learn_is_joined(tmp_path: Path) -> None:
    study = FakeSweep(tmp_path).study
    one, other = Memory(ratio=1.5, limits=Limits(tokens=256)), Memory(short=7, limits=Limits(tokens=512, runs=1))
    one.keep(study, "H100")
    other.keep(study, "H100")
    assert Memory.of(study, "H100") == other == Memory(1.5, 7, Limits(256, 1))


class TestWords:
    """What `sweep show` says."""

    def test_a_failed_trials_reason_begins_with_its_class(self) -> None:
        rows = [
            trial_row(0, None, state="failed", reason="ZeroDivisionError"),
            trial_row(1, None, state="failed", reason="out of memory with a single row"),
            trial_row(2, 2.5),
        ]
        broke = [
            Breakdown(0, "unknown", "continued", "ZeroDivisionError", ""),
            Breakdown(0, "unknown", "failed", "ZeroDivisionError", ""),
            Breakdown(1, "out of memory", "failed", "", ""),
            Breakdown(2, "preempted", "continued", "", ""),
        ]
        reasons = [row["reason"] for row in with_failures(rows, broke)]
        assert reasons == ["unknown: ZeroDivisionError", "out of memory with a single row", ""]
        assert survived(broke) == "broke and went on: unknown 1 (trial 0), preempted 1 (trial 2)"

    def test_a_study_without_failures_says_nothing(self) -> None:
        assert survived([]) == survived([Breakdown(1, "diverged", "pruned", "", "")]) == ""
