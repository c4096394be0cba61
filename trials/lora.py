"""A plain LoRA adapter as weights of its own beside a frozen base, so that several can share one base.

Names, first weights and files are PEFT's: an adapter that is saved here loads with `PeftModel.from_pretrained`.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from trials.config import TrialConfig
from trials.errors import ConfigError

PREFIX = "base_model.model."


class LoraWeights:
    """Factors A [rank, in] and B [out, rank] of every target module, in fp32 whatever the base has.

    All A lie one after another in one tensor, and all B in another: what is done to every weight, a cast or a step of
    the optimizer, is then one operation and not one a module.

    Attributes:
        scale: What B A is multiplied by: alpha / rank, with rsLoRA alpha / sqrt(rank).
        dropout: Share of the inputs of A that is dropped in training.
        rank: Of every factor.
        places: The path of every target module, and its place among them.
    """

    def __init__(self, base: Any, config: TrialConfig, reference: str) -> None:
        """Makes fresh weights; the base is not touched.

        They depend on `config.seed`, rank and targets alone, so that trials compare on equal starts, and are to the
        bit those that PEFT would draw.

        Args:
            base: A transformers model without gradients.
            config: Rank, alpha, target modules, dropout, seed and rsLoRA are read.
            reference: What the adapter's file names as its base model.

        Raises:
            ConfigError: The base has no module of a target's name.
        """
        self._config, self._reference = config, reference
        self.rank, self.dropout = config.lora_rank, config.lora_dropout
        self.scale = config.lora_alpha / (math.sqrt(config.lora_rank) if config.use_rslora else config.lora_rank)
        modules = targets(base, config.lora_target)
        self.places = {path: place for place, path in enumerate(modules)}
        self._sizes = [features(module) for module in modules.values()]
        all_a, all_b = [], []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            for size_in, size_out in self._sizes:
                # In PEFT's order, which makes both as linear layers first and then draws A again.
                a = nn.Linear(size_in, self.rank, bias=False)
                b = nn.Linear(self.rank, size_out, bias=False)
                nn.init.kaiming_uniform_(a.weight, a=math.sqrt(5))
                all_a.append(a.weight.data.flatten())
                all_b.append(torch.zeros(b.weight.numel()))
        device = next(iter(modules.values())).weight.device
        self._a = nn.Parameter(torch.cat(all_a).to(device))
        self._b = nn.Parameter(torch.cat(all_b).to(device))

    def trainable(self) -> dict[str, nn.Parameter]:
        """What an optimizer updates: all A as one, and all B."""
        return {"lora_A": self._a, "lora_B": self._b}

    def named(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Views of `tensors`, which are shaped and named as `trainable` is, a factor each, by PEFT's names.

        In the model's own order.
        """
        found = {}
        a, b = self._split(tensors["lora_A"], tensors["lora_B"])
        for path, place in self.places.items():
            found[f"{PREFIX}{path}.lora_A.default.weight"] = a[place]
            found[f"{PREFIX}{path}.lora_B.default.weight"] = b[place]
        return found

    def factors(self, dtype: torch.dtype) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """All A and all B in the order of `places`, in a type that gradients go through."""
        return self._split(self._a.to(dtype), self._b.to(dtype))

    def _split(self, a: torch.Tensor, b: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        parts_a = torch.split(a, [self.rank * size_in for size_in, _ in self._sizes])
        parts_b = torch.split(b, [self.rank * size_out for _, size_out in self._sizes])
        return [part.view(self.rank, -1) for part in parts_a], [part.view(-1, self.rank) for part in parts_b]

    @property
    def initial(self) -> Mapping[str, torch.Tensor]:
        """Nothing: these weights alone say what the adapter is."""
        return {}

    def begin_with(self, initial: Mapping[str, torch.Tensor]) -> None:
        """Does nothing, as nothing was taken out of the base."""

    def save(self, folder: Path) -> None:
        """Writes adapter_config.json and adapter_model.safetensors as PEFT does."""
        folder.mkdir(parents=True, exist_ok=True)
        lora_settings(self._config, self._reference).save_pretrained(folder)
        detached = {name: weight.detach() for name, weight in self.trainable().items()}
        # Copies: views of one tensor are not what a file may hold.
        named = {name.replace(".default", ""): part.cpu().clone() for name, part in self.named(detached).items()}
        save_file(named, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def remove(self) -> None:
        """Does nothing: the base never had them."""


def lora_settings(config: TrialConfig, reference: str) -> Any:
    """PEFT's settings of a plain adapter, as they are saved with it."""
    from peft import LoraConfig

    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        target_modules=list(config.lora_target),
        lora_dropout=config.lora_dropout,
        use_rslora=config.use_rslora,
        bias="none",
        task_type="CAUSAL_LM",
        inference_mode=True,
        base_model_name_or_path=reference,
    )


def targets(base: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The modules of a base whose last name is one of `names`, by path.

    Raises:
        ConfigError: There is none for one of the names.
    """
    found = {path: module for path, module in base.named_modules() if path.rsplit(".", 1)[-1] in names}
    missing = sorted(set(names) - {path.rsplit(".", 1)[-1] for path in found})
    if missing:
        raise ConfigError(f"lora_target names {', '.join(missing)}, but the base model has no module of that name")
    return found


def features(module: Any) -> tuple[int, int]:
    """Inputs and outputs of a linear module; transformers' Conv1D (GPT-2's) holds its weight the other way round."""
    if hasattr(module, "in_features"):
        return int(module.in_features), int(module.out_features)
    size_in, size_out = module.weight.shape
    return int(size_in), int(size_out)
