"""What happens at which step: evaluations, and the steps of a schedule. Torch-free: the coordinator needs them too."""

import itertools
import math
from collections.abc import Sequence

# Guide 3.1: the rate times 0.9 every 1,000 steps. The guide speaks of full runs, and a trial is a run in small: as
# cosine is bent over a trial's own length, so is this one. A full run is taken as 10,000 steps (Alpaca's 52,000 rows,
# which 4.3 names, in 3 epochs of batches of 16 are 9,750), and any shorter one has its ten drops as well, evenly.
STEP_DECAY = 0.9
STEP_DECAY_INTERVAL = 1000
STEP_DECAY_DROPS = 10
# The last share of a warmup-stable-decay run: MiniCPM (arXiv 2404.06395) finds 10 % enough, Hägele et al. (arXiv
# 2405.18392) use up to 20 %. The longer one, because a tenth of a short trial is no step at all.
WSD_DECAY = 0.2


def warmup_steps(warmup_ratio: float, total_steps: int) -> int:
    """Steps in which the rate rises."""
    return math.ceil(warmup_ratio * total_steps)


def step_decay(step: int, warmup: int, total_steps: int) -> float:
    """Share of the peak rate at a step, counted from 0: a linear warm-up, then drops at equal distances."""
    if step < warmup:
        return step / warmup
    # In whole numbers: a quotient of floats may lie just below the drop that it stands for.
    full = total_steps >= STEP_DECAY_DROPS * STEP_DECAY_INTERVAL
    drops = (step - warmup) // STEP_DECAY_INTERVAL if full else (step - warmup) * STEP_DECAY_DROPS // total_steps
    return float(STEP_DECAY**drops)


def decay_steps(warmup: int, total_steps: int) -> int:
    """Steps at a warmup-stable-decay run's end in which the rate falls; fewer where warm-up takes more."""
    return min(math.ceil(WSD_DECAY * total_steps), total_steps - warmup)


def report_steps(total_steps: int, evaluations: int) -> list[int]:
    """The steps after which a run is evaluated: equal fractions of its horizon, the last step included.

    A run of fewer steps than evaluations is evaluated after every step.
    """
    count = min(evaluations, total_steps)
    return [math.ceil(total_steps * i / count) for i in range(1, count + 1)]


def rate_share(name: str, step: int, warmup: int, total_steps: int) -> float:
    """Share of the peak rate at a step, counted from 0, as `trials.schedulers.make_scheduler` sets it, without torch.

    Args:
        name: One of `trials.config.SCHEDULERS`.
        step: Steps taken before it.
        warmup: Steps in which the rate rises.
        total_steps: Of the whole run.
    """
    if name == "constant":  # has no warm-up
        return 1.0
    if name == "step_decay":
        return step_decay(step, warmup, total_steps)
    if step < warmup:
        return step / warmup
    if name == "constant_with_warmup":
        return 1.0
    if name == "warmup_stable_decay":
        decay = decay_steps(warmup, total_steps)
        left = total_steps - step
        return 1.0 if left >= decay else 1.0 - math.sqrt(1.0 - left / decay)
    passed = (step - warmup) / max(1, total_steps - warmup)
    return 1.0 - passed if name == "linear" else 0.5 * (1.0 + math.cos(math.pi * passed))


def learning_progress(name: str, warmup_ratio: float, total_steps: int, reports: Sequence[int]) -> list[float]:
    """The share of a run's summed learning rate that is spent at each of its reports, rising to 1.

    Args:
        name: One of `trials.config.SCHEDULERS`.
        warmup_ratio: Share of the steps in which the rate rises.
        total_steps: Of the whole run.
        reports: The steps after which it is evaluated (`report_steps`).
    """
    warmup = warmup_steps(warmup_ratio, total_steps)
    spent = list(itertools.accumulate(rate_share(name, step, warmup, total_steps) for step in range(total_steps)))
    whole = spent[-1]
    # A run of one step, in warm-up, has a rate of 0.
    return [spent[step - 1] / whole if whole > 0 else step / total_steps for step in reports]
