"""Sweeps whose workers are batch jobs, by submitit's executor for one machine: its jobs are processes here."""

import signal
import stat
import subprocess

import psutil
import pytest

from tests.end_to_end.clusters import TRIALS, alive, assert_uninterrupted, wait_until
from tests.end_to_end.driver import Driver

pytest.importorskip("submitit")
pytestmark = [pytest.mark.slow, pytest.mark.slurm]

JOBS = ("--launcher", "slurm", "--workers", "1", "--launcher-option", "cluster=local")


def jobs_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that do the work of a sweep's jobs."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "submitit.core._submit" in child.cmdline()]


def test_a_job_that_is_preempted_or_killed_is_replaced_and_its_trial_goes_on(driver: Driver) -> None:
    process = driver.start(*driver.sweep_arguments(*TRIALS, *JOBS))
    read = driver.wait_for_line(process, "trial 0", "1 of 5")
    assert "1 worker on slurm, 2 CPU cores each" in read
    (job,) = jobs_of(process)
    job.send_signal(signal.SIGUSR2)  # as Slurm does before a job's end
    driver.wait_for_line(process, "trial 0", "is being taken away; going on with a new worker")
    driver.wait_for_line(process, "trial 1", "2 of 5")
    assert not alive([job])
    (job,) = jobs_of(process)
    job.kill()
    driver.wait_for_line(process, "trial 1", "ended; going on with a new worker")
    status, output = driver.finish(process)
    assert status == 0, output
    assert not list(driver.folder.glob("runs/sft_lora/workers-*"))
    assert_uninterrupted(driver)


def test_jobs_end_when_their_coordinator_is_killed_and_their_key_is_nobody_elses(driver: Driver) -> None:
    process = driver.start(*driver.sweep_arguments(*TRIALS, *JOBS))
    driver.wait_for_line(process, "trial 0", "1 of 5")
    (line,) = driver.folder.glob("runs/sft_lora/workers-*/line.json")
    assert stat.S_IMODE(line.stat().st_mode) == 0o600
    assert stat.S_IMODE(line.parent.stat().st_mode) == 0o700
    descendants = psutil.Process(process.pid).children(recursive=True)
    key = line.read_text().split('"key": "')[1].rstrip('"}')
    assert len(key) == 64
    for each in descendants:
        assert key not in " ".join([*each.cmdline(), *each.environ().values()])
    process.kill()
    wait_until(lambda: not alive(descendants))


def test_jobs_without_submitit_are_refused_with_what_to_install(driver: Driver) -> None:
    hidden = driver.folder / "hidden"
    hidden.mkdir()
    (hidden / "submitit.py").write_text("raise ModuleNotFoundError('hidden', name='submitit')\n")
    driver.environment["PYTHONPATH"] = str(hidden)
    status, output = driver.run(*driver.sweep_arguments(*JOBS))
    assert status == 2
    assert output == ("sweep: LAUNCHER=slurm needs submitit, which is not installed: pip install 'lora-sweep[slurm]'\n")
