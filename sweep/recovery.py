"""Finds trials that nobody runs any more and puts them back, to go on under their own numbers.

A trial says in its user attributes which process runs it. A process of this machine that is gone is known to be
dead at once; for other machines Optuna's heartbeats decide (see `sweep.storage`).
"""

import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

from sweep.contenders import is_parked

OWNER = "owner"
# Two readings of a process's start may differ by the clock's ticks.
TICK_SECONDS = 1.0


def this_process() -> dict[str, Any]:
    """Names this process so that a later one can tell whether it lives; a pid alone may be used again."""
    return {"host": _host(), "pid": os.getpid(), "started": started_after_boot(psutil.Process())}


def _host() -> str:
    """This machine since its boot, and this container: in another one a process's id is another process's."""
    found = [socket.gethostname()]
    with contextlib.suppress(OSError):
        found.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8])
    with contextlib.suppress(OSError):
        found.append(str(os.readlink("/proc/self/ns/pid")))
    return " ".join(found)


def started_after_boot(process: psutil.Process) -> float:
    """Seconds from the boot to a process's start, which no setting of the clock moves.

    psutil reckons the start from the time of the boot that it read last, and that one moves with the clock.
    """
    boot = psutil.boot_time()
    return round(process.create_time() - boot, 2)


def put_back_interrupted(study: optuna.Study) -> list[int]:
    """Makes the running trials whose process on this machine is gone wait to be continued.

    Returns:
        The numbers of all trials that wait and have something to go on from, an evaluation; but for parked ones.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_orphan(trial):
            put_back(study, trial)
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    return [trial.number for trial in waiting if trial.intermediate_values and not is_parked(trial)]


def put_back_own(study: optuna.Study) -> list[int]:
    """Makes the running trials of this process wait; the numbers of those that have something to go on from."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    own = [trial for trial in running if is_this_process(trial.user_attrs.get(OWNER))]
    for trial in own:
        put_back(study, trial)
    return [trial.number for trial in own if trial.intermediate_values]


def put_back(study: optuna.Study, trial: FrozenTrial | optuna.Trial) -> None:
    """Turns a running trial into a waiting one; Optuna hands it out again with its parameters and reports.

    Optuna has no public call for it. A waiting trial that has parameters keeps them when it is asked for.
    """
    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def frozen(trial: optuna.Trial) -> FrozenTrial:
    """A running trial as the storage has it now, with its reports and system attributes."""
    return trial.study._storage.get_trial(trial._trial_id)


def first_number(trial: optuna.Trial) -> int:
    """The number of the trial that this one was cloned from because its machine died; else its own."""
    first = RetryHeartbeatStaleTrialCallback.retried_trial_number(frozen(trial))
    return trial.number if first is None else first


def lost_numbers(trial: optuna.Trial) -> list[int]:
    """The numbers of the trials whose machine died and that this one goes on with; mostly none."""
    return RetryHeartbeatStaleTrialCallback.retry_history(frozen(trial))


def is_this_process(owner: Mapping[str, Any] | None) -> bool:
    """Whether a trial's owner is this process."""
    return owner is not None and (owner["host"], owner["pid"]) == (_host(), os.getpid())


def _is_orphan(trial: FrozenTrial) -> bool:
    owner = trial.user_attrs.get(OWNER)
    if owner is None or owner["host"] != _host():
        return False
    try:
        process = psutil.Process(owner["pid"])
        another = abs(started_after_boot(process) - owner["started"]) > TICK_SECONDS
        return another or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
