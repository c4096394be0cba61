"""Runs trials on this machine: one long-lived worker process a slot."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from sweep.devices import Slot, list_gpus, plan_slots
from sweep.errors import SweepError
from sweep.launchers.base import Grounds
from sweep.launchers.engine import read_settings
from sweep.launchers.pool import WorkerPool
from sweep.launchers.worker import Worker
from sweep.launchers.worker_process import WorkerProcess
from sweep.options import SweepOptions
from trials.protocol import WorkerSetup


class LocalLauncher(WorkerPool):
    """Keeps a worker process a slot."""

    def __init__(self, setup: WorkerSetup, slots: Sequence[Slot]) -> None:
        """Starts every worker."""
        # What workers print is read only when one dies, and its end then kept with the trial.
        self._logs = TemporaryDirectory(prefix="lora-sweep-")
        super().__init__(setup, slots)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in self._workers if isinstance(worker, WorkerProcess)]

    def close(self) -> None:
        """Ends every worker."""
        super().close()
        self._logs.cleanup()

    def _hire(self, number: int, slot: Slot, setup: WorkerSetup) -> Worker:
        return WorkerProcess(slot, setup, Path(self._logs.name) / f"worker-{number}.log")


def local_slots(options: SweepOptions) -> list[Slot]:
    """The slots that are asked for, on this machine's devices.

    Raises:
        SweepError: They cannot be had.
    """
    if options.workers is not None:
        raise SweepError(
            f"WORKERS is {options.workers}, but LAUNCHER=local keeps a worker a device; allowed: GPUS and "
            "TRIALS_PER_GPU, or LAUNCHER=ray or slurm"
        )
    read_settings("local", options.launcher_options, {})
    return plan_slots(
        options.gpus,
        options.gpus_per_trial,
        options.trials_per_gpu,
        present=list_gpus(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        free_bytes=psutil.virtual_memory().available,
        threads=asked_threads(),
    )


def asked_threads() -> int | None:
    """The threads of a process that the user's environment allows, by the variable that all such programs heed."""
    word = os.environ.get("OMP_NUM_THREADS", "")
    return int(word) if word.isdecimal() and int(word) > 0 else None


def launch_local(setup: WorkerSetup, slots: Sequence[Slot], _options: SweepOptions, _grounds: Grounds) -> LocalLauncher:
    """Starts the workers."""
    return LocalLauncher(setup, slots)
