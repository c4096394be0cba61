"""Worker processes as the coordinator sees them, and who gets which trial."""

import dataclasses
import os
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import trials
from sweep.devices import Slot
from sweep.errors import SweepError, WorkerDied
from sweep.launchers import local
from sweep.launchers.local import LocalLauncher
from sweep.launchers.pool import MOST_LOADS, PooledRun
from sweep.launchers.worker import Worker
from sweep.launchers.worker_process import WorkerProcess
from trials.config import TrialConfig
from trials.failure import FailureClass
from trials.protocol import Command, DeviceFacts, Finished, Job, Limits, ModelFacts, Ready, WorkerSetup

# Seconds after which something that should have happened has not.
PATIENCE = 60


def worker_code(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has every worker run this code."""
    package = folder / "trials"
    package.mkdir()
    (package / "__init__.py").write_text(f"__path__.append({str(Path(trials.__file__).parent)!r})\n")
    (package / "worker.py").write_text(f"{OPENING}\n{textwrap.dedent(code)}\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(Path(trials.__file__).parents[1])]))


class Line:
    """A worker of a few lines of Python instead of a model: what it is told, and how it ends."""

    def __init__(self, folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
        worker_code(folder, code, monkeypatch)
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
pipe.send(Ready(facts, {"dataset": "chats", "fingerprint": "d"}, DeviceFacts("cpu", 2, 1)))
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


@pytest.mark.parametrize(
    ("end", "failure"),
    [("sys.exit(3)", FailureClass.UNKNOWN), ("os.kill(os.getpid(), 9)", FailureClass.PREEMPTED)],
)
def test_a_worker_that_dies_while_it_loads_says_how(
    end: str, failure: FailureClass, start: Callable[[str], Line]
) -> None:
    line = start(f"print('no model', flush=True); {end}")
    with pytest.raises(WorkerDied) as raised:
        line.worker.ready()
    assert (raised.value.failure, raised.value.detail) == (failure, "no model")


@pytest.mark.parametrize("deaths", [MOST_LOADS - 1, MOST_LOADS])
def test_workers_that_die_while_they_load_are_replaced_so_many_times(
    deaths: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"""
    file = {str(tmp_path / "deaths")!r}
    before = len(open(file).read()) if os.path.exists(file) else 0
    if before < {deaths}:
        open(file, "a").write("x")
        print("no luck", flush=True)
        os.kill(os.getpid(), 9)
    """
    worker_code(tmp_path, textwrap.dedent(code) + READY + "pipe.recv()", monkeypatch)
    launcher = LocalLauncher(SETUP, [Slot((), 1)])
    try:
        if deaths < MOST_LOADS:
            assert launcher.ready().model.name == "m"
        else:
            with pytest.raises(SweepError, match=r"(?s)signal 9.*, as did 2 before it .*\nno luck"):
                launcher.ready()
    finally:
        launcher.close()


def kill_first(launcher: LocalLauncher) -> None:
    """Kills the first worker, and waits until it is gone."""
    worker = launcher._workers[0]
    assert isinstance(worker, WorkerProcess)
    os.kill(worker.pid, 9)
    worker._process.wait()


def test_what_one_worker_learns_of_its_room_is_told_to_all_also_to_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one to get a job finds its device too small; the others say what they were told."""
    code = """
    while True:
        got = pipe.recv()
        if isinstance(got, Limits):
            with open(os.path.join(FOLDER, f"told-{os.getpid()}"), "w") as file:
                file.write(str(got.tokens))
        else:
            pipe.send(Limits(tokens=64))
            pipe.send(Told(got.number, FINISHED))
    """
    worker_code(tmp_path, f"FOLDER = {str(tmp_path)!r}" + READY + textwrap.dedent(code), monkeypatch)
    launcher = LocalLauncher(SETUP, [Slot((), 1), Slot((), 1)])

    def told(pid: int) -> str:
        file, deadline = tmp_path / f"told-{pid}", time.monotonic() + PATIENCE
        while not (file.exists() and file.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return file.read_text()

    try:
        launcher.ready()
        assert list(launcher.start(TrialConfig(), tmp_path, lambda moved: None)) == []
        first, other = launcher.pids
        assert told(other) == "64"
        assert launcher.limits == Limits(tokens=64)
        kill_first(launcher)
        for _ in range(2):  # one of them is done by the one that is new
            assert list(launcher.start(TrialConfig(), tmp_path, lambda moved: None)) == []
        assert launcher.pids[0] != first
        assert told(launcher.pids[0]) == "64"
    finally:
        launcher.close()


@pytest.mark.parametrize(("changed", "words"), [("model", "the model m was"), ("data", "the data set chats was")])
def test_a_later_worker_that_loads_something_else_is_refused(
    changed: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"""
    seen = {str(tmp_path / "seen")!r}
    print_of = {{"model": "f", "data": "d"}}
    if os.path.exists(seen):
        print_of[{changed!r}] = "another"
    open(seen, "w")
    facts = ModelFacts("m", "llama", 1, 1, 1, 1, (), "fp32", print_of["model"])
    pipe.send(Ready(facts, {{"dataset": "chats", "fingerprint": print_of["data"]}}, DeviceFacts("cpu", 2, 1)))
    pipe.recv()
    """
    worker_code(tmp_path, textwrap.dedent(code), monkeypatch)
    launcher = LocalLauncher(SETUP, [Slot((), 1)])
    try:
        launcher.ready()
        kill_first(launcher)
        with pytest.raises(SweepError, match=f"{words} changed while the sweep ran"):
            launcher.start(TrialConfig(), tmp_path, lambda moved: None)
    finally:
        launcher.close()


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
