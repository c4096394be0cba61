"""A study's finished trials as comparisons take them: what each has reached, or, pruned, was heading for."""

import math
from collections.abc import Iterable

from optuna.trial import FrozenTrial, TrialState

from sweep.contenders import HORIZON, PROGRESS, START
from sweep.observations import Ended, Observation, observe
from sweep.projection import even_progress


def standing(trials: Iterable[FrozenTrial]) -> list[Observation]:
    """Finished trials, the best first; a pruned one whose curve says nothing yet is left out."""
    return sorted(observe([_ended(trial) for trial in trials]), key=lambda seen: seen.loss)


def _ended(trial: FrozenTrial) -> Ended:
    losses = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
    pruned = trial.state == TrialState.PRUNED
    value = min(losses, default=math.inf) if pruned or trial.value is None else trial.value
    told = trial.user_attrs
    progress = told.get(PROGRESS) or even_progress(int(told.get(HORIZON, len(losses))))
    return Ended(trial.number, trial.params, losses, value, progress, pruned, told.get(START))
