"""What every launcher and every run of one can do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trials.config import TrialConfig
from trials.protocol import Finished, Limits, Moved, Ready
from trials.report import Report


@dataclass(frozen=True)
class Grounds:
    """What a launcher may use that starts workers on other machines.

    Attributes:
        folder: The study's, on this machine.
        tell: Says something to the user.
    """

    folder: Path
    tell: Callable[[str], None]


class Run(Protocol):
    """A trial that is running somewhere.

    Iterating gives its reports, those from before a resume first. The iterator ends when the run does, and then
    `finished` says how; it raises `TrialFailed` or `WorkerDied` when the run broke, and `TrialInterrupted` when
    it was saved.
    """

    finished: Finished | None

    def __iter__(self) -> Iterator[Report]:
        """The run's reports."""
        ...

    def close(self) -> None:
        """Stops the training at once and frees the place; does nothing when the run is over."""
        ...


class Launcher(Protocol):
    """Starts runs on places of its own."""

    @property
    def slots(self) -> int:
        """Runs that can go on at once."""
        ...

    def ready(self) -> Ready:
        """Waits until the first place has loaded model and data; what they are.

        Raises:
            SweepError: They cannot be loaded.
        """
        ...

    def widen(self, trials: int) -> None:
        """Lets every place do so many trials at once, where it does fewer."""
        ...

    @property
    def limits(self) -> Limits:
        """What the workers have learnt of their devices' room."""
        ...

    def narrow(self, limits: Limits) -> None:
        """Lets no worker try what is known not to fit; also those that are started later."""
        ...

    def start(self, config: TrialConfig, folder: Path, on_step: Callable[[Moved], None]) -> Run:
        """Starts a run in `folder`, waiting for a free place if need be.

        Raises:
            SweepError: A place cannot load model and data, or not those that the first one did.
            TrialInterrupted: It was told to stop.
        """
        ...

    def stop(self, *, save: bool) -> None:
        """Asks all running trials to stop: at their next evaluation with a checkpoint if `save`, else now.

        None begins any more.
        """
        ...

    def close(self) -> None:
        """Ends every worker."""
        ...
