"""Which running trials are nobody's any more, and how they go on."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from sweep.contenders import PARKED
from sweep.recovery import (
    OWNER,
    first_number,
    lost_numbers,
    put_back,
    put_back_interrupted,
    put_back_own,
    started_after_boot,
    this_process,
)

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")


def begin(study: optuna.Study, owner: dict[str, Any] | None) -> optuna.Trial:
    """A trial that has drawn, reported twice, and is run by that process."""
    trial = study.ask()
    if owner is not None:
        trial.set_user_attr(OWNER, owner)
    trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)
    trial.report(2.5, 1)
    trial.report(2.4, 2)
    return trial


def dead_process() -> dict[str, Any]:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        started = started_after_boot(psutil.Process(process.pid))
    return this_process() | {"pid": process.pid, "started": started}


def states(study: optuna.Study) -> list[TrialState]:
    return [trial.state for trial in study.trials]


def test_a_trial_whose_process_is_gone_waits_to_be_continued(study: optuna.Study) -> None:
    begin(study, dead_process())
    assert put_back_interrupted(study) == [0]
    assert states(study) == [TrialState.WAITING]


def test_it_is_handed_out_again_under_its_number_with_all_it_had(study: optuna.Study) -> None:
    before = begin(study, dead_process())
    put_back_interrupted(study)
    again = study.ask()
    assert (again.number, again.suggest_float("learning_rate", 1e-5, 1e-2, log=True)) == (
        0,
        before.params["learning_rate"],
    )
    assert study.trials[0].intermediate_values == {1: 2.5, 2: 2.4}
    assert study.ask().number == 1


def test_a_trial_of_a_living_process_is_left(study: optuna.Study) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = started_after_boot(psutil.Process(process.pid))
        begin(study, this_process() | {"pid": process.pid, "started": started})
        assert put_back_interrupted(study) == []
        process.communicate(b"\n")
    assert states(study) == [TrialState.RUNNING]


def test_a_process_that_nobody_has_collected_is_dead(study: optuna.Study) -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        begin(study, this_process() | {"pid": process.pid, "started": started_after_boot(psutil.Process(process.pid))})
        process.stdout.read()  # ends with the process
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        assert put_back_interrupted(study) == [0]


def test_a_trial_of_another_machine_is_left_to_its_heartbeat(study: optuna.Study) -> None:
    begin(study, dead_process() | {"host": "another"})
    assert put_back_interrupted(study) == []
    assert states(study) == [TrialState.RUNNING]


def test_a_process_that_got_a_dead_ones_id_is_not_its_owner(study: optuna.Study) -> None:
    begin(study, this_process() | {"started": this_process()["started"] - 3600})
    assert put_back_interrupted(study) == [0]


def set_clock(folder: Path, seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What processes read of the system after its clock was set: the time of the boot moves with it."""
    for name in ("self", str(os.getpid()), "cpuinfo", "meminfo", "uptime"):
        (folder / name).symlink_to(Path("/proc") / name)
    lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    moved = [f"btime {int(line.split()[1]) + seconds}" if line.startswith("btime") else line for line in lines]
    (folder / "stat").write_text("\n".join(moved) + "\n", encoding="ascii")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(folder))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("seconds", [-3600, -2, 3600])
def test_a_clock_that_is_set_makes_no_orphan(
    study: optuna.Study, seconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, before = this_process(), psutil.boot_time()
    begin(study, owner)
    set_clock(tmp_path, seconds, monkeypatch)
    assert psutil.boot_time() == before + seconds
    assert this_process() == owner
    assert put_back_interrupted(study) == []
    assert states(study) == [TrialState.RUNNING]


def test_a_trial_that_says_no_owner_is_left(study: optuna.Study) -> None:
    begin(study, None)
    assert put_back_interrupted(study) == []


def test_trials_that_wait_for_their_first_run_are_not_interrupted(study: optuna.Study) -> None:
    study.enqueue_trial({"learning_rate": 1e-4})
    assert put_back_interrupted(study) == []


def test_finished_trials_stay_finished(study: optuna.Study) -> None:
    study.tell(begin(study, dead_process()), 2.4)
    assert put_back_interrupted(study) == []
    assert states(study) == [TrialState.COMPLETE]


def test_all_that_wait_to_be_continued_are_named(study: optuna.Study) -> None:
    begin(study, dead_process())
    put_back_interrupted(study)
    assert put_back_interrupted(study) == [0]


def test_a_parked_trial_is_not_interrupted(study: optuna.Study) -> None:
    parked = begin(study, this_process())
    parked.set_user_attr(PARKED, True)
    put_back(study, parked)
    begin(study, dead_process())
    assert put_back_interrupted(study) == [1]
    assert put_back_own(study) == []


def test_a_process_puts_its_own_trials_back_and_no_others(study: optuna.Study) -> None:
    begin(study, this_process())
    begin(study, this_process() | {"host": "another"})
    begin(study, this_process() | {"claim": "another of its claims"})
    assert put_back_own(study) == [0, 2]
    assert states(study) == [TrialState.WAITING, TrialState.RUNNING, TrialState.WAITING]


def test_a_trial_is_its_own_first(study: optuna.Study) -> None:
    trial = begin(study, this_process())
    assert (first_number(trial), lost_numbers(trial)) == (0, [])


def test_the_clone_of_a_trial_whose_machine_died_knows_where_it_began(study: optuna.Study) -> None:
    clone = optuna.storages.RetryHeartbeatStaleTrialCallback()
    for _ in range(2):
        trial = study.ask()
        study.tell(trial, state=TrialState.FAIL)
        clone(study, study.trials[trial.number])
    third = study.ask()
    assert (first_number(third), lost_numbers(third)) == (0, [0, 1])


def test_this_process_is_named_by_plain_data() -> None:
    assert {name: type(value) for name, value in this_process().items()} == {"host": str, "pid": int, "started": float}


def test_a_trial_without_an_evaluation_is_put_back_but_not_called_saved(study: optuna.Study) -> None:
    trial = study.ask()
    trial.set_user_attr(OWNER, this_process())
    assert put_back_own(study) == []
    assert states(study) == [TrialState.WAITING]
    assert put_back_interrupted(study) == []
