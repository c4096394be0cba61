"""What the launchers share that have an engine start their workers on other machines."""

import importlib
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from sweep.devices import Slot, asked_trials
from sweep.errors import SweepError
from sweep.launchers.base import Grounds
from sweep.options import SweepOptions
from trials.protocol import Arrived, Place


def needed(module: str, launcher: str, what: str) -> ModuleType:
    """Imports an extra's module.

    Raises:
        SweepError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module:
            raise
        raise SweepError(
            f"LAUNCHER={launcher} needs {what}, which is not installed: pip install 'lora-sweep[{launcher}]'"
        ) from error


def read_settings(launcher: str, options: Sequence[str], allowed: Mapping[str, str]) -> dict[str, str]:
    """The values of a launcher's own options, each given like `partition=gpu`.

    Args:
        launcher: Its name.
        options: What was given.
        allowed: Every name there is, with its default.

    Raises:
        SweepError: One is none of them.
    """
    settings = dict(allowed)
    for option in options:
        name, sign, value = (part.strip() for part in option.partition("="))
        if not sign or not value or name not in allowed:
            these = ", ".join(f"{each}=…" for each in allowed)
            raise SweepError(f"LAUNCHER_OPTIONS has {option!r}; allowed with LAUNCHER={launcher}: {these or 'none'}")
        settings[name] = value
    return settings


def whole(settings: Mapping[str, str], name: str) -> int:
    """A setting that is a number of at least 1.

    Raises:
        SweepError: It is not.
    """
    word = settings[name]
    if not word.isdecimal() or int(word) < 1:
        raise SweepError(f"LAUNCHER_OPTIONS has {name}={word}; allowed: a whole number of at least 1")
    return int(word)


def engine_slots(options: SweepOptions, *, gpus: int, threads: int, machines: Sequence[int]) -> list[Slot]:
    """A slot for each worker that an engine is to start.

    Args:
        options: What is asked for.
        gpus: GPUs of each; 0 for the CPU.
        threads: CPU threads of each.
        machines: For each worker a number that those share which may sit on one machine.
    """
    trials = asked_trials(options.trials_per_gpu) or 1
    return [Slot(tuple(range(gpus)), threads, trials, options.launcher, machine) for machine in machines]


class Premises:
    """What the workers of one sweep on other machines share with it: a folder of the study, for as long as it runs.

    Attributes:
        folder: For files that only their owner reads.
        sign: A file that machines show which share the folder.
    """

    def __init__(self, grounds: Grounds) -> None:
        """Makes the folder.

        Raises:
            SweepError: It cannot be written.
        """
        self._study, self._tell = grounds.folder, grounds.tell
        self._told: set[str] = set()
        self._telling = threading.Lock()
        try:
            grounds.folder.mkdir(parents=True, exist_ok=True)
            self._made = TemporaryDirectory(prefix="workers-", dir=grounds.folder, ignore_cleanup_errors=True)
            self.folder = Path(self._made.name)
            self.sign = self.folder / secrets.token_hex(8)
            self.sign.touch()
        except OSError as error:
            raise SweepError(f"OUTPUT cannot be written: {error.strerror} ({grounds.folder})") from error

    def place(self, slot: Slot) -> Place:
        """What a worker is told of where it runs."""
        return Place(Path.cwd(), self.sign, len(slot.gpus), slot.threads)

    def arrived(self, worker: Arrived) -> None:
        """Says, once a machine, what a worker's machine lacks."""
        with self._telling:
            if worker.shares or worker.machine in self._told:
                return
            self._told.add(worker.machine)
        self._tell(
            f"OUTPUT ({self._study.parent}) is not shared with {worker.machine}: adapters made there stay there, and a "
            "trial whose worker is lost begins again; OUTPUT must be a folder that all machines see"
        )

    def close(self) -> None:
        """Deletes the folder, and what was made for it if there is nothing else in it."""
        self._made.cleanup()
        with suppress(OSError):
            self._study.rmdir()
            self._study.parent.rmdir()


Heard = Callable[[Arrived], None]
