"""A remedy that a trial tries: whose it is and what it changes, as the trial's user attribute has it."""

from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial

from spaces.parameter import Scalar, is_number
from sweep.numbers import number

# The trial's user attribute: `Advice` as plain data.
ADVICE = "advice"


@dataclass(frozen=True)
class Advice:
    """A remedy that a trial tries.

    Attributes:
        parent: The number of the trial that it was given for.
        kind: The state that the parent's curve was in.
        knob: What was changed.
        before: Its value in the parent.
        after: Its value in the trial that tries it.
    """

    parent: int
    kind: str
    knob: str
    before: Scalar
    after: Scalar

    def words(self) -> str:
        """What was changed: "learning_rate 5e-3 → 1e-3"."""
        return f"{self.knob} {_shown(self.before)} → {_shown(self.after)}"


def advice_of(trial: FrozenTrial | optuna.Trial) -> Advice | None:
    """Whose remedy a trial tries; None for one of the sampler's own."""
    plain = trial.user_attrs.get(ADVICE)
    return None if plain is None else Advice(**plain)


def _shown(value: Scalar) -> str:
    return number(float(f"{value:.3g}")) if is_number(value) else str(value)
