"""Turns what a space gives into a trial's settings, and the guide's knobs into what one model and device take."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from spaces.counting import first_value
from spaces.parameter import Choice, Float, Parameter
from spaces.space import SearchSpace
from spaces.targets import resolve_target
from sweep.batch_split import BATCH, BatchLimit, batch_limit, micro_batch
from sweep.budget import REFERENCE_BATCH, Budget
from sweep.errors import SweepError
from sweep.field_values import whole_batch
from trials.config import FIELDS, TrialConfig
from trials.protocol import Ready

# What a space may name: every training field but those that the budget, the device and the seed decide.
DECIDED = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "evaluations",
    "max_rows",
    "seed",
    "stage",
)
# Rows are tokenised, and the base is loaded, once for all trials.
SHARED = ("cutoff_len", "quantization_bit")
KNOBS = (*(name for name in FIELDS if name not in DECIDED), BATCH)


@dataclass(frozen=True)
class Plan:
    """What every trial of a study has in common.

    Attributes:
        space: What may be tried.
        budget: How long a trial is.
        ready: Model, data and device.
        seed: The study's.
        early_stopping_patience: Evaluations without improvement that end a trial; 0 for never.
        sharing: Trials at once on one device, which share its memory.
        memory_ratio: What was measured of a trial's memory, in shares of what was reckoned.
        rows_at_once: per_device_train_batch_size where the user asked for it; None to decide by the device.
    """

    space: SearchSpace
    budget: Budget
    ready: Ready
    seed: int
    early_stopping_patience: int
    sharing: int = 1
    memory_ratio: float = 1.0
    rows_at_once: int | None = None

    @property
    def train_rows(self) -> int:
        """Distinct training rows."""
        return int(str(self.ready.data["train_rows"]))

    @functools.cached_property
    def batch_limit(self) -> BatchLimit:
        """How many rows may pass forward at once."""
        ready = self.ready
        return batch_limit(
            ready.model,
            ready.device,
            self.budget.cutoff_len,
            self.sharing,
            self.rows_at_once,
            self.memory_ratio,
        )

    def config(self, params: Mapping[str, Any]) -> TrialConfig:
        """One trial's settings.

        Args:
            params: What the space gave: fixed, searched and derived knobs.

        Raises:
            SpaceError: The target set matches no module of the model.
            ConfigError: A field has a value that it cannot have.
        """
        fields = {name: value for name, value in params.items() if name in FIELDS}
        effective = whole_batch(params.get(BATCH, REFERENCE_BATCH))
        micro = micro_batch(effective, self.batch_limit.rows)
        target = fields.get("lora_target", "all")
        fields |= {
            "lora_target": resolve_target(target, self.ready.model.linear_modules),
            "max_rows": self.budget.max_rows,
            "evaluations": self.budget.evaluations,
            "cutoff_len": self.budget.cutoff_len,
            "quantization_bit": self.ready.model.quantization_bit,
            "per_device_train_batch_size": micro,
            "gradient_accumulation_steps": effective // micro,
            "early_stopping_patience": fields.get("early_stopping_patience", self.early_stopping_patience),
            "seed": fields.get("seed", self.seed),
        }
        alpha = fields.get("lora_alpha")
        if isinstance(alpha, float) and alpha.is_integer():
            fields["lora_alpha"] = int(alpha)
        return TrialConfig(**fields)

    def check_targets(self) -> None:
        """Fails before the study is made when a target set of the space is not the model's.

        Raises:
            SpaceError: A set matches no module.
        """
        for parameter in self.space.search:
            if parameter.name == "lora_target" and isinstance(parameter, Choice):
                for option in parameter.options:
                    resolve_target(str(option), self.ready.model.linear_modules)
        fixed = self.space.fixed.get("lora_target")
        if fixed is not None:
            names = [str(name) for name in fixed] if isinstance(fixed, list | tuple) else str(fixed)
            resolve_target(names, self.ready.model.linear_modules)


def check_searched(space: SearchSpace) -> None:
    """Refuses a space that searches, or derives from what it searches, what must be equal for all trials.

    Raises:
        SweepError: It does.
    """
    for parameter in space.search:
        if parameter.name in SHARED:
            raise SweepError(
                f"{space.source} searches {parameter.name}, but losses compare only when it is equal for all trials: "
                f"fix it, as in --set {parameter.name}={first_value(parameter)}"
            )
    for name in set(SHARED) & set(space.derived):
        raise SweepError(
            f"{space.source} derives {name}, but losses compare only when it is equal for all trials: fix it, as in "
            f"--set {name}=…"
        )


def suggest(trial: optuna.Trial, parameter: Parameter) -> Any:
    """Asks Optuna for one parameter's value; a trial that goes on keeps its own, though the range may have grown."""
    if parameter.name in trial.params:
        return trial.params[parameter.name]
    if isinstance(parameter, Choice):
        return trial.suggest_categorical(parameter.name, parameter.options)
    if isinstance(parameter, Float):
        return trial.suggest_float(parameter.name, parameter.low, parameter.high, log=parameter.log)
    return trial.suggest_int(parameter.name, parameter.low, parameter.high, step=parameter.step, log=parameter.log)


def ranges(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The searched ranges as Optuna's distributions: those that `suggest` asks for."""
    found: dict[str, BaseDistribution] = {}
    for knob in space.search:
        if isinstance(knob, Float):
            found[knob.name] = FloatDistribution(knob.low, knob.high, log=knob.log)
        elif not isinstance(knob, Choice):
            found[knob.name] = IntDistribution(knob.low, knob.high, step=knob.step, log=knob.log)
    return found


def drop_idle_epochs(space: SearchSpace, budget: Budget, train_rows: int) -> tuple[SearchSpace, str | None]:
    """Fixes `num_train_epochs` where the budget ends every trial before it can matter.

    Returns:
        The space to search, and a note for people when it was changed.
    """
    searched = {parameter.name: parameter for parameter in space.search}
    epochs = searched.get("num_train_epochs")
    if epochs is None or budget.max_rows is None:
        return space, None
    fewest = min(epochs.options) if isinstance(epochs, Choice) else epochs.low
    if float(fewest) * train_rows < budget.max_rows:
        return space, None
    note = (
        f"num_train_epochs is not searched: a trial's {budget.max_rows} rows end before it matters. "
        "To search it, give MAX_SAMPLES and no MAX_STEPS"
    )
    return space.override([f"num_train_epochs={fewest}"]), note
