"""Runs trials on this machine: one long-lived worker process a slot, which does one trial or several at once.

What a worker is and how it is spoken to is `worker_process`; here is who gets which trial.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from sweep.devices import Slot
from sweep.errors import SweepError, TrialFailed, TrialInterrupted, WorkerDied
from sweep.launchers.worker_process import Inbox, WorkerProcess
from trials.config import TrialConfig
from trials.protocol import Failed, Finished, Job, Limits, Moved, Ready, Saved, Stop, WorkerSetup
from trials.report import Report

# Workers that load model and data, one after the other, when each dies meanwhile.
MOST_LOADS = 3


class LocalRun:
    """A trial that a local worker is doing."""

    def __init__(
        self, worker: WorkerProcess, job: Job, release: Callable[[], None], on_step: Callable[[Moved], None]
    ) -> None:
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
                self._end()
                raise TrialInterrupted
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


class LocalLauncher:
    """Keeps a worker a slot and hands trials to those with room; a dead worker is replaced."""

    def __init__(self, setup: WorkerSetup, slots: Sequence[Slot]) -> None:
        """Starts every worker.

        Args:
            setup: What each worker loads.
            slots: Where the workers run, and how many trials each does at once.
        """
        self._setup, self._slots = setup, list(slots)
        # What workers print is read only when one dies, and its end then kept with the trial.
        self._logs = TemporaryDirectory(prefix="lora-sweep-")
        # Re-entrant: a signal handler in the main thread may stop or close while that thread starts a trial.
        self._lock = threading.RLock()
        self._closed = False
        self._loaded: Ready | None = None
        self._limits = Limits()
        self._limiting = threading.Lock()
        self._numbers = count()
        self._free: queue.Queue[int] = queue.Queue()
        self._running: dict[int, int] = dict.fromkeys(range(len(self._slots)), 0)
        self._workers = [self._new_worker(place) for place in range(len(self._slots))]
        self._places = 0
        # A place of every worker before a second one of any.
        for turn in range(max(slot.trials for slot in self._slots)):
            self._add(place for place, slot in enumerate(self._slots) if slot.trials > turn)

    @property
    def slots(self) -> int:
        """Trials that can run at once."""
        return self._places

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in self._workers]

    def ready(self) -> Ready:
        """Waits for the first worker, as all load the same; one that dies meanwhile is replaced.

        Raises:
            SweepError: Model or data cannot be loaded, or one worker after the other died of it.
        """
        for _ in range(MOST_LOADS):
            try:
                self._loaded = self._workers[0].ready()
            except WorkerDied as error:
                died = error
                with self._lock:
                    self._workers[0].close()
                    self._workers[0] = self._new_worker(0)
            else:
                return self._loaded
        told = f"{died}, as did {MOST_LOADS - 1} before it while they loaded model and data\n{died.detail}"
        raise SweepError(told.rstrip()) from died

    @property
    def limits(self) -> Limits:
        """What the workers have learnt of their devices' room."""
        return self._limits

    def narrow(self, limits: Limits) -> None:
        """Lets no worker try what is known not to fit; also those that are started later."""
        with self._limiting:
            self._limits = self._limits.joined(limits)
        for worker in self._workers:
            worker.send(self._limits)

    def widen(self, trials: int) -> None:
        """Lets every worker do so many trials at once, where it does fewer."""
        for turn in range(1, trials):
            self._add(place for place, slot in enumerate(self._slots) if slot.trials <= turn)
        self._slots = [replace(slot, trials=max(slot.trials, trials)) for slot in self._slots]

    def start(self, config: TrialConfig, folder: Path, on_step: Callable[[Moved], None]) -> LocalRun:
        """Starts a run on a worker with room, waiting for one.

        Raises:
            SweepError: A new worker cannot load what the first one did.
            WorkerDied: A new one died meanwhile.
        """
        place = self._free.get()
        try:
            with self._lock:
                worker = self._workers[place]
                if not worker.alive():
                    worker.close()
                    worker = self._workers[place] = self._new_worker(place)
            self._check_same(worker.ready())
            with self._lock:
                self._running[place] += 1
            job = Job(next(self._numbers), config, folder)
            return LocalRun(worker, job, lambda: self._release(place), on_step)
        except BaseException:
            self._free.put(place)
            raise

    def stop(self, *, save: bool) -> None:
        """Asks the running trials to stop."""
        with self._lock:
            for place, running in self._running.items():
                if running:
                    self._workers[place].send(Stop(save=save))

    def close(self) -> None:
        """Ends every worker; trials that still run are left to be continued from their last evaluation."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for worker in self._workers:
                worker.close()
            self._logs.cleanup()

    def _add(self, places: Iterator[int]) -> None:
        for place in places:
            self._places += 1
            self._free.put(place)

    def _release(self, place: int) -> None:
        with self._lock:
            self._running[place] -= 1
        self._free.put(place)

    def _new_worker(self, place: int) -> WorkerProcess:
        slot = self._slots[place]
        first = place == 0  # which alone says what all load is like
        setup = replace(
            self._setup,
            threads=slot.threads,
            start_loss=self._setup.start_loss and first,
            busy_tokens=self._setup.busy_tokens and first,
        )
        worker = WorkerProcess(slot, setup, Path(self._logs.name) / f"worker-{place}.log", self.narrow)
        if self._limits != Limits():
            worker.send(self._limits)
        return worker

    def _check_same(self, ready: Ready) -> None:
        """A worker that was started later may have found another model or other data where the first one did.

        Raises:
            SweepError: It has.
        """
        first = self._loaded
        if first is None:
            return
        if ready.model.fingerprint != first.model.fingerprint:
            raise SweepError(f"the model {first.model.name} was changed while the sweep ran; losses would not compare")
        if ready.data["fingerprint"] != first.data["fingerprint"]:
            raise SweepError(
                f"the data set {first.data['dataset']} was changed while the sweep ran; losses would not compare"
            )
