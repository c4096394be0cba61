"""A worker as the coordinator sees it, whatever started it: what it says is given to the job that it is about."""

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from sweep.errors import SweepError, WorkerDied
from trials.failure import FailureClass
from trials.protocol import Answer, Arrived, Command, Failed, Job, Leaving, Limits, Message, Moved, Ready, Told
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
        self.died: WorkerDied | None = None
        self._settled = threading.Event()
        self._ready: Ready | SweepError | WorkerDied | None = None
        self._changed: Callable[[], None] = lambda: None
        self._learnt: Callable[[Limits], None] = lambda limits: None
        self._leaving = self._closing = False
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
        """Whether model and data were loaded."""
        return isinstance(self._ready, Ready)

    @property
    def refused(self) -> bool:
        """Whether it has said that they cannot be, which another one in its place would say too."""
        return isinstance(self._ready, SweepError)

    @property
    def busy(self) -> bool:
        """Whether something is still to be said of a job."""
        return bool(self._inboxes)

    def alive(self) -> bool:
        """Whether it can be given jobs, now or once it has loaded."""
        return self.died is None and not self._leaving

    def ready(self) -> Ready:
        """Waits until model and data are loaded.

        Raises:
            SweepError: They cannot be.
            WorkerDied: It ended before they were.
        """
        self._settled.wait()
        if isinstance(self._ready, Ready):
            return self._ready
        raise self._ready or SweepError(f"{self.name} said nothing")

    def watch(self, changed: Callable[[], None], learnt: Callable[[Limits], None]) -> None:
        """Has functions called in a thread of the worker's own, which must not wait for the worker.

        Args:
            changed: When it has loaded, or refuses to, and when it can be given no more jobs.
            learnt: Told what it learns of its device's room.
        """
        self._changed, self._learnt = changed, learnt
        if self._settled.is_set():
            changed()

    def begin(self, job: Job) -> Inbox:
        """Gives the worker a job; what it says of it comes to the inbox."""
        inbox = Inbox()
        with self._reading:
            if self.died is not None:
                inbox.put(self.died)
                return inbox
            self._inboxes[job.number] = inbox
        self.send(job)
        return inbox

    def let_go(self) -> WorkerDied | None:
        """What is told of a trial that the worker saved since it is being taken away; None if it is not."""
        if not self._leaving:
            return None
        return WorkerDied(f"{self.name} is being taken away", failure=FailureClass.PREEMPTED)

    def _take(self, answer: Answer) -> None:
        """Hands on what the worker says."""
        if isinstance(answer, Told):
            with self._reading:
                self._inboxes[answer.number].put(answer.message)
                if not isinstance(answer.message, ONGOING):
                    del self._inboxes[answer.number]
        elif isinstance(answer, Arrived):
            self.arrived = answer
        elif isinstance(answer, Limits):
            self._learnt(answer)
        elif isinstance(answer, Leaving):
            self._leaving = True
            self._changed()
        else:
            self._settle(_refusal(answer) if isinstance(answer, Failed) else answer)

    def _lose(self, died: WorkerDied) -> None:
        """Tells all its jobs that the worker has ended."""
        with self._reading:
            self.died = died
            for inbox in self._inboxes.values():
                inbox.put(died)
            self._inboxes.clear()
        self._settle(self._ready or died)

    def _settle(self, ready: Ready | SweepError | WorkerDied) -> None:
        self._ready = ready
        self._settled.set()
        self._changed()


def _refusal(failed: Failed) -> SweepError:
    return SweepError(failed.message if failed.expected else f"{failed.message}\n{failed.detail}")
