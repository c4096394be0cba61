"""Runs trials on a Ray cluster: a worker is an actor, and Ray decides where it runs and says when its node is lost.

The cluster is the one that RAY_ADDRESS names, else one that runs on this machine, else one that is started here for as
long as the sweep runs, on loopback.
"""

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from sweep.devices import CPU_WORKER_BYTES, MOST_CPU_WORKERS, Slot
from sweep.errors import SweepError, WorkerDied
from sweep.launchers.base import Grounds
from sweep.launchers.engine import Heard, Premises, engine_slots, needed, read_settings, whole
from sweep.launchers.pool import WorkerPool
from sweep.launchers.worker import Worker
from sweep.options import SweepOptions
from trials.failure import FailureClass
from trials.hosted import HostedWorker
from trials.protocol import Answer, Command, Place, WorkerSetup

# Of the cluster that is started here: nothing but a worker's words goes through it. Ray's least.
STORE_BYTES = 80 << 20
# What each worker may be given by its own options; CPU cores.
SETTINGS = {"cpus": "1"}
# How Ray calls the two sides of a worker; each side's calls keep their order.
TELLING, ANSWERING = "telling", "answering"
# Seconds that a worker has for being gone once it is killed.
GRACE_SECONDS = 10.0
# Seconds in which Ray learns what has become of an actor that cannot be reached, since it looks after its nodes; and
# between two questions.
CERTAIN_SECONDS, ASK_SECONDS = 60.0, 1.0


class RayWorker(Worker):
    """An actor."""

    def __init__(self, ray: Any, number: int, slot: Slot, setup: WorkerSetup, place: Place, heard: Heard) -> None:
        """Asks Ray for the actor; does not wait."""
        super().__init__()
        self._ray, self._number, self._heard = ray, number, heard
        hosted = ray.remote(
            num_gpus=len(slot.gpus),
            num_cpus=slot.threads,
            max_restarts=0,
            concurrency_groups={TELLING: 1, ANSWERING: 1},
        )(HostedWorker)
        self._actor = hosted.remote(place, number)
        self._answers = self._actor.answers.options(num_returns="streaming", concurrency_group=ANSWERING).remote()
        self.send(setup)
        self._reader = threading.Thread(target=self._read, name=f"ray worker {number}", daemon=True)
        self._reader.start()

    @property
    def name(self) -> str:
        """The worker and its node."""
        return f"ray worker {self._number}" + (f" on {self.arrived.machine}" if self.arrived else "")

    def send(self, command: Command) -> None:
        """Sends a command."""
        # Of an actor that is dead, whose reader says so.
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._actor.tell.options(concurrency_group=TELLING).remote(command)

    def close(self) -> None:
        """Has Ray kill the actor."""
        self._closing = True
        self._ray.kill(self._actor)
        if threading.current_thread() is not self._reader:
            self._reader.join(GRACE_SECONDS)

    def _read(self) -> None:
        died = WorkerDied(f"{self.name} ended, as another of its trials broke", orderly=True)
        try:
            for reference in self._answers:
                answer: Answer = self._ray.get(reference)
                self._take(answer)
                if self.arrived is answer:
                    self._heard(self.arrived)
        except self._ray.exceptions.RayError as error:
            died = self._death(self._certain(error))
        self._lose(died)

    def _certain(self, error: Exception) -> Exception:
        """Ray's last word: of an actor on a node that is gone it first says that it cannot be reached for now."""
        deadline = time.monotonic() + CERTAIN_SECONDS
        unreachable = isinstance(error, self._ray.exceptions.ActorUnavailableError)
        while unreachable and not self._closing and time.monotonic() < deadline:
            try:
                self._ray.get(self._actor.__ray_ready__.remote(), timeout=GRACE_SECONDS)
            except self._ray.exceptions.ActorDiedError as died:
                return died  # type: ignore[no-any-return]
            except self._ray.exceptions.RayError:
                pass
            time.sleep(ASK_SECONDS)
        return error

    def _death(self, error: Exception) -> WorkerDied:
        """What is told of an actor that Ray has lost; where its node is gone, or took it back, Ray says so."""
        text = str(error)
        why = next((line for line in text.splitlines() if "because" in line), text.splitlines()[0] if text else "")
        failure = FailureClass.PREEMPTED if "node" in why else FailureClass.UNKNOWN
        how = f"{self.name} died ({why.strip().rstrip('.')})"
        return WorkerDied(how, text, orderly=self._closing, failure=failure)


