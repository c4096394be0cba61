"""Which cells of a design a study has yet to run."""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import TrialState

from sweep.claims import add_missing
from sweep.design import Cell, key

# Times that a cell is tried when it fails, before the design goes on without it.
MOST_TRIES = 2


def enqueue_missing(study: optuna.Study, cells: Sequence[Cell]) -> int:
    """Enqueues the cells that no trial has run, runs or waits for.

    Returns:
        How many trials wait.
    """
    add_missing(study, lambda: _missing(study, cells))
    return len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def _missing(study: optuna.Study, cells: Sequence[Cell]) -> list[Cell]:
    there: dict[Any, list[TrialState]] = {}
    for trial in study.get_trials(deepcopy=False):
        params = trial.params or trial.system_attrs.get("fixed_params", {})
        there.setdefault(key(params), []).append(trial.state)
    tried = [(cell, there.get(key(cell), [])) for cell in cells]
    return [cell for cell, states in tried if all(s == TrialState.FAIL for s in states) and len(states) < MOST_TRIES]
