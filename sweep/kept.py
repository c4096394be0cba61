"""Which trials' files are kept: those of the best, and those of trials that somebody may go on with."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState


def best_rows(rows: Iterable[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """The best complete trials whose adapters are kept.

    Args:
        rows: Rows of `sweep_trials`.
        most: How many.
    """
    complete = [row for row in rows if row["state"] == "complete" and row["value"] is not None]
    return sorted(complete, key=lambda row: (row["value"], row["trial_number"]))[:most]


def going_on(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that run, or wait to go on. One that goes on with a lost machine's trial does so in that one's folder."""
    return [row for row in rows if row["state"] in ("running", "interrupted", "parked")]


def unended(study: optuna.Study) -> set[int]:
    """The numbers whose folders trials run in or wait for, a lost machine's among them; by Optuna, on all machines."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
    firsts = ((trial.number, RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)) for trial in trials)
    return {number if first is None else first for number, first in firsts}
