"""Runs trials as Slurm jobs, through submitit: a worker is a job, which calls the coordinator over the network.

A job that is preempted, or reaches its time limit, saves its trials at their next evaluation, and another job goes on
with them. Jobs end when the coordinator does, and are cancelled when the sweep ends.
"""

import contextlib
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from sweep.devices import Slot
from sweep.errors import SweepError, WorkerDied
from sweep.launchers.base import Grounds
from sweep.launchers.engine import Heard, Premises, engine_slots, needed, read_settings, whole
from sweep.launchers.pool import WorkerPool
from sweep.launchers.switchboard import Switchboard
from sweep.launchers.worker import Worker
from sweep.launchers.worker_process import hang_up
from sweep.options import SweepOptions
from trials.failure import FailureClass
from trials.hosted import serve_line
from trials.protocol import Answer, Arrived, Command, Place, WorkerSetup

CLUSTERS = ("slurm", "local")
# A job's own options with their defaults; those that are empty are left to Slurm. `notice` is the seconds before a
# job's time limit at which its trials are told to save; `host` the address at which its workers call.
SETTINGS = {
    "cluster": "slurm",
    "partition": "",
    "time": "04:00:00",
    "cpus": "2",
    "mem": "",
    "account": "",
    "qos": "",
    "constraint": "",
    "notice": "120",
    "host": "",
}
# Those that sbatch takes as they are.
PASSED_ON = ("partition", "mem", "account", "qos", "constraint")
# Slurm's words for a job that ended through no doing of its own.
TAKEN_AWAY = ("PREEMPTED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "CANCELLED", "REQUEUED", "DEADLINE")
# Seconds between two looks at a job that has not called yet; at one that has hung up; and for which that may still seem
# to run.
PENDING_SECONDS, LOOK_SECONDS, GRACE_SECONDS = 3.0, 1.0, 10.0
# Characters of a dead worker's log that are kept as the reason.
TAIL_CHARACTERS = 2000


class SlurmWorker(Worker):
    """A job, and from when it calls on this side of its connection."""

    def __init__(self, job: Any, setup: WorkerSetup, heard: Heard, *, here: bool) -> None:
        """Waits, in a thread of its own, for the job's call; `here` says that it is a process of this machine."""
        super().__init__()
        self._job, self._heard, self._here = job, heard, here
        self._sending = threading.Lock()
        self._unsent: list[Command] = [setup]
        self._pipe: Connection | None = None
        self._called = threading.Event()
        self._reader = threading.Thread(target=self._read, name=self.name, daemon=True)
        self._reader.start()

    @property
    def name(self) -> str:
        """The job and its machine."""
        return f"job {self._job.job_id}" + (f" on {self.arrived.machine}" if self.arrived else "")

    def answered(self, arrived: Arrived, pipe: Connection) -> bool:
        """Takes the job's call; False for a second one."""
        with self._sending:
            if self._pipe is not None or self._closing:
                return False
            self._pipe = pipe
            self._take(arrived)
            with contextlib.suppress(OSError):
                for command in self._unsent:
                    pipe.send(command)
        self._called.set()
        self._heard(arrived)
        return True

    def send(self, command: Command) -> None:
        """Sends a command, or keeps it until the job has called."""
        with self._sending, contextlib.suppress(OSError):
            if self._pipe is None:
                self._unsent.append(command)
            else:
                self._pipe.send(command)

    def close(self) -> None:
        """Hangs up, which ends the worker, and cancels the job."""
        with self._sending:
            self._closing = True
        if self._pipe is not None:
            hang_up(self._pipe)
        if not (self._here and self._pipe is not None and self._gone()):
            self._job.cancel(check=False)
        if self._here:
            self._gone()
        self._called.set()
        if threading.current_thread() is not self._reader:
            self._reader.join(GRACE_SECONDS)

    def _gone(self) -> bool:
        """Whether the job has ended; waits a little."""
        deadline = time.monotonic() + GRACE_SECONDS
        while not (gone := bool(self._job.done())) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS / 20)
        return gone

    def _read(self) -> None:
        while not self._called.wait(PENDING_SECONDS):
            if self._job.done():
                break
        if self._pipe is not None:
            with contextlib.suppress(EOFError, OSError):
                while True:
                    answer: Answer = self._pipe.recv()
                    self._take(answer)
        state = self._end_state()
        taken = self._leaving or state in TAKEN_AWAY
        failure = FailureClass.PREEMPTED if taken else FailureClass.UNKNOWN
        orderly = self._closing or (not taken and self._returned())
        how = f"{self.name} {_ended(state, self._leaving)}"
        self._lose(WorkerDied(how, self._tail(), orderly=orderly, failure=failure))
        if self._pipe is not None:
            self._pipe.close()

    def _end_state(self) -> str:
        """How the batch system says that the job ended; waits a little until it knows."""
        deadline = time.monotonic() + GRACE_SECONDS
        while not self._closing:
            state = str(self._job.get_info(mode="force").get("State", "")).split(" ")[0].upper()
            if state in TAKEN_AWAY or self._job.done() or time.monotonic() > deadline:
                return state
            time.sleep(LOOK_SECONDS)
        return ""

    def _returned(self) -> bool:
        """Whether the worker came to its end, as it does when another of its trials broke."""
        return bool(self._job.paths.result_pickle.exists()) and self._job.exception() is None

    def _tail(self) -> str:
        words = [self._job.stdout(), self._job.stderr()]
        return "\n".join(word.strip() for word in words if word)[-TAIL_CHARACTERS:]


