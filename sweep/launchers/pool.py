"""Who gets which trial: a worker a slot, each doing one trial or several at once; one that has ended is replaced.

What a worker is and how it is started is for those who derive from `WorkerPool`.
"""

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from sweep.devices import Slot
from sweep.errors import SweepError, TrialFailed, TrialInterrupted, WorkerDied
from sweep.launchers.worker import Inbox, Worker
from trials.config import TrialConfig
from trials.protocol import Failed, Finished, Job, Limits, Moved, Ready, Saved, Stop, WorkerSetup
from trials.report import Report

# Workers that load model and data at one place, one after the other, when each dies meanwhile.
MOST_LOADS = 3


class PooledRun:
    """A trial that a worker is doing."""

    def __init__(self, worker: Worker, job: Job, release: Callable[[], None], on_step: Callable[[Moved], None]) -> None:
        self._worker, self._number, self._release, self._on_step = worker, job.number, release, on_step
        self._inbox: Inbox = worker.begin(job)
        self._over = False
        self.finished: Finished | None = None

    def __iter__(self) -> Iterator[Report]:
        """The run's reports."""
        while not self._over:
            message = self._inbox.get()
            if isinstance(message, WorkerDied):
                self._end()
                raise message
            if isinstance(message, Moved):
                self._on_step(message)
            elif isinstance(message, Report):
                yield message
            elif isinstance(message, Finished):
                self.finished = message
                self._end()
            elif isinstance(message, Saved):
                let_go = self._worker.let_go()
                self._end()
                raise let_go or TrialInterrupted
            elif isinstance(message, Failed):
                if not message.expected:
                    # It ends after such a failure; a process that is on its way out must not get a job.
                    self._worker.close()
                self._end()
                raise TrialFailed(message.message, message.detail, message.failure)

    def close(self) -> None:
        """Stops the training and waits until the worker has let go of it."""
        if self._over:
            return
        self._worker.send(Stop(save=False, number=self._number))
        # A worker that dies while it is told to stop has stopped.
        try:
            for _ in self:
                pass
        except (WorkerDied, TrialFailed, TrialInterrupted):
            return

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._release()


