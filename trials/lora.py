"""A plain LoRA adapter as weights of its own beside a frozen base, so that several can share one base.

Names, first weights and files are PEFT's: an adapter that is saved here loads with `PeftModel.from_pretrained`.
"""

import math
from collections.abc import Iterator, Mapping
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

    Attributes:
        scale: What B A is multiplied by: alpha / rank, with rsLoRA alpha / sqrt(rank).
        dropout: Share of the inputs of A that is dropped in training.
        factors: A and B by the path of the module.
        places: A module's place among them.
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
        self.scale = config.lora_alpha / (math.sqrt(config.lora_rank) if config.use_rslora else config.lora_rank)
        self.dropout = config.lora_dropout
        self.factors: dict[str, tuple[nn.Parameter, nn.Parameter]] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            for path, module in targets(base, config.lora_target).items():
                size_in, size_out = features(module)
                # In PEFT's order, which makes both as linear layers first and then draws A again.
                a = nn.Linear(size_in, config.lora_rank, bias=False)
                b = nn.Linear(config.lora_rank, size_out, bias=False)
                nn.init.kaiming_uniform_(a.weight, a=math.sqrt(5))
                nn.init.zeros_(b.weight)
                device = module.weight.device
                self.factors[path] = (nn.Parameter(a.weight.data.to(device)), nn.Parameter(b.weight.data.to(device)))
        self.places = {path: place for place, path in enumerate(self.factors)}

    @property
    def initial(self) -> Mapping[str, torch.Tensor]:
        """Nothing: these weights alone say what the adapter is."""
        return {}

    def begin_with(self, initial: Mapping[str, torch.Tensor]) -> None:
        """Does nothing, as nothing was taken out of the base."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The weights by PEFT's names, in the model's own order."""
        for path, (a, b) in self.factors.items():
            yield f"{PREFIX}{path}.lora_A.default.weight", a
            yield f"{PREFIX}{path}.lora_B.default.weight", b

    def save(self, folder: Path) -> None:
        """Writes adapter_config.json and adapter_model.safetensors as PEFT does."""
        from peft import LoraConfig

        config = self._config
        folder.mkdir(parents=True, exist_ok=True)
        LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            target_modules=list(config.lora_target),
            lora_dropout=config.lora_dropout,
            use_rslora=config.use_rslora,
            bias="none",
            task_type="CAUSAL_LM",
            inference_mode=True,
            base_model_name_or_path=self._reference,
        ).save_pretrained(folder)
        named = {name.replace(".default", ""): p.detach().cpu() for name, p in self.named_parameters()}
        save_file(named, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def remove(self) -> None:
        """Does nothing: the base never had them."""


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
