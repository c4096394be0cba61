"""A worker as the coordinator sees it, whatever started it: what it says is given to the job that it is about."""

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from sweep.errors import SweepError, WorkerDied
from trials.protocol import Answer, Arrived, Command, Failed, Job, Leaving, Message, Moved, Ready, Told
from trials.report import Report

# What does not close a job.
ONGOING = (Moved, Report)
# What is said of one job, and at last that its worker died.
Inbox = queue.SimpleQueue[Message | WorkerDied]


class Worker(ABC):
    """One worker. Whoever reads what it says hands it to `_take`, and calls `_lose` once it has ended."""

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._inboxes: dict[int, Inbox] = {}
        self._died: WorkerDied | None = None
        self._loaded = threading.Event()
        self._ready: Ready | SweepError | None = None
        self._when_loaded: Callable[[], None] | None = None
        self._leaving = self._refused = False
        self.arrived: Arrived | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """For people: what it is and where."""

    @abstractmethod
    def send(self, command: Command) -> None:
        """Sends a command; that a worker is dead is told to its jobs."""

    @abstractmethod
    def close(self) -> None:
        """Ends the worker, whatever it does, and waits until it is gone."""

    @property
    def loaded(self) -> bool:
        """Whether it is known that it can be given jobs, or that it cannot."""
        return self._loaded.is_set()

    @property
    def has_loaded(self) -> bool:
        """Whether model and data were loaded."""
        return isinstance(self._ready, Ready)

    @property
    def hopeless(self) -> bool:
        """Whether another one in its place would not load either: its end was its own and no cluster's doing."""
        return self._refused or (self._died is not None and not self._died.orderly and not self.has_loaded)

    @property
    def busy(self) -> bool:
        """Whether something is still to be said of a job."""
        return bool(self._inboxes)

    def alive(self) -> bool:
        """Whether it can be given jobs, now or once it has loaded."""
        return self._died is None and not self._leaving

    def ready(self) -> Ready:
        """Waits until model and data are loaded.

        Raises:
            SweepError: They cannot be.
        """
        self._loaded.wait()
        if isinstance(self._ready, Ready):
            return self._ready
        raise self._ready or SweepError(f"{self.name} said nothing")

    def when_loaded(self, call: Callable[[], None]) -> None:
        """Has a function called once `loaded` is true, and again when the worker has ended; it must not block."""
        self._when_loaded = call
        if self.loaded:
            call()

    def begin(self, job: Job) -> Inbox:
        """Gives the worker a job; what it says of it comes to the inbox."""
        inbox = Inbox()
        with self._reading:
            if self._died is not None:
                inbox.put(self._died)
                return inbox
            self._inboxes[job.number] = inbox
        self.send(job)
        return inbox

    def let_go(self) -> WorkerDied | None:
        """What is told of a trial that the worker saved since it is being taken away; None if it is not."""
        return WorkerDied(f"{self.name} is being taken away", orderly=True) if self._leaving else None

    def _take(self, answer: Answer) -> None:
        """Hands on what the worker says."""
        if isinstance(answer, Told):
            with self._reading:
                self._inboxes[answer.number].put(answer.message)
                if not isinstance(answer.message, ONGOING):
                    del self._inboxes[answer.number]
        elif isinstance(answer, Arrived):
            self.arrived = answer
        elif isinstance(answer, Leaving):
            self._leaving = True
            self._loads()
        else:
            self._refused = isinstance(answer, Failed)
            self._ready = _refusal(answer) if isinstance(answer, Failed) else answer
            self._loads()

    def _lose(self, died: WorkerDied) -> None:
        """Tells all its jobs that the worker has ended."""
        with self._reading:
            self._died = died
            for inbox in self._inboxes.values():
                inbox.put(died)
            self._inboxes.clear()
        if self._ready is None:
            self._ready = SweepError(f"{died}\n{died.detail}".rstrip())
        self._loads()

    def _loads(self) -> None:
        self._loaded.set()
        if self._when_loaded:
            self._when_loaded()


def _refusal(failed: Failed) -> SweepError:
    return SweepError(failed.message if failed.expected else f"{failed.message}\n{failed.detail}")