def _ended(state: str, leaving: bool) -> str:
    if leaving or state in TAKEN_AWAY:
        return f"was taken away ({state.lower().replace('_', ' ')})" if state in TAKEN_AWAY else "was taken away"
    return f"ended ({state.lower().replace('_', ' ')})" if state else "ended"


class SlurmLauncher(WorkerPool):
    """Keeps a job a slot."""

    def __init__(
        self, submitit: Any, settings: Mapping[str, str], setup: WorkerSetup, slots: Sequence[Slot], grounds: Grounds
    ) -> None:
        """Submits every job."""
        self._submitit, self._cluster = submitit, settings["cluster"]
        self._premises = Premises(grounds)
        self._line = self._premises.folder / "line.json"
        self._jobs: dict[int, SlurmWorker] = {}
        try:
            self._executor = submitit.AutoExecutor(folder=self._premises.folder, cluster=self._cluster)
            self._executor.update_parameters(**job_parameters(settings, len(slots[0].gpus)))
            self._switchboard = Switchboard(host(settings), self._line, self._answered)
        except BaseException:
            self._premises.close()
            raise
        try:
            super().__init__(setup, slots)
        except BaseException:
            for worker in self._jobs.values():
                worker.close()
            self._shut()
            raise

    def close(self) -> None:
        """Cancels every job."""
        super().close()
        self._shut()

    def _shut(self) -> None:
        self._switchboard.close()
        self._premises.close()

    def _answered(self, arrived: Arrived, connection: Connection) -> bool:
        # One that calls before its submission has returned waits for it.
        with self._turn:
            worker = self._jobs.get(arrived.number)
        return worker is not None and worker.answered(arrived, connection)

    def _hire(self, number: int, slot: Slot, setup: WorkerSetup) -> Worker:
        with self._turn:
            job = self._submit(number, self._premises.place(slot))
            worker = SlurmWorker(job, setup, self._premises.arrived, here=self._cluster == "local")
            self._jobs[number] = worker
        return worker

    def _submit(self, number: int, place: Place) -> Any:
        # A sweep that is itself a job must not hand that job's settings on.
        inside = self._cluster == "slurm" and "SLURM_JOB_ID" in os.environ
        clean = self._submitit.helpers.clean_env() if inside else contextlib.nullcontext()
        try:
            with clean:
                return self._executor.submit(serve_line, self._line, place, number)
        except (RuntimeError, OSError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise SweepError(f"Slurm did not take the job of a worker: {lines[-1]}") from error


def slurm_slots(options: SweepOptions) -> list[Slot]:
    """As many jobs as were asked for.

    Raises:
        SweepError: What is asked for cannot be.
    """
    settings = read_settings("slurm", options.launcher_options, SETTINGS)
    needed("submitit", "slurm", "submitit")
    if settings["cluster"] not in CLUSTERS:
        raise SweepError(
            f"LAUNCHER_OPTIONS has cluster={settings['cluster']}; allowed: {', '.join(CLUSTERS)} (jobs on this machine)"
        )
    if settings["cluster"] == "slurm" and shutil.which("sbatch") is None:
        raise SweepError("LAUNCHER=slurm needs Slurm's sbatch, which this machine does not have")
    if options.workers is None:
        raise SweepError("LAUNCHER=slurm needs WORKERS=n: how many jobs to keep, one a worker")
    gpus = options.gpus.strip().lower()
    if gpus not in ("", "cpu"):
        raise SweepError(
            f"GPUS is {options.gpus!r}, but Slurm chooses the GPUs; allowed with LAUNCHER=slurm: cpu, or "
            "GPUS_PER_TRIAL=n"
        )
    if gpus == "cpu" and options.gpus_per_trial > 1:
        raise SweepError(f"GPUS_PER_TRIAL is {options.gpus_per_trial}, but this sweep runs on the CPU")
    job_parameters(settings, 0)  # says what is wrong with them
    each = 0 if gpus == "cpu" else options.gpus_per_trial
    return engine_slots(options, gpus=each, threads=whole(settings, "cpus"), machines=range(options.workers))


def job_parameters(settings: Mapping[str, str], gpus: int) -> dict[str, Any]:
    """What submitit is told of every job."""
    return {
        "name": "lora-sweep",
        "timeout_min": minutes(settings["time"]),
        "cpus_per_task": whole(settings, "cpus"),
        **({"gpus_per_node": gpus} if gpus else {}),
        **{f"slurm_{name}": settings[name] for name in PASSED_ON if settings[name]},
        "slurm_signal_delay_s": whole(settings, "notice"),
        # Another job takes its place; the same one again would find that nobody waits for it.
        "slurm_additional_parameters": {"no-requeue": True},
    }


def minutes(word: str) -> int:
    """A time limit as Slurm writes it, in whole minutes: minutes, or hours:minutes:seconds, with days- before.

    Raises:
        SweepError: It is no time.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+)(?::(\d+))?)?", word)
    if found is None:
        raise SweepError(f"LAUNCHER_OPTIONS has time={word}; allowed: minutes, hours:minutes:seconds, days-hours")
    days, first, second, third = (int(part) if part else 0 for part in found.groups())
    if found[1] or found[4]:
        seconds = 3600 * first + 60 * second + third
    else:
        seconds = 60 * first + second
    whole_minutes = -(-(86400 * days + seconds) // 60)
    if whole_minutes < 1:
        raise SweepError(f"LAUNCHER_OPTIONS has time={word}; allowed: a minute or more")
    return whole_minutes


def host(settings: Mapping[str, str]) -> str:
    """The address of this machine that jobs call.

    Raises:
        SweepError: Its name stands for an address that no other machine reaches.
    """
    if settings["host"]:
        return settings["host"]
    if settings["cluster"] == "local":
        return "127.0.0.1"
    name = socket.getfqdn()
    try:
        address = socket.gethostbyname(name)
    except OSError:
        address = ""
    if not address or address.startswith("127."):
        stands = f"stands for {address}" if address else "is not known"
        raise SweepError(
            f"this machine's name {name} {stands}, which workers cannot call; say LAUNCHER_OPTIONS=host=ADDRESS, with "
            "its address in the cluster's network"
        )
    return address


def launch_slurm(setup: WorkerSetup, slots: Sequence[Slot], options: SweepOptions, grounds: Grounds) -> SlurmLauncher:
    """Submits the jobs."""
    # A working folder on the module path could shadow an installed package.
    os.environ["PYTHONSAFEPATH"] = "1"
    settings = read_settings("slurm", options.launcher_options, SETTINGS)
    return SlurmLauncher(needed("submitit", "slurm", "submitit"), settings, setup, slots, grounds)
