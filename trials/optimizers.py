"""AdamW over an adapter's weights, with LoRA+'s two rates where they are asked for."""

from collections.abc import Mapping

import torch
from torch.optim import AdamW

from trials.config import TrialConfig


def make_optimizer(named: Mapping[str, torch.nn.Parameter], config: TrialConfig) -> AdamW:
    """Makes the optimizer of an adapter's weights; its first group has `learning_rate`.

    LoRA+ (arXiv 2402.12354) gives B, and DoRA's magnitudes, a rate of its own; the groups are PEFT's.

    Args:
        named: The weights by PEFT's names.
        config: Rate, decay and LoRA+'s ratio are read.
    """
    fast = {name for name, p in named.items() if "lora_B" in name or p.ndim == 1} if config.loraplus_lr_ratio else set()
    groups = [{"params": [p for name, p in named.items() if name not in fast], "lr": config.learning_rate}]
    if config.loraplus_lr_ratio:
        faster = config.learning_rate * config.loraplus_lr_ratio
        groups.append({"params": [named[name] for name in named if name in fast], "lr": faster})
    on_cpu = all(p.device.type == "cpu" for p in named.values())
    # On the CPU torch would update one weight after another; on a GPU it takes them together unasked.
    return AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=on_cpu or None)
