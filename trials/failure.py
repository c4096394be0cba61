"""The classes of what can go wrong with a trial, and the one place where an error or a dead process gets its class.

The class decides what is done about it (see `sweep.objective`). Torch-free.
"""

import signal
from enum import StrEnum

from trials.errors import MemoryShortError, TrialsError


class FailureClass(StrEnum):
    """What kind of failure it was; the values are words for people, and what is stored.

    Attributes:
        MEMORY: The run did not fit even at its smallest; splitting it further is all that could have been tried.
        PREEMPTED: Its process was ended from outside: it goes on from its last evaluation.
        DIVERGED: The training itself left what can be learnt from: it is pruned.
        SETUP: Model, data or settings are wrong: no trial can do better, and the sweep stops at once.
        ENVIRONMENT: Disk, database or device failed: the sweep stops, and the trial goes on later.
        UNKNOWN: Anything else: it is tried twice more, and fails then.
    """

    MEMORY = "out of memory"
    PREEMPTED = "preempted"
    DIVERGED = "diverged"
    SETUP = "data or configuration"
    ENVIRONMENT = "environment"
    UNKNOWN = "unknown"


# Signals by which a machine, a scheduler or a user ends a process; by any other one it ends itself.
FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def class_of(error: BaseException) -> FailureClass:
    """The class of an error that a run raised."""
    if isinstance(error, MemoryShortError):
        return FailureClass.MEMORY
    if isinstance(error, TrialsError):
        return FailureClass.SETUP
    # A disk that is full or gone; a run asks for no other files than its own.
    return FailureClass.ENVIRONMENT if isinstance(error, OSError) else FailureClass.UNKNOWN


def class_of_death(status: int | None) -> FailureClass:
    """The class of a worker's death.

    Args:
        status: Its exit status, negative for a signal's number; None when it lives and only closed its pipe.
    """
    by_signal = status is not None and status < 0
    return FailureClass.PREEMPTED if by_signal and -(status or 0) in FROM_OUTSIDE else FailureClass.UNKNOWN