class WorkerPool(ABC):
    """Keeps a worker a slot and hands trials to those with room."""

    def __init__(self, setup: WorkerSetup, slots: Sequence[Slot]) -> None:
        """Starts every worker.

        Args:
            setup: What each worker loads.
            slots: Where the workers run, and how many trials each does at once.
        """
        self._setup, self._slots = setup, list(slots)
        # Re-entrant: a signal handler in the main thread may stop or close while that thread starts a trial.
        self._turn = threading.Condition(threading.RLock())
        self._stopping = self._closed = False
        # By place, those in a row that died before they had loaded.
        self._unloaded = Counter[int]()
        self._first: Ready | None = None
        self._limits = Limits()
        self._numbers, self._hired = count(), count()
        self._free: list[int] = []
        # Those that still save what they do, and then end.
        self._departing: list[Worker] = []
        self._workers = [self._new_worker(place) for place in range(len(self._slots))]
        self._places = 0
        # A place of every worker before a second one of any.
        for turn in range(max(slot.trials for slot in self._slots)):
            self._add(place for place, slot in enumerate(self._slots) if slot.trials > turn)

    @abstractmethod
    def _hire(self, number: int, slot: Slot, setup: WorkerSetup) -> Worker:
        """Starts a worker, and does not wait for it; no two of a pool have one number."""

    @property
    def slots(self) -> int:
        """Trials that can run at once."""
        return self._places

    def ready(self) -> Ready:
        """Waits for the first worker, as all load the same; one that dies meanwhile is replaced.

        Raises:
            SweepError: Model or data cannot be loaded, or one worker after the other died of it.
            TrialInterrupted: The sweep is stopping.
        """
        while True:
            with self._turn:
                dismissed = self._replace([0])
                if not dismissed and self._workers[0].loaded:
                    self._first = self._workers[0].ready()
                    return self._first
                if not dismissed:
                    self._wait()
            self._dismiss(dismissed)

    @property
    def limits(self) -> Limits:
        """What the workers have learnt of their devices' room."""
        return self._limits

    def narrow(self, limits: Limits) -> None:
        """Lets no worker try what is known not to fit; also those that are started later."""
        with self._turn:
            self._limits = joined = self._limits.joined(limits)
            workers = list(self._workers)
        for worker in workers:
            worker.send(joined)

    def widen(self, trials: int) -> None:
        """Lets every worker do so many trials at once, where it does fewer."""
        with self._turn:
            for turn in range(1, trials):
                self._add(place for place, slot in enumerate(self._slots) if slot.trials <= turn)
            self._slots = [replace(slot, trials=max(slot.trials, trials)) for slot in self._slots]

    def start(self, config: TrialConfig, folder: Path, on_step: Callable[[Moved], None]) -> PooledRun:
        """Starts a run on a worker with room, waiting for one.

        Raises:
            TrialInterrupted: The sweep is stopping.
            SweepError: Workers cannot load what they are to, or not what the first one did.
        """
        place, worker = self._take_place()
        job = Job(next(self._numbers), config, folder.absolute())
        return PooledRun(worker, job, lambda: self._release(place), on_step)

    def stop(self, *, save: bool) -> None:
        """Asks the running trials to stop, and lets no other begin."""
        with self._turn:
            self._stopping = True
            self._turn.notify_all()
            workers = list(self._workers)
        for worker in workers:
            if worker.busy:
                worker.send(Stop(save=save))

    def close(self) -> None:
        """Ends every worker; trials that still run are left to be continued from their last evaluation."""
        with self._turn:
            if self._closed:
                return
            self._closed = True
            self._turn.notify_all()
        self._dismiss([*self._workers, *self._departing])

    def _take_place(self) -> tuple[int, Worker]:
        """A place whose worker has loaded, rather than one whose worker a cluster has yet to start."""
        while True:
            with self._turn:
                dismissed = self._replace(self._free)
                loaded = [place for place in self._free if self._workers[place].loaded]
                if loaded and not dismissed:
                    worker = self._workers[loaded[0]]
                    self._check_same(worker.ready())
                    self._free.remove(loaded[0])
                    return loaded[0], worker
                if not dismissed:
                    self._wait()
            self._dismiss(dismissed)

    def _wait(self) -> None:
        """Waits until something has changed.

        Raises:
            TrialInterrupted: The sweep is stopping.
        """
        if not (self._stopping or self._closed):
            self._turn.wait()
        if self._stopping or self._closed:
            raise TrialInterrupted

    def _replace(self, places: Iterable[int]) -> list[Worker]:
        """Hires workers where they have ended; those that are to be dismissed, which may take a while.

        Raises:
            SweepError: One after the other died before it had loaded; or one cannot load, which is no use to repeat.
        """
        ended = [worker for worker in self._departing if not worker.busy]
        self._departing = [worker for worker in self._departing if worker.busy]
        for place in dict.fromkeys(places):
            worker = self._workers[place]
            if worker.refused:
                worker.ready()  # says why
            if worker.alive() or self._stopping or self._closed:
                continue
            self._unloaded[place] = 0 if worker.loaded else self._unloaded[place] + 1
            if self._unloaded[place] >= MOST_LOADS and worker.died is not None:
                told = f"{worker.died}, as did {MOST_LOADS - 1} before it while they loaded model and data"
                raise SweepError(f"{told}\n{worker.died.detail}".rstrip()) from worker.died
            self._workers[place] = self._new_worker(place)
            ended.append(worker)
        return ended

    def _dismiss(self, workers: Iterable[Worker]) -> None:
        """Closes workers, but for those that still save what they do."""
        for worker in workers:
            if worker.busy and not self._closed:
                with self._turn:
                    self._departing.append(worker)
            else:
                worker.close()

    def _add(self, places: Iterator[int]) -> None:
        for place in places:
            self._places += 1
            self._free.append(place)

    def _release(self, place: int) -> None:
        with self._turn:
            self._free.append(place)
            self._turn.notify_all()

    def _changed(self) -> None:
        with self._turn:
            self._turn.notify_all()

    def _check_same(self, ready: Ready) -> None:
        """A worker that was started later may have found another model or other data where the first one did.

        Raises:
            SweepError: It has.
        """
        first = self._first
        if first is None:
            return
        if ready.model.fingerprint != first.model.fingerprint:
            raise SweepError(f"the model {first.model.name} was changed while the sweep ran; losses would not compare")
        if ready.data["fingerprint"] != first.data["fingerprint"]:
            raise SweepError(
                f"the data set {first.data['dataset']} was changed while the sweep ran; losses would not compare"
            )

    def _new_worker(self, place: int) -> Worker:
        slot = self._slots[place]
        first = place == 0  # which alone says what all load is like
        setup = replace(
            self._setup,
            threads=slot.threads,
            start_loss=self._setup.start_loss and first,
            busy_tokens=self._setup.busy_tokens and first,
        )
        worker = self._hire(next(self._hired), slot, setup)
        worker.watch(self._changed, self.narrow)
        if self._limits != Limits():
            worker.send(self._limits)
        return worker
