"""How long a trial is: what suits the device, and what a study has settled on."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from sweep.batch_table import GIB
from sweep.errors import SweepError
from trials.protocol import DeviceFacts

# The guide's 3.3 calls 16 to 32 ideal; MAX_STEPS counts steps of this many rows when the batch is searched.
REFERENCE_BATCH = 16


@dataclass(frozen=True)
class Budget:
    """What every trial of a study gets; equal for all, so that their losses compare.

    Attributes:
        max_rows: Training rows of a trial at most; None to train `num_train_epochs` passes.
        max_samples: Distinct training rows at most; None for all.
        val_size: Evaluation rows: below 1 a share of all rows, else their number.
        evaluations: Evaluations of a trial, at equal fractions of its steps.
        cutoff_len: Tokens at which rows are cut.
    """

    max_rows: int | None
    max_samples: int | None
    val_size: float
    evaluations: int
    cutoff_len: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


# A CPU trains a model of 135M parameters at about 200 tokens a second and core: a trial of the default study has
# to be small to end within minutes. A GPU's trial sees a thousand rows, as often as the space says.
CPU_BUDGET = Budget(max_rows=128, max_samples=128, val_size=32, evaluations=5, cutoff_len=128)
GPU_BUDGET = Budget(max_rows=None, max_samples=1000, val_size=200, evaluations=10, cutoff_len=1 << 20)


def make_budget(
    *,
    on_gpu: bool,
    stored: dict[str, Any] | None,
    max_steps: int | None,
    max_samples: int | None,
    val_size: float | None,
    cutoff_len: int,
    cutoff_asked: bool,
    batch: int,
) -> Budget:
    """What the user asked for, else what the study has, else what suits the device.

    Args:
        on_gpu: Whether trials run on a GPU.
        stored: The study's own budget, when it exists.
        max_steps: MAX_STEPS, in steps of `batch` rows; None when not asked for.
        max_samples: MAX_SAMPLES; None when not asked for.
        val_size: Evaluation rows; None when not asked for.
        cutoff_len: The space's.
        cutoff_asked: Whether the user set it, so that no device shortens it.
        batch: The space's effective batch size when that is fixed, else `REFERENCE_BATCH`.

    Raises:
        SweepError: A number cannot be.
    """
    for name, value in (("MAX_STEPS", max_steps), ("MAX_SAMPLES", max_samples)):
        if value is not None and value < 1:
            raise SweepError(f"{name} is {value}; allowed: a whole number of at least 1")
    if val_size is not None and not (0 < val_size < 1 or (math.isfinite(val_size) and val_size == int(val_size) > 0)):
        raise SweepError(f"VAL_SIZE is {val_size:g}; allowed: a share between 0 and 1, or a whole number of rows")
    start = Budget(**stored) if stored else GPU_BUDGET if on_gpu else CPU_BUDGET
    cutoff = cutoff_len if cutoff_asked else min(cutoff_len, start.cutoff_len)
    max_rows = start.max_rows
    if max_steps is not None:
        max_rows = max_steps * batch
    elif max_samples is not None and not stored:
        max_rows = None  # so many rows were asked for: the space's epochs say how often each is seen
    samples = start.max_samples if max_samples is None else max_samples
    if max_samples is None and max_rows is not None and not stored:
        samples = max_rows  # more could not be seen
    return Budget(
        max_rows=max_rows,
        max_samples=samples,
        val_size=start.val_size if val_size is None else val_size,
        evaluations=start.evaluations,
        cutoff_len=cutoff,
    )


def describe_memory(device: DeviceFacts) -> str:
    """A device's name and memory for people."""
    return f"{device.name}, {device.memory_bytes / GIB:.0f} GB"
