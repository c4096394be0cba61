"""What a full run has that the short trial had not: its own length, schedule, evaluations and saving.

What made the trial short (its rows, its cut) is not carried over.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweep.exports.winner import Winner
from trials.config import TrialConfig
from trials.schedule import STEP_DECAY, STEP_DECAY_DROPS, STEP_DECAY_INTERVAL, decay_steps, warmup_steps

VAL_SIZE = 0.1  # share of the full run's rows; LLaMA-Factory's examples have the same
LOGGING_STEPS, EVAL_STEPS, SAVE_STEPS = 10, 100, 500
# How PEFT is told to begin as PiSSA does, with the fast decomposition that the trial had (LLaMA-Factory's default).
PISSA_ITERATIONS = 16
PISSA_INIT = f"pissa_niter_{PISSA_ITERATIONS}"


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule as transformers' Trainer takes it.

    Attributes:
        name: `lr_scheduler_type`.
        kwargs: `lr_scheduler_kwargs`; empty where the name says all.
        notes: Comments, where it needs some.
    """

    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def schedule(winner: Winner) -> Schedule:
    """The winner's schedule over the full run's steps."""
    config, rows = winner.config, winner.source.get("rows")  # a study of an earlier version has not kept the rows
    name = config["lr_scheduler_type"]
    if name not in ("step_decay", "warmup_stable_decay"):
        return Schedule(name)
    settings = TrialConfig.from_dict({**config, "max_rows": None})
    steps = settings.total_steps(round((1 - VAL_SIZE) * rows)) if rows else None
    if name == "step_decay":
        drops = STEP_DECAY_DROPS if steps is None else max(STEP_DECAY_DROPS, steps // STEP_DECAY_INTERVAL)
        note = f"step decay is not among transformers' schedules: a line down to the same end ({drops} drops) is near"
        end = float(f"{settings.learning_rate * STEP_DECAY**drops:.3g}")
        return Schedule("polynomial", {"lr_end": end, "power": 1.0}, (note,))
    steps = steps or settings.total_steps(config["max_rows"] or settings.effective_batch_size)
    count = decay_steps(warmup_steps(settings.warmup_ratio, steps), steps)
    note = f"num_decay_steps is a fifth of {steps} steps: change it when the number of rows changes"
    return Schedule(name, {"num_decay_steps": count, "decay_type": "1-sqrt"}, (note,))


def quantization_bit(winner: Winner) -> int | None:
    """Bits that the frozen base is quantised to; None where it is not."""
    bits: int | None = winner.config.get("quantization_bit")
    return bits
