"""Which knobs mattered in a study, by Optuna's own evaluator."""

import warnings
from collections.abc import Mapping, Sequence

import optuna

from sweep.observations import Observation, Value

# Below this many trials it names a knob by chance: in synthetic studies with one knob that matters most, it was named
# first in 6 of 10 studies of 10 or 20 trials, in 25 of 30 of 30 trials, in 27 of 30 of 50 and in all of 100.
LEAST_TRIALS = 30
# Knobs that are named; those behind them matter less than they can be told apart.
MOST_NAMED = 4


def importances(runs: Sequence[Observation]) -> dict[str, float]:
    """Shares of 1, the most important knob first; empty with too few trials, or where no knob varied.

    PED-ANOVA (arXiv 2304.10255), Optuna's default. It counts complete trials only; a pruned one is given with the
    loss that its curve was heading for, as `sweep compare` takes it, since to leave those out would compare good
    trials with each other.

    Args:
        runs: Finished trials.
    """
    varied = {name for run in runs for name in run.knobs if len({other.knobs.get(name) for other in runs}) > 1}
    if len(runs) < LEAST_TRIALS or not varied:
        return {}
    options = {name: _options([run.knobs[name] for run in runs if name in run.knobs]) for name in varied}
    study = optuna.create_study()
    study.add_trials(
        optuna.trial.create_trial(
            params={name: run.knobs[name] for name in run.knobs if name in varied},
            distributions={name: options[name] for name in run.knobs if name in varied},
            value=run.loss,
        )
        for run in runs
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a conditional knob was drawn once: its share says as much
        return dict(optuna.importance.get_param_importances(study))


def _options(values: Sequence[Value]) -> optuna.distributions.BaseDistribution:
    """What a knob's values were drawn from, as far as they tell."""
    numbers = [value for value in values if isinstance(value, float)]
    if len(numbers) == len(values) and len(set(values)) > 2:
        low, high = min(numbers), max(numbers)
        return optuna.distributions.FloatDistribution(low, high, log=low > 0)
    return optuna.distributions.CategoricalDistribution(sorted(set(values), key=repr))


def importance_words(found: Mapping[str, float]) -> str:
    """The knobs that mattered most, in a line; empty where nothing is known."""
    named = list(found.items())[:MOST_NAMED]
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in named)
