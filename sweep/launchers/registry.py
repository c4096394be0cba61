"""Every way to start workers: its name, how it lays out slots, and how it starts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sweep.devices import Slot
from sweep.errors import SweepError
from sweep.launchers.base import Grounds, Launcher
from sweep.launchers.local import launch_local, local_slots
from sweep.launchers.ray import launch_ray, ray_slots
from sweep.launchers.slurm import launch_slurm, slurm_slots
from sweep.options import SweepOptions
from trials.protocol import WorkerSetup


@dataclass(frozen=True)
class Engine:
    """What starts workers.

    Attributes:
        slots: The places that a sweep's options ask for; raises `SweepError` when they cannot be had.
        launch: Starts a worker on each.
    """

    slots: Callable[[SweepOptions], list[Slot]]
    launch: Callable[[WorkerSetup, Sequence[Slot], SweepOptions, Grounds], Launcher]


LAUNCHERS = {
    "local": Engine(local_slots, launch_local),
    "ray": Engine(ray_slots, launch_ray),
    "slurm": Engine(slurm_slots, launch_slurm),
}


def find_launcher(name: str) -> Engine:
    """The launcher of that name.

    Raises:
        SweepError: There is none.
    """
    if name not in LAUNCHERS:
        raise SweepError(f"LAUNCHER is {name!r}; allowed: {', '.join(LAUNCHERS)}")
    return LAUNCHERS[name]
