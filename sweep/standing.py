"""A study's finished trials as comparisons take them: what each has reached, or, pruned, was heading for."""

import math
from collections.abc import Iterable

from optuna.trial import FrozenTrial, TrialState

from sweep.observations import Ended, Observation, observe
from sweep.pruners import HORIZON


def standing(trials: Iterable[FrozenTrial]) -> list[Observation]:
    """Finished trials, the best first; a pruned one without two finite reports tells nothing and is left out."""
    return sorted(observe([_ended(trial) for trial in trials]), key=lambda seen: seen.loss)


def _ended(trial: FrozenTrial) -> Ended:
    losses = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
    pruned = trial.state == TrialState.PRUNED
    value = min(losses, default=math.inf) if pruned or trial.value is None else trial.value
    horizon = int(trial.user_attrs.get(HORIZON, len(losses)))
    return Ended(trial.number, trial.params, losses, value, horizon, pruned)
