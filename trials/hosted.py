"""A worker in a process that a cluster's engine has started, on a machine that the engine chose. Imports no engine.

`HostedWorker` is for an engine that calls methods (Ray's actors), `serve_line` for one that runs a function to its end
(a batch job). Both do what `trials.worker` does over its pipe.
"""

import contextlib
import os
import queue
import signal
import socket
import threading
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from pathlib import Path

from trials.line import Line
from trials.protocol import Answer, Arrived, Command, Place
from trials.worker import Worker, quiet_libraries

# What batch systems send before they take a machine back: Slurm, ahead of a job's time limit and on preemption.
WARNINGS = ("SIGTERM", "SIGUSR1", "SIGUSR2")


def settle(place: Place, number: int) -> Arrived:
    """Makes this process a worker's, before torch is imported; what is told of it first."""
    # The order in which engines count GPUs; CUDA's own puts the fastest first.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    if not place.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if place.threads:
        os.environ["OMP_NUM_THREADS"] = str(place.threads)
    with contextlib.suppress(OSError):
        os.chdir(place.folder)
    quiet_libraries()
    return Arrived(number, socket.gethostname(), place.sign.exists())


class QueuedPipe:
    """Two queues in place of a pipe: what the coordinator said, and what the worker answers."""

    def __init__(self) -> None:
        self.commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()

    def recv(self) -> Command:
        """The next command."""
        return self.commands.get()

    def send(self, answer: Answer) -> None:
        """Says something."""
        self.answers.put(answer)


class HostedWorker:
    """A worker that is spoken to by method calls. Its process is the engine's, which also ends it."""

    def __init__(self, place: Place, number: int) -> None:
        """Settles in the process; `place` says how."""
        self._pipe = QueuedPipe()
        self._pipe.send(settle(place, number))

    def tell(self, command: Command) -> None:
        """Takes a command; the first is a `WorkerSetup`."""
        self._pipe.commands.put(command)

    def answers(self) -> Iterator[Answer]:
        """Does what it is told, and gives all that is answered until the worker ends. To be called once."""
        threading.Thread(target=self._serve, daemon=True).start()
        while (answer := self._pipe.answers.get()) is not None:
            yield answer

    def _serve(self) -> None:
        try:
            Worker(self._pipe).serve()
        finally:
            self._pipe.answers.put(None)


def serve_line(file: Path, place: Place, number: int) -> None:
    """Dials the coordinator that `file` tells of and works for it; returns when the worker is not wanted any more.

    A warning of the batch system has the jobs saved at their next evaluation.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the coordinator
    # Both are nobody's fault: a job may have waited longer than its sweep went on.
    with contextlib.suppress(OSError, AuthenticationError):
        pipe = Line.read(file).dial()
        worker = Worker(pipe)
        for name in WARNINGS:
            signal.signal(getattr(signal, name), lambda *_: worker.leave())
        pipe.send(settle(place, number))
        with contextlib.suppress(EOFError):
            worker.serve()
