"""Which cells of a design a study has yet to run."""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import TrialState

from sweep.design import Cell, key

# Times that a cell is tried when it fails, before the design goes on without it.
MOST_TRIES = 2


def enqueue_missing(study: optuna.Study, cells: Sequence[Cell]) -> int:
    """Enqueues the cells that no trial has run, runs or waits for.

    Returns:
        How many trials wait.
    """
    there: dict[Any, list[TrialState]] = {}
    waiting = 0
    for trial in study.get_trials(deepcopy=False):
        params = trial.params or trial.system_attrs.get("fixed_params", {})
        there.setdefault(key(params), []).append(trial.state)
        waiting += trial.state == TrialState.WAITING
    for cell in cells:
        states = there.get(key(cell), [])
        if all(state == TrialState.FAIL for state in states) and len(states) < MOST_TRIES:
            study.enqueue_trial(dict(cell))
            waiting += 1
    return waiting
