"""Worker processes as the coordinator sees them, and who gets which trial."""

import dataclasses
import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import trials
from sweep.devices import Slot
from sweep.errors import SweepError, WorkerDied
from sweep.launchers import local
from sweep.launchers.local import LocalLauncher
from sweep.launchers.pool import PooledRun
from sweep.launchers.worker import Worker
from sweep.launchers.worker_process import WorkerProcess
from trials.config import TrialConfig
from trials.protocol import Command, DeviceFacts, Finished, Job, ModelFacts, Ready, WorkerSetup

# Seconds after which something that should have happened has not.
PATIENCE = 60


class Line:
    """A worker of a few lines of Python instead of a model: what it is told, and how it ends."""

    def __init__(self, folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
        package = folder / "trials"
        package.mkdir()
        (package / "__init__.py").write_text(f"__path__.append({str(Path(trials.__file__).parent)!r})\n")
        (package / "worker.py").write_text(f"{OPENING}\n{textwrap.dedent(code)}\n")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(Path(trials.__file__).parents[1])]))
        self.worker = WorkerProcess(Slot((), 1), SETUP, folder / "worker.log")
        self.job = Job(3, TrialConfig(), folder)


# The pipe as a worker has it; what it is told to load is read.
OPENING = """
import os, sys, time
from multiprocessing.connection import Connection
from trials.protocol import *
pipe = Connection(int(sys.argv[1]))
pipe.recv()
FINISHED = Finished(1, early=False)
"""
SETUP = WorkerSetup("", "", "sft", 64, None, 16, 0, "auto", None, 0, False, Path())
READY = """
facts = ModelFacts("m", "llama", 1, 1, 1, 1, (), "fp32", "f")
pipe.send(Ready(facts, {}, DeviceFacts("cpu", 2, 1)))
"""


READY_MESSAGE = Ready(ModelFacts("m", "llama", 1, 1, 1, 1, (), "fp32", "f"), {}, DeviceFacts("cpu", 2, 1))


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Line]]:
    lines = list[Line]()

    def make(code: str) -> Line:
        lines.append(Line(tmp_path, code, monkeypatch))
        return lines[-1]

    yield make
    for line in lines:
        line.worker.close()


def test_a_worker_that_dies_is_told_to_every_job_with_its_last_words(start: Callable[[str], Line]) -> None:
    line = start(READY + "pipe.recv(); pipe.recv(); print('its last words', flush=True); os.kill(os.getpid(), 9)")
    line.worker.ready()
    inboxes = [line.worker.begin(dataclasses.replace(line.job, number=number)) for number in (1, 2)]
    for inbox in inboxes:
        died = inbox.get(timeout=PATIENCE)
        assert isinstance(died, WorkerDied)
        assert "signal 9" in str(died)
        assert died.detail == "its last words"
    assert not line.worker.alive()
    later = line.worker.begin(line.job).get(timeout=PATIENCE)
    assert isinstance(later, WorkerDied)


def test_a_worker_that_dies_while_it_loads_is_a_fault_of_the_sweep(start: Callable[[str], Line]) -> None:
    line = start("print('no model', flush=True); sys.exit(3)")
    with pytest.raises(SweepError, match=r"(?s)exit status 3.*no model"):
        line.worker.ready()


def test_what_is_said_of_a_job_comes_to_that_job_alone(start: Callable[[str], Line]) -> None:
    line = start(
        READY + "jobs = [pipe.recv(), pipe.recv()]\n"
        "for job in reversed(jobs): pipe.send(Told(job.number, Finished(job.number, early=False)))\ntime.sleep(60)"
    )
    inboxes = {number: line.worker.begin(dataclasses.replace(line.job, number=number)) for number in (4, 5)}
    for number, inbox in inboxes.items():
        assert inbox.get(timeout=PATIENCE) == Finished(number, early=False)
        assert inbox.empty()


