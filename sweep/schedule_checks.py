"""Whether a trial's learning-rate schedule can do what it is meant to (guide 2.4: "verify … is sensible").

Of a whole space, the trial is looked at that has the fewest steps, the longest warm-up and the highest rate.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spaces.parameter import Choice, Parameter, Scalar
from sweep.batch_split import BATCH
from sweep.checks import Check
from sweep.numbers import number
from sweep.plan import Plan
from trials.config import TrialConfig
from trials.remedies import USUAL_RATE
from trials.schedule import warmup_steps

SCHEDULER = "lr_scheduler_type"
# A warm-up, a peak and an end take a step each.
FEWEST_STEPS = 3
# The guide's warm-ups are 0.05 to 0.2 of all steps (4.1, 4.2); beyond half the peak is an exception.
MOST_WARMUP = 0.5
# As for the remedies: ten times the end of LoRA's usual range (3.1) is high for models of any size.
HIGH_RATE = 10 * USUAL_RATE

_HARSHEST: Mapping[str, Callable[..., Any]] = {
    BATCH: max,
    "num_train_epochs": min,
    "warmup_ratio": max,
    "learning_rate": max,
}


def schedule_check(config: TrialConfig, train_rows: int) -> Check:
    """The check of one trial's schedule."""
    steps = config.total_steps(train_rows)
    ratio, batch = config.warmup_ratio, config.effective_batch_size
    warmup = 0 if config.lr_scheduler_type == "constant" else warmup_steps(ratio, steps)
    told = f"{config.lr_scheduler_type}, {_steps(steps)} of {batch} rows, {warmup} of them warm-up"
    found = []
    if steps < FEWEST_STEPS:
        found.append(
            f"a trial with batches of {batch} rows has {_steps(steps)}, too few for warm-up, peak and end: give more "
            f"MAX_STEPS or MAX_SAMPLES, or a smaller {BATCH}"
        )
    elif warmup > MOST_WARMUP * steps:
        found.append(
            f"warm-up takes {warmup} of {_steps(steps)} (warmup_ratio {ratio:g}), so that the rate is hardly ever at "
            "its peak; the guide has 0.05 to 0.2 (4.1, 4.2)"
        )
    if config.lr_scheduler_type == "constant":
        found += _constant(config)
    return Check("schedule", told, tuple(found))


def space_checks(plan: Plan) -> list[Check]:
    """The checks of the harshest trial of a space, for each of its schedules."""
    searched = {parameter.name: parameter for parameter in plan.space.search}
    knob = searched.get(SCHEDULER)
    names: Sequence[Scalar | None] = knob.options if isinstance(knob, Choice) else (None,)
    return [schedule_check(plan.config(_harshest(plan, name)), plan.train_rows) for name in names]


def _harshest(plan: Plan, scheduler: Scalar | None) -> dict[str, Any]:
    """The knobs of the trial with the fewest steps, the longest warm-up and the highest rate."""

    def suggest(parameter: Parameter) -> Scalar:
        if parameter.name == SCHEDULER and scheduler is not None:
            return scheduler
        values = parameter.options if isinstance(parameter, Choice) else (parameter.low, parameter.high)
        choose = _HARSHEST.get(parameter.name)
        return choose(values) if choose else values[0]

    return plan.space.walk(suggest)


def _constant(config: TrialConfig) -> list[str]:
    """What a constant rate without warm-up leaves to be wished for."""
    instead = "constant_with_warmup warms up, cosine and linear also come to rest (guide 3.1)"
    if config.warmup_ratio > 0:
        return [f"lr_scheduler_type constant has no warm-up, whatever warmup_ratio says: {instead}"]
    if config.learning_rate > HIGH_RATE:
        return [f"lr_scheduler_type constant starts at {number(config.learning_rate)}, with no warm-up: {instead}"]
    return []


def _steps(count: int) -> str:
    return f"{count} optimizer step{'' if count == 1 else 's'}"
