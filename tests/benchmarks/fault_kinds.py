"""The faults that a sweep has to live through. To add one: a function here, and a line in `FAULTS`.

A fault is done to a sweep that runs, at whatever it is doing, and returns when it is over; it may leave the coordinator
dead. The sweep is then started again by the same line.
"""

import contextlib
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import psutil

from tests.benchmarks.faulty_sweep import FaultySweep
from tests.injection import BROKEN, FULL, NAN, OUT_OF_MEMORY

Fault = Callable[[FaultySweep, random.Random], None]

# Longer than the coordinator waits for a worker that it ends.
STOPPED_SECONDS = 4.0
LOCKED_SECONDS = 5.0


def _send(process: psutil.Process, number: int) -> None:
    """A signal to a process that may have ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _one_worker(sweep: FaultySweep, chance: random.Random, number: int) -> None:
    workers = sweep.workers()
    if workers:
        _send(chance.choice(workers), number)


def kill_worker(sweep: FaultySweep, chance: random.Random) -> None:
    """kill -9 of a worker."""
    _one_worker(sweep, chance, signal.SIGKILL)


def crash_worker(sweep: FaultySweep, chance: random.Random) -> None:
    """A worker that ends itself by a fault in its memory."""
    _one_worker(sweep, chance, signal.SIGSEGV)


def kill_coordinator(sweep: FaultySweep, chance: random.Random) -> None:
    """kill -9 of the coordinator."""
    _send(sweep.coordinator, signal.SIGKILL)
    sweep.wait_ended()


def machine_dies(sweep: FaultySweep, chance: random.Random) -> None:
    """Coordinator and workers are gone at once."""
    processes = [sweep.coordinator, *sweep.workers()]
    chance.shuffle(processes)
    for process in processes:
        _send(process, signal.SIGKILL)
    sweep.wait_ended()


def interrupt(sweep: FaultySweep, chance: random.Random) -> None:
    """Ctrl-C."""
    _send(sweep.coordinator, signal.SIGINT)
    sweep.wait_ended()


def interrupt_twice(sweep: FaultySweep, chance: random.Random) -> None:
    """Ctrl-C, and again within a second."""
    _send(sweep.coordinator, signal.SIGINT)
    time.sleep(chance.uniform(0, 1))
    if sweep.alive:
        _send(sweep.coordinator, signal.SIGINT)
    sweep.wait_ended()


def terminate(sweep: FaultySweep, chance: random.Random) -> None:
    """SIGTERM, as from a scheduler."""
    _send(sweep.coordinator, signal.SIGTERM)
    sweep.wait_ended()


def stop_worker(sweep: FaultySweep, chance: random.Random) -> None:
    """A worker that stands still for a while."""
    workers = sweep.workers()
    for number, pause in ((signal.SIGSTOP, STOPPED_SECONDS), (signal.SIGCONT, 0.0)):
        for worker in workers:
            _send(worker, number)
        time.sleep(pause)


def stop_coordinator(sweep: FaultySweep, chance: random.Random) -> None:
    """A coordinator that stands still while its workers go on."""
    _send(sweep.coordinator, signal.SIGSTOP)
    time.sleep(STOPPED_SECONDS)
    _send(sweep.coordinator, signal.SIGCONT)


def interrupt_beside_a_stopped_worker(sweep: FaultySweep, chance: random.Random) -> None:
    """Ctrl-C, which waits for a worker that stands still; again, which does not."""
    for worker in sweep.workers():
        _send(worker, signal.SIGSTOP)
    interrupt_twice(sweep, chance)


def out_of_memory(sweep: FaultySweep, chance: random.Random) -> None:
    """A worker's next pass finds no memory."""
    _one_worker(sweep, chance, OUT_OF_MEMORY)


def broken_pass(sweep: FaultySweep, chance: random.Random) -> None:
    """A worker's next pass raises what nobody foresaw."""
    _one_worker(sweep, chance, BROKEN)


def not_a_number(sweep: FaultySweep, chance: random.Random) -> None:
    """A worker's next loss is NaN."""
    _one_worker(sweep, chance, NAN)


def full_disk(sweep: FaultySweep, chance: random.Random) -> None:
    """A worker's next pass finds the disk full: the sweep ends by itself."""
    _one_worker(sweep, chance, FULL)


def locked_database(sweep: FaultySweep, chance: random.Random) -> None:
    """Somebody else writes in the database for some seconds."""
    if not sweep.database.exists():
        return
    with closing(sqlite3.connect(sweep.database, timeout=60)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(LOCKED_SECONDS)
        connection.rollback()


FAULTS: dict[str, Fault] = {
    "worker kill -9": kill_worker,
    "worker crashes (SIGSEGV)": crash_worker,
    "coordinator kill -9": kill_coordinator,
    "machine dies (both kill -9)": machine_dies,
    "Ctrl-C": interrupt,
    "Ctrl-C twice": interrupt_twice,
    "SIGTERM": terminate,
    "workers stopped 4 s, continued": stop_worker,
    "coordinator stopped 4 s, continued": stop_coordinator,
    "Ctrl-C twice, workers stopped": interrupt_beside_a_stopped_worker,
    "out of memory in a pass": out_of_memory,
    "unknown error in a pass": broken_pass,
    "NaN in a pass": not_a_number,
    "database locked 5 s": locked_database,
}
