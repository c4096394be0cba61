"""Learning-rate schedules, all as torch's LambdaLR, so that a resumed run can ask for the rate of any step."""

from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from trials.schedule import decay_steps, step_decay, warmup_steps


def make_scheduler(name: str, optimizer: Optimizer, warmup_ratio: float, total_steps: int) -> LambdaLR:
    """Makes a schedule over `total_steps` optimizer steps.

    Args:
        name: One of `trials.config.SCHEDULERS`.
        optimizer: Whose groups' rates it sets, each relative to its own peak.
        warmup_ratio: Share of the steps in which the rate rises linearly; "constant" has no warm-up.
        total_steps: Of the whole run.
    """
    warmup = warmup_steps(warmup_ratio, total_steps)
    if name == "step_decay":  # not in transformers
        return LambdaLR(optimizer, partial(step_decay, warmup=warmup, total_steps=total_steps))
    from transformers import get_scheduler

    # 1 - sqrt down to zero is the best of the shapes that Hägele et al. compare (arXiv 2405.18392).
    decay = {"num_decay_steps": decay_steps(warmup, total_steps), "decay_type": "1-sqrt", "min_lr_ratio": 0.0}
    made: LambdaLR = get_scheduler(
        name,
        optimizer,
        num_warmup_steps=warmup,
        num_training_steps=total_steps,
        scheduler_specific_kwargs=decay if name == "warmup_stable_decay" else None,
    )
    return made
