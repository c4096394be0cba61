"""Runs trials on this machine: one long-lived worker process a slot, spoken to over a pipe.

A worker is a fresh interpreter (`python -m trials.worker`) and not a fork, so that CUDA and thread settings are in
its environment before torch is imported, and nothing of the coordinator is in it.
"""

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from tempfile import TemporaryDirectory

from sweep.devices import Slot
from sweep.errors import SweepError, TrialFailed, TrialInterrupted, WorkerDied
from trials.config import TrialConfig
from trials.protocol import Command, Failed, Finished, Job, Message, Moved, Ready, Saved, Stop, WorkerSetup
from trials.report import Report

# Seconds that a worker has for ending by itself once its pipe is closed, before it is killed.
GRACE_SECONDS = 3.0
# Characters of a dead worker's log that are kept as the reason.
TAIL_CHARACTERS = 2000


class WorkerProcess:
    """One worker and this side of its pipe."""

    def __init__(self, slot: Slot, setup: WorkerSetup, log: Path) -> None:
        """Starts the process and sends it what to load; does not wait."""
        self._log = log
        self._sending = threading.Lock()
        self._ready: Ready | None = None
        self._pipe, theirs = Pipe()
        with log.open("ab") as stderr, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trials.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                env=_environment(slot),
                # A terminal's Ctrl-C must reach the coordinator alone.
                start_new_session=True,
            )
        self.send(setup)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def ready(self) -> Ready:
        """Waits until model and data are loaded.

        Raises:
            SweepError: They cannot be.
        """
        while self._ready is None:
            try:
                message = self.receive()
            except WorkerDied as error:
                raise SweepError(f"{error}\n{error.detail}".rstrip()) from error
            if isinstance(message, Failed):
                raise SweepError(message.message if message.expected else f"{message.message}\n{message.detail}")
            if isinstance(message, Ready):
                self._ready = message
        return self._ready

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def send(self, command: Command) -> None:
        """Sends a command; a dead worker is found out at the next `receive`."""
        with self._sending, contextlib.suppress(OSError):
            self._pipe.send(command)

    def receive(self) -> Message:
        """Waits for the next message.

        Raises:
            WorkerDied: The process has ended.
        """
        try:
            message: Message = self._pipe.recv()
        except (EOFError, OSError, TypeError) as error:
            # A TypeError is a pipe that a second Ctrl-C closed, in its own thread, between two reads of this one.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_SECONDS)
            raise WorkerDied(self._how_it_ended(), self._tail()) from error
        return message

    def close(self, grace: float = GRACE_SECONDS) -> None:
        """Closes the pipe, which ends the worker; kills it when it is not gone after `grace` seconds."""
        self._pipe.close()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _how_it_ended(self) -> str:
        code = self._process.poll()
        if code is None:
            return f"worker {self.pid} closed its pipe"
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"worker {self.pid} died ({how}{', perhaps out of memory' if code == -9 else ''})"

    def _tail(self) -> str:
        with contextlib.suppress(OSError):
            return self._log.read_text(encoding="utf8", errors="replace")[-TAIL_CHARACTERS:].strip()
        return ""


class LocalRun:
    """A trial that a local worker is doing."""

    def __init__(self, worker: WorkerProcess, release: Callable[[], None], on_step: Callable[[Moved], None]) -> None:
        self._worker, self._release, self._on_step = worker, release, on_step
        self._over = False
        self.finished: Finished | None = None

    def __iter__(self) -> Iterator[Report]:
        """The run's reports."""
        while not self._over:
            try:
                message = self._worker.receive()
            except WorkerDied:
                self._end()
                raise
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
                raise TrialFailed(message.message, message.detail)

    def close(self) -> None:
        """Stops the training and waits until the worker is free for the next trial."""
        if self._over:
            return
        self._worker.send(Stop(save=False))
        # A worker that dies while it is told to stop has stopped.
        with contextlib.suppress(WorkerDied, TrialFailed, TrialInterrupted):
            for _ in self:
                pass

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._release()


class LocalLauncher:
    """Keeps a worker a slot and hands trials to free ones; a dead worker is replaced."""

    def __init__(self, setup: WorkerSetup, slots: Sequence[Slot]) -> None:
        """Starts every worker.

        Args:
            setup: What each worker loads.
            slots: Where the workers run.
        """
        self._setup, self._slots = setup, list(slots)
        # What workers print is read only when one dies, and its end then kept with the trial.
        self._logs = TemporaryDirectory(prefix="lora-sweep-")
        # Re-entrant: a signal handler in the main thread may stop or close while that thread starts a trial.
        self._lock = threading.RLock()
        self._closed = False
        self._free: queue.Queue[int] = queue.Queue()
        self._running: set[int] = set()
        self._workers = [self._new_worker(place) for place in range(len(self._slots))]
        for place in range(len(self._slots)):
            self._free.put(place)

    @property
    def slots(self) -> int:
        """Trials that can run at once."""
        return len(self._slots)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in self._workers]

    def ready(self) -> Ready:
        """Waits for the first worker: all load the same."""
        return self._workers[0].ready()

    def start(self, config: TrialConfig, folder: Path, on_step: Callable[[Moved], None]) -> LocalRun:
        """Starts a run on a free worker, waiting for one."""
        place = self._free.get()
        try:
            with self._lock:
                worker = self._workers[place]
                if not worker.alive():
                    worker.close()
                    worker = self._workers[place] = self._new_worker(place)
            worker.ready()
            with self._lock:
                self._running.add(place)
            worker.send(Job(config, folder))
        except BaseException:
            self._release(place)
            raise
        return LocalRun(worker, lambda: self._release(place), on_step)

    def stop(self, *, save: bool) -> None:
        """Asks the running trials to stop."""
        with self._lock:
            for place in self._running:
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

    def _release(self, place: int) -> None:
        with self._lock:
            self._running.discard(place)
        self._free.put(place)

    def _new_worker(self, place: int) -> WorkerProcess:
        slot = self._slots[place]
        # The first worker alone says what all load is like.
        setup = replace(self._setup, threads=slot.threads, start_loss=self._setup.start_loss and place == 0)
        return WorkerProcess(slot, setup, Path(self._logs.name) / f"worker-{place}.log")


def _environment(slot: Slot) -> dict[str, str]:
    environment = dict(os.environ)
    # The order in which the driver's tool counts GPUs; CUDA's own puts the fastest first.
    environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, slot.gpus))
    if slot.threads:
        environment["OMP_NUM_THREADS"] = str(slot.threads)
    # A working folder on the module path could shadow an installed package.
    environment["PYTHONSAFEPATH"] = "1"
    return environment