class RayLauncher(WorkerPool):
    """Keeps an actor a slot."""

    def __init__(self, ray: Any, setup: WorkerSetup, slots: Sequence[Slot], grounds: Grounds) -> None:
        """Asks for every actor."""
        self._ray, self._premises = ray, Premises(grounds)
        super().__init__(setup, slots)

    def close(self) -> None:
        """Kills every actor and leaves the cluster; one that was started here ends."""
        super().close()
        self._ray.shutdown()
        self._premises.close()

    def _hire(self, number: int, slot: Slot, setup: WorkerSetup) -> Worker:
        place = self._premises.place(slot)
        return RayWorker(self._ray, number, slot, setup, place, self._premises.arrived)


def ray_slots(options: SweepOptions) -> list[Slot]:
    """As many workers as the cluster has room for, or as were asked for. Connects to the cluster.

    Raises:
        SweepError: There is no such cluster, or what is asked of it cannot be.
    """
    settings = read_settings("ray", options.launcher_options, SETTINGS)
    cpus, gpus = whole(settings, "cpus"), options.gpus.strip().lower()
    if gpus not in ("", "cpu"):
        raise SweepError(
            f"GPUS is {options.gpus!r}, but Ray chooses the GPUs; allowed with LAUNCHER=ray: cpu, or WORKERS=n and "
            "GPUS_PER_TRIAL=n"
        )
    nodes = [node["Resources"] for node in connect().nodes() if node["Alive"]]
    if gpus == "cpu" or not any(node.get("GPU") for node in nodes):
        return _cpu_slots(options, nodes, cpus)
    each = options.gpus_per_trial
    room = sum(int(node.get("GPU", 0)) // each for node in nodes)
    if not room:
        most = max(int(node.get("GPU", 0)) for node in nodes)
        raise SweepError(f"GPUS_PER_TRIAL is {each}, but no node of the Ray cluster has more than {most} GPUs")
    return engine_slots(options, gpus=each, threads=cpus, machines=range(options.workers or room))


def _cpu_slots(options: SweepOptions, nodes: Sequence[dict[str, float]], cpus: int) -> list[Slot]:
    if options.gpus_per_trial > 1:
        raise SweepError(f"GPUS_PER_TRIAL is {options.gpus_per_trial}, but this sweep runs on the CPU")
    machines: list[int] = []
    for number, node in enumerate(nodes):
        cores, memory = int(node.get("CPU", 0)) // cpus, int(node.get("memory", 0)) // CPU_WORKER_BYTES
        machines += [number] * min(cores, MOST_CPU_WORKERS, max(1, memory))
    if options.workers is not None:
        machines = [machines[index % len(machines)] if machines else 0 for index in range(options.workers)]
    if not machines:
        raise SweepError(
            f"no node of the Ray cluster has {cpus} CPU core{'s' if cpus > 1 else ''} for a worker; WORKERS=n waits "
            "for one that has"
        )
    return engine_slots(options, gpus=0, threads=cpus, machines=machines)


def connect() -> Any:
    """Ray, connected with a cluster.

    Raises:
        SweepError: RAY_ADDRESS names none.
    """
    # Whoever sweeps has not agreed to tell anybody.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = needed("ray", "ray", "Ray")
    if ray.is_initialized():
        return ray
    address = os.environ.get("RAY_ADDRESS", "")
    if address.startswith("ray://"):
        raise SweepError(
            f"RAY_ADDRESS is {address}, which is Ray's client; allowed: host:port, auto or local, with the sweep on a "
            "machine of the cluster"
        )
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":  # Ray's word for a cluster of one's own
        _start_here(ray, quiet)
        return ray
    try:
        ray.init(address=address or "auto", **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        if address:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SweepError(f"no Ray cluster answers at RAY_ADDRESS {address}: {reason}") from error
        _start_here(ray, quiet)
    return ray


def _start_here(ray: Any, quiet: dict[str, Any]) -> None:
    """Starts a cluster of this machine alone, which listens on loopback: Ray's way of doing so on a desktop.

    Raises:
        SweepError: Ray does not start.
    """
    from ray._private import ray_constants

    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # for Ray's own processes
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ.setdefault("RAY_worker_niceness", "0")  # else they give way to all else on the machine
    try:
        ray.init(address="local", include_dashboard=False, object_store_memory=STORE_BYTES, **quiet)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SweepError(f"Ray does not start on this machine: {reason}") from error


def launch_ray(setup: WorkerSetup, slots: Sequence[Slot], _options: SweepOptions, grounds: Grounds) -> RayLauncher:
    """Starts the workers on the cluster that `ray_slots` has connected to."""
    return RayLauncher(connect(), setup, slots, grounds)
