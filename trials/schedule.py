"""What happens at which step: evaluations, and the steps of a schedule. Torch-free: the coordinator needs them too."""

import math

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
