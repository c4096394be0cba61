"""Who gets which trial, with workers that only listen: what becomes of those that end, leave, or never load."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweep.devices import Slot
from sweep.errors import SweepError, TrialInterrupted, WorkerDied
from sweep.launchers.pool import MOST_LOADS, PooledRun, WorkerPool
from sweep.launchers.worker import Worker
from trials.config import TrialConfig
from trials.failure import FailureClass
from trials.protocol import (
    Command,
    DeviceFacts,
    Failed,
    Finished,
    Job,
    Leaving,
    Limits,
    ModelFacts,
    Ready,
    Saved,
    Stop,
    Told,
    WorkerSetup,
)

SETUP = WorkerSetup("", "", "sft", 64, None, 16, 0, "auto", None, 0, False, Path(), start_loss=True)
MODEL = ModelFacts("m", "llama", 1, 1, 1, 1, (), "fp32", "f")
READY = Ready(MODEL, {"dataset": "chats", "fingerprint": "d"}, DeviceFacts("cpu", 2, 1))
# Seconds after which something that should have happened has not.
PATIENCE = 60


class Listener(Worker):
    """A worker that says what the test has it say."""

    def __init__(self, number: int, setup: WorkerSetup) -> None:
        super().__init__()
        self.number, self.setup = number, setup
        self.heard = list[Command]()
        self.closed = False

    @property
    def name(self) -> str:
        return f"listener {self.number}"

    @property
    def jobs(self) -> list[Job]:
        return [command for command in self.heard if isinstance(command, Job)]

    def send(self, command: Command) -> None:
        self.heard.append(command)

    def close(self) -> None:
        self.closed = True

    def load(self, ready: Ready = READY) -> None:
        self._take(ready)

    def learn(self, limits: Limits) -> None:
        self._take(limits)

    def refuse(self, message: str) -> None:
        self._take(Failed(message, "", expected=True))

    def leave(self) -> None:
        self._take(Leaving())

    def save(self, job: Job) -> None:
        self._take(Told(job.number, Saved()))

    def die(self) -> None:
        self._lose(WorkerDied(f"{self.name} died", "its last words"))


class Pool(WorkerPool):
    """A pool of them, in the order in which they were hired."""

    def __init__(self, *slots: Slot, load: bool = True) -> None:
        self.hired = list[Listener]()
        self._load = load
        super().__init__(SETUP, slots)

    def _hire(self, number: int, slot: Slot, setup: WorkerSetup) -> Worker:
        self.hired.append(Listener(number, setup))
        if self._load:
            self.hired[-1].load()
        return self.hired[-1]

    def begin(self) -> PooledRun:
        return self.start(TrialConfig(), Path("folder"), lambda moved: None)


def ends(pool: Pool) -> tuple[threading.Thread, list[BaseException]]:
    """Starts a run in a thread of its own, and keeps what it raises."""
    raised = list[BaseException]()

    def start() -> None:
        try:
            pool.begin()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            raised.append(error)

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    return thread, raised


def test_a_trial_goes_to_a_worker_that_has_loaded_rather_than_to_one_that_waits_in_a_queue() -> None:
    pool = Pool(Slot((), 1), Slot((), 1), load=False)
    pool.hired[1].load()
    pool.begin()
    assert [len(worker.jobs) for worker in pool.hired] == [0, 1]


def test_a_trial_that_waits_begins_when_a_worker_has_loaded() -> None:
    pool = Pool(Slot((), 1), load=False)
    thread, raised = ends(pool)
    thread.join(0.2)
    assert thread.is_alive()
    pool.hired[0].load()
    thread.join(PATIENCE)
    assert not raised
    assert len(pool.hired[0].jobs) == 1


@pytest.mark.parametrize("end", [lambda pool: pool.stop(save=True), lambda pool: pool.close()])
def test_a_trial_that_waits_for_a_cluster_is_let_go_when_the_sweep_stops(end: Callable[[Pool], None]) -> None:
    pool = Pool(Slot((), 1), load=False)
    thread, raised = ends(pool)
    end(pool)
    thread.join(PATIENCE)
    assert isinstance(raised[0], TrialInterrupted)
    with pytest.raises(TrialInterrupted):
        pool.begin()


def test_a_worker_that_leaves_saves_what_it_does_and_another_goes_on_with_it() -> None:
    pool = Pool(Slot((), 1, trials=2))
    first, second = pool.begin(), pool.begin()
    old = pool.hired[0]
    old.leave()
    old.save(old.jobs[0])
    with pytest.raises(WorkerDied, match="listener 0 is being taken away") as told:
        next(iter(first))
    assert (told.value.failure, told.value.orderly) == (FailureClass.PREEMPTED, False)
    pool.begin()
    assert [len(worker.jobs) for worker in pool.hired] == [2, 1]
    assert not old.closed, "it still saves its second trial"
    old.save(old.jobs[1])
    with pytest.raises(WorkerDied):
        next(iter(second))
    pool.begin()
    assert old.closed


def test_a_sweep_that_stops_takes_saved_for_saved() -> None:
    pool = Pool(Slot((), 1))
    run = pool.begin()
    pool.stop(save=True)
    worker = pool.hired[0]
    assert worker.heard[-1] == Stop(save=True)
    worker.save(worker.jobs[0])
    with pytest.raises(TrialInterrupted):
        next(iter(run))


def test_a_worker_that_dies_before_it_has_loaded_is_replaced() -> None:
    pool = Pool(Slot((), 1), load=False)
    pool.hired[0].die()
    thread, raised = ends(pool)
    while len(pool.hired) < 2:
        thread.join(0.01)
    assert pool.hired[1].setup.start_loss, "what the first was to measure, the second measures"
    pool.hired[1].load()
    thread.join(PATIENCE)
    assert not raised
    assert len(pool.hired[1].jobs) == 1


def test_the_first_answer_comes_from_a_worker_that_was_replaced() -> None:
    pool = Pool(Slot((), 1), load=False)
    pool.hired[0].die()
    threading.Timer(0.1, lambda: pool.hired[1].load()).start()
    assert pool.ready() == READY


def test_workers_are_not_hired_for_ever_when_none_lives_to_load() -> None:
    pool = Pool(Slot((), 1), load=False)
    thread, raised = ends(pool)
    dead = 0
    while thread.is_alive():
        for worker in pool.hired[dead:]:
            worker.die()
            dead += 1
        thread.join(0.01)
    assert isinstance(raised[0], SweepError)
    assert str(raised[0]).startswith("listener 2 died, as did 2 before it while they loaded model and data\nits last")
    assert len(pool.hired) == MOST_LOADS


def test_a_machine_that_is_lost_with_all_its_workers_ends_no_sweep() -> None:
    pool = Pool(*[Slot((), 1)] * (MOST_LOADS + 1), load=False)
    lost = list(pool.hired)
    for worker in lost:
        worker.die()
    thread, raised = ends(pool)
    while len(pool.hired) < 2 * len(lost):
        thread.join(0.01)
    pool.hired[-1].load()
    thread.join(PATIENCE)
    assert not raised


def test_deaths_of_loaded_workers_are_not_counted_with_those_that_never_loaded() -> None:
    pool = Pool(Slot((), 1))
    for number in range(2 * MOST_LOADS):
        run = pool.begin()
        pool.hired[number].die()
        with pytest.raises(WorkerDied):
            next(iter(run))


def test_what_one_worker_learns_of_its_room_is_told_to_all_also_to_later_ones() -> None:
    pool = Pool(Slot((), 1), Slot((), 1))
    pool.hired[0].learn(Limits(tokens=64))
    pool.narrow(Limits(runs=2))
    assert pool.limits == Limits(tokens=64, runs=2)
    assert [worker.heard[-1] for worker in pool.hired] == [pool.limits] * 2
    pool.hired[0].die()
    pool.begin()
    assert pool.hired[2].heard[0] == pool.limits


def test_a_later_worker_that_finds_another_model_gets_no_trial() -> None:
    pool = Pool(Slot((), 1))
    assert pool.ready() == READY
    pool._load = False
    pool.hired[0].die()
    thread, raised = ends(pool)
    while len(pool.hired) < 2:
        thread.join(0.01)
    pool.hired[1].load(replace(READY, model=replace(MODEL, fingerprint="another")))
    thread.join(PATIENCE)
    assert isinstance(raised[0], SweepError)
    assert "the model m was changed while the sweep ran" in str(raised[0])
    assert not pool.hired[1].jobs


def test_a_worker_that_cannot_load_ends_the_sweep_with_its_reason() -> None:
    pool = Pool(Slot((), 1), load=False)
    pool.hired[0].refuse("no such model")
    pool.hired[0].die()  # after which its process ends, of itself
    with pytest.raises(SweepError, match="no such model"):
        pool.begin()
    with pytest.raises(SweepError, match="no such model"):
        pool.ready()
    assert len(pool.hired) == 1


def test_a_dead_worker_is_closed_and_its_place_has_another() -> None:
    pool = Pool(Slot((), 1))
    run = pool.begin()
    pool.hired[0].die()
    with pytest.raises(WorkerDied, match="listener 0 died"):
        next(iter(run))
    pool.begin()
    assert pool.hired[0].closed
    assert len(pool.hired[1].jobs) == 1


def test_a_closed_pool_has_closed_all_its_workers() -> None:
    pool = Pool(Slot((), 1, trials=2), Slot((), 1))
    pool.begin()
    pool.begin()
    pool.begin()
    pool.hired[0].leave()
    pool.hired[0].save(pool.hired[0].jobs[0])
    pool.close()
    assert all(worker.closed for worker in pool.hired)


def test_a_run_gives_its_place_back_once() -> None:
    pool = Pool(Slot((), 1))
    run = pool.begin()
    worker = pool.hired[0]
    worker._take(Told(worker.jobs[0].number, Finished(7, early=False)))
    assert list(run) == []
    run.close()
    assert run.finished == Finished(7, early=False)
    assert pool._free == [0]
