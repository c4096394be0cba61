"""A worker process and this side of its pipe.

A worker is a fresh interpreter (`python -m trials.worker`) and not a fork, so that CUDA and thread settings are in
its environment before torch is imported, and nothing of the coordinator is in it.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from sweep.devices import Slot
from sweep.errors import WorkerDied
from sweep.launchers.worker import Worker
from trials.failure import class_of_death
from trials.protocol import Answer, Command, WorkerSetup

# Seconds that a worker has for ending by itself once its pipe is closed, before it is killed.
GRACE_SECONDS = 3.0
# Characters of a dead worker's log that are kept as the reason.
TAIL_CHARACTERS = 2000

# Variables that a worker has no use for, and that may name a database with its password.
SECRET = ("STORAGE", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE")


class WorkerProcess(Worker):
    """One worker, read in a thread of its own."""

    def __init__(self, slot: Slot, setup: WorkerSetup, log: Path) -> None:
        """Starts the process and sends it what to load; does not wait."""
        super().__init__()
        self._log = log
        self._sending = threading.Lock()
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
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def name(self) -> str:
        """The worker and its process."""
        return f"worker {self.pid}"

    def alive(self) -> bool:
        """Whether the process runs and can be spoken to."""
        return super().alive() and self._process.poll() is None

    def send(self, command: Command) -> None:
        """Sends a command; that a worker is dead is told to its jobs."""
        with self._sending, contextlib.suppress(OSError):
            self._pipe.send(command)

    def close(self, grace: float = GRACE_SECONDS) -> None:
        """Closes the pipe, which ends the worker; kills it when it is not gone after `grace` seconds."""
        self._closing = True
        hang_up(self._pipe)
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if threading.current_thread() is not self._reader:
            self._reader.join(grace)
        self._pipe.close()

    def _read(self) -> None:
        """Hands on what the worker says until it has ended."""
        while True:
            try:
                answer: Answer = self._pipe.recv()
            except (EOFError, OSError):
                break
            self._take(answer)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)
        status = self._process.poll()
        orderly = status == 0 or self._closing
        self._lose(WorkerDied(self._how_it_ended(), self._tail(), orderly=orderly, failure=class_of_death(status)))

    def _how_it_ended(self) -> str:
        code = self._process.poll()
        if code is None:
            return f"{self.name} closed its pipe"
        if code == 0:
            return f"{self.name} ended, as another of its trials broke"
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"{self.name} died ({how}{', perhaps out of memory' if code == -9 else ''})"

    def _tail(self) -> str:
        with contextlib.suppress(OSError):
            return self._log.read_text(encoding="utf8", errors="replace")[-TAIL_CHARACTERS:].strip()
        return ""


def hang_up(pipe: Connection) -> None:
    """Ends a connection for both sides and for whoever reads it here: closing alone would leave a reader waiting."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(pipe.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def _environment(slot: Slot) -> dict[str, str]:
    # Workers never see the database, nor what may hold its password: make passes its variables on in MAKEFLAGS.
    environment = {name: value for name, value in os.environ.items() if name not in SECRET}
    # The order in which the driver's tool counts GPUs; CUDA's own puts the fastest first.
    environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, slot.gpus))
    if slot.threads:
        environment["OMP_NUM_THREADS"] = str(slot.threads)
    # A working folder on the module path could shadow an installed package.
    environment["PYTHONSAFEPATH"] = "1"
    return environment
