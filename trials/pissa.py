"""PiSSA (arXiv 2404.02948): an adapter that begins as the base's main directions, and the base as the rest.

It is the one variant that rewrites the base's weights. What it takes away is put back bit by bit when the run
ends, and an adapter is saved as a plain one for the untouched base.
"""

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trials.errors import ConfigError

# Steps of the fast decomposition, LLaMA-Factory's default of pissa_iter: seconds where a whole one takes minutes.
ITERATIONS = 16
INIT = f"pissa_niter_{ITERATIONS}"
NAME = "default"  # PEFT's name of the only adapter


class Originals:
    """The weights of a base model's target modules, as they were before PiSSA."""

    def __init__(self, base: Any, targets: tuple[str, ...], rank: int) -> None:
        """Remembers the weights: in main memory, so that a run's own memory is what training needs.

        Raises:
            ConfigError: A module is smaller than the rank; the base is untouched.
        """
        self._weights = {
            name: module.weight.data.cpu()
            for name, module in base.named_modules()
            if name.rsplit(".", 1)[-1] in targets and hasattr(module, "weight")
        }
        for name, weight in self._weights.items():
            if rank > min(weight.shape):
                shape = " x ".join(map(str, weight.shape))
                raise ConfigError(
                    f"lora_rank is {rank}; pissa_init allows at most {min(weight.shape)}, as {name} is {shape}"
                )

    def subtract(self, model: Any) -> None:
        """Sets the base to what its adapter, in its state of now, leaves of the original weights.

        PEFT has done so already, but with factors that it rounds to the base's type afterwards.

        Args:
            model: The PEFT model.
        """
        with torch.no_grad():
            for name, original in self._weights.items():
                layer = model.get_submodule(f"base_model.model.{name}")
                weight = layer.get_base_layer().weight
                share = layer.get_delta_weight(NAME)
                weight.data = (original.to(weight.device, torch.float32) - share.float()).to(original.dtype)

    def put_back(self, base: Any) -> None:
        """Gives a base without adapter its own weights again."""
        for name, original in self._weights.items():
            weight = base.get_submodule(name).weight
            weight.data = original.to(weight.device)


def factors(model: Any) -> dict[str, torch.Tensor]:
    """Copies of an adapter's A and B, by the names of its parameters."""
    named = model.named_parameters()
    return {name: p.detach().clone() for name, p in named if ".lora_A." in name or ".lora_B." in name}


def save_as_plain(model: Any, initial: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Writes what training changed, B A - B0 A0, as a LoRA of twice the rank for the untouched base.

    It loads on the base as it is, on any machine; PiSSA's own form would decompose the base again at each load.

    Args:
        model: The PEFT model.
        initial: The factors A0 and B0 that it began with.
        folder: Where to.
    """
    state = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    for name, first in initial.items():
        is_a = ".lora_A." in name
        state[name] = torch.cat([state[name], first if is_a else -first], dim=0 if is_a else 1)
    settings = model.peft_config[NAME]
    plain = copy.copy(settings)
    plain.r, plain.init_lora_weights = 2 * settings.r, True
    # The scale, alpha / r or alpha / sqrt(r), stays what it was.
    plain.lora_alpha = settings.lora_alpha * (math.sqrt(2) if settings.use_rslora else 2)
    model.peft_config[NAME] = plain
    try:
        model.save_pretrained(folder, save_embedding_layers=False, state_dict=state)
    finally:
        model.peft_config[NAME] = settings