def test_a_run_is_closed_when_its_worker_has_let_go_of_it(start: Callable[[str], Line]) -> None:
    line = start(READY + "job, stop = pipe.recv(), pipe.recv()\npipe.send(Told(stop.number, FINISHED))\ntime.sleep(60)")
    released = list[int]()
    run = PooledRun(line.worker, line.job, lambda: released.append(1), lambda moved: None)
    run.close()
    run.close()
    assert run.finished == Finished(1, early=False)
    assert released == [1]


def test_closing_ends_a_worker_that_still_reads_and_kills_one_that_does_not_listen(
    start: Callable[[str], Line],
) -> None:
    line = start(READY + "try: pipe.recv()\nexcept EOFError: print('good bye', flush=True)")
    line.worker.ready()
    line.worker.close()
    assert not line.worker.alive()
    assert (line.job.folder / "worker.log").read_text().endswith("good bye\n")


def test_a_worker_that_does_not_listen_is_killed(start: Callable[[str], Line]) -> None:
    line = start(READY + "time.sleep(600)")
    line.worker.ready()
    line.worker.close(grace=0.2)
    assert not line.worker.alive()


class Silent(Worker):
    """A worker that is there."""

    def __init__(self, slot: Slot, setup: WorkerSetup, log: Path) -> None:
        super().__init__()
        self.jobs, self.setup, self.slot = list[Job](), setup, slot
        self._take(READY_MESSAGE)

    @property
    def name(self) -> str:
        return "a silent worker"

    def send(self, command: Command) -> None:
        if isinstance(command, Job):
            self.jobs.append(command)

    def close(self) -> None:
        pass


def silent(launcher: LocalLauncher) -> list[Silent]:
    return [worker for worker in launcher._workers if isinstance(worker, Silent)]


def test_every_worker_has_a_trial_before_one_has_two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local, "WorkerProcess", Silent)
    launcher = LocalLauncher(SETUP, [Slot((0,), 0), Slot((1,), 0, trials=2)])
    assert launcher.slots == 3
    launcher.widen(3)
    assert launcher.slots == 6
    for count in range(1, 7):
        launcher.start(TrialConfig(), tmp_path, lambda moved: None)
        done = [len(worker.jobs) for worker in silent(launcher)]
        assert sum(done) == count
        assert max(done) - min(done) <= 1
    numbers = [job.number for worker in silent(launcher) for job in worker.jobs]
    assert len(set(numbers)) == 6
    launcher.close()


@pytest.mark.parametrize("asked", [True, False])
def test_one_worker_measures_the_loss_before_training_if_it_is_asked_for(
    asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    setups = list[WorkerSetup]()

    class Noted(Silent):
        def __init__(self, slot: Slot, setup: WorkerSetup, log: Path) -> None:
            super().__init__(slot, setup, log)
            setups.append(setup)

    monkeypatch.setattr(local, "WorkerProcess", Noted)
    setup = WorkerSetup("", "", "sft", 64, None, 16, 0, "auto", None, 0, False, Path(), start_loss=asked)
    LocalLauncher(setup, [Slot((), 1), Slot((), 1), Slot((), 1)]).close()
    assert [setup.start_loss for setup in setups] == [asked, False, False]
    assert {dataclasses.replace(each, threads=0, start_loss=False) for each in setups} == {
        dataclasses.replace(setup, start_loss=False)
    }


def test_a_slot_is_told_by_its_devices() -> None:
    assert [Slot((), 1).label, Slot((0,), 0).label, Slot((0, 1), 0).label] == ["cpu", "gpu 0", "gpus 0,1"]
    remote = [Slot((), 1, engine="ray"), Slot((), 2, engine="slurm"), Slot((0,), 2, engine="ray")]
    assert [slot.label for slot in remote] == [
        "ray, 1 CPU core each",
        "slurm, 2 CPU cores each",
        "ray, 1 GPU each",
    ]


def test_workers_that_an_engine_starts_are_not_taken_for_one_device() -> None:
    apart = [Slot((0,), 1, engine="ray", machine=number) for number in range(3)]
    assert len({slot.device for slot in apart}) == 3
    assert Slot((), 1).device == Slot((), 1).device
