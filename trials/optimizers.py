"""AdamW over an adapter's weights, with LoRA+'s two rates where they are asked for."""

from typing import Any

from torch.optim import AdamW

from trials.config import TrialConfig


def make_optimizer(model: Any, config: TrialConfig) -> AdamW:
    """Makes the optimizer of a PEFT model's trainable weights; its first group has `learning_rate`.

    Args:
        model: The PEFT model.
        config: Rate, decay and LoRA+'s ratio are read.
    """
    if not config.loraplus_lr_ratio:
        trainable = [p for p in model.parameters() if p.requires_grad]
        return AdamW(trainable, lr=config.learning_rate, weight_decay=config.weight_decay)
    from peft.optimizers import create_loraplus_optimizer

    made: AdamW = create_loraplus_optimizer(
        model,
        AdamW,
        lr=config.learning_rate,
        loraplus_lr_ratio=config.loraplus_lr_ratio,
        loraplus_weight_decay=config.weight_decay,
    )
    return made
