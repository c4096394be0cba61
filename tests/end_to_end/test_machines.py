"""Two coordinators on one database, each with a folder of its own, as on two machines."""

import json
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from sweep.recovery import OWNER
from sweep.results import Results
from sweep.storage import open_storage
from tests.end_to_end.driver import PATIENCE_SECONDS, Driver

pytestmark = pytest.mark.slow
DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
SHORT = ("--max-steps", "3", "--pruner", "none", "--no-advisor")
# 72 rows, seen 30 times: 135 steps.
LONG = ("--max-steps", "135", "--pruner", "none", "--set", "effective_batch_size=16", "--set", "num_train_epochs=30")


@pytest.fixture(params=DATABASES)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return str(tmp_path / "sweep.db")


@pytest.fixture
def second(driver: Driver, tmp_path: Path) -> Driver:
    """Another user's folder; what runs there is ended with the first one's."""
    (tmp_path / "second").mkdir()
    return Driver(driver.tiny, tmp_path / "second", driver.environment, driver.processes)


def start(driver: Driver, storage: str, *more: str, **environment: str) -> subprocess.Popen[str]:
    """Starts a sweep whose database only its environment names."""
    there = Driver(
        driver.tiny, driver.folder, {**driver.environment, "STORAGE": storage, **environment}, driver.processes
    )
    return there.start(*there.sweep_arguments(*more))


def trials(storage: str, study: str = "sft_lora") -> list[optuna.trial.FrozenTrial]:
    opened = open_storage(storage, create=False)
    try:
        return optuna.load_study(study_name=study, storage=opened).get_trials()
    finally:
        opened.engine.dispose()


def finished(found: list[optuna.trial.FrozenTrial]) -> int:
    return sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in found)


def wait_for(storage: str, number: int, reports: int, state: TrialState = TrialState.RUNNING) -> None:
    """Waits until a trial is in one of the states and has so many reports."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            found = trials(storage)
        except Exception:  # noqa: BLE001 - there is no study yet
            found = []
        if len(found) > number and found[number].state == state and len(found[number].intermediate_values) >= reports:
            return
        time.sleep(0.2)
    raise AssertionError(f"trial {number} was never {state.name} with {reports} reports")


def test_two_machines_share_a_study(driver: Driver, second: Driver, storage: str) -> None:
    total = ("--n-trials", "7", "--trials-per-gpu", "2", *SHORT)
    both = [start(each, storage, *total) for each in (driver, second)]
    ends = [driver.finish(process) for process in both]
    assert [status for status, _ in ends] == [0, 0], ends
    found = trials(storage)
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 7
    folders = [
        sorted(path.name for path in (each.folder / "runs/sft_lora/trials").iterdir()) for each in (driver, second)
    ]
    assert sorted(folders[0] + folders[1]) == [f"{number:05d}" for number in range(7)], "each ran on one of them"
    assert all("Best of 7" in output for _, output in ends), "nobody leaves before all have ended"


def test_two_machines_share_a_design(driver: Driver, second: Driver, storage: str) -> None:
    design = ("--design", "factorial", "--over", "lora_rank,alpha_ratio", *SHORT)
    both = [start(each, storage, *design) for each in (driver, second)]
    ends = [driver.finish(process) for process in both]
    assert [status for status, _ in ends] == [0, 0], ends
    found = trials(storage, "sft_lora-factorial")
    cells = Counter(json.dumps(trial.system_attrs["fixed_params"], sort_keys=True) for trial in found)
    assert set(cells.values()) == {1}
    assert len(cells) > 5
    assert {trial.state for trial in found} == {TrialState.COMPLETE}


def _machine(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """A coordinator and its workers."""
    coordinator = psutil.Process(process.pid)
    return [*coordinator.children(recursive=True), coordinator]


def test_a_machine_that_slept_loses_its_trial_and_takes_another(driver: Driver, second: Driver, storage: str) -> None:
    """The trial goes on elsewhere, from its start since the folder is out of reach, and has each evaluation once."""
    beats = {"LORA_SWEEP_HEARTBEAT_SECONDS": "1", "LORA_SWEEP_GRACE_SECONDS": "4"}
    first = start(driver, storage, "--n-trials", "4", *LONG, **beats)
    wait_for(storage, 0, 1)
    asleep = _machine(first)
    for process in asleep:
        process.send_signal(signal.SIGSTOP)
    try:
        other = start(second, storage, "--n-trials", "4", *LONG, **beats)
        wait_for(storage, 0, 1, TrialState.FAIL)
    finally:
        for process in asleep:
            process.send_signal(signal.SIGCONT)
    ends = [driver.finish(process) for process in (first, other)]
    assert [status for status, _ in ends] == [0, 0], ends
    assert "this machine was silent for too long, and another has the trial now" in ends[0][1]
    found = trials(storage)
    assert finished(found) == 4
    copy = next(trial for trial in found if trial.system_attrs.get("failed_trial") == 0)
    assert copy.params == found[0].params
    assert list(copy.intermediate_values) == [1, 2, 3, 4, 5]
    claims = [trial.user_attrs[OWNER]["claim"] for trial in found if OWNER in trial.user_attrs]
    assert len(set(claims)) == len(claims) == 5
    status, output = driver.run("show", "sft_lora", "--storage", storage)
    assert status == 0
    assert f"its machine was lost; trial {copy.number} goes on" in output
    assert "Best of 4" in output


def test_a_dead_machines_trial_goes_on_elsewhere_from_its_checkpoint(
    driver: Driver, second: Driver, storage: str
) -> None:
    """With a folder that both reach. The second machine is one by its name: a process's id says nothing there."""
    if psutil.Process().uids().effective != 0:
        pytest.skip("another machine's name needs root")
    beats = {"LORA_SWEEP_HEARTBEAT_SECONDS": "1", "LORA_SWEEP_GRACE_SECONDS": "4"}
    output = ("--output", str(driver.folder / "runs"))
    first = start(driver, storage, "--n-trials", "1", *LONG, *output, **beats)
    wait_for(storage, 0, 2)
    for process in _machine(first):
        process.kill()
    arguments = [
        *("unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec "$0" -m sweep "$@"', driver.python),
        *second.sweep_arguments("--n-trials", "1", *LONG, *output),
    ]
    environment = {**driver.environment, "STORAGE": storage, **beats}
    done = subprocess.run(arguments, cwd=second.folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trial 0: no sign of life from its machine; trial 1 goes on" in done.stdout
    found = trials(storage)
    assert [trial.state for trial in found] == [TrialState.FAIL, TrialState.COMPLETE]
    assert list(found[1].intermediate_values) == [1, 2, 3, 4, 5]
    opened = open_storage(storage, create=False)
    lost, copy = (Results(opened.engine, "sft_lora").curve(number).reports for number in (0, 1))
    assert lost[0] == copy[0], "with its seconds: it began where the other was"
