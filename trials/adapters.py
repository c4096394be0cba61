"""Puts a fresh adapter of PEFT's into a warm base model and takes it out again: DoRA and PiSSA, which need the base."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trials.config import TrialConfig
from trials.pissa import INIT, Originals, factors, save_as_plain


class PeftAdapter:
    """PEFT's adapter in a frozen base, which is nobody else's meanwhile; `remove` leaves it as it was."""

    def __init__(self, base: Any, config: TrialConfig, reference: str) -> None:
        """Adds the adapter.

        The first weights depend on `config.seed`, rank and target alone, so that trials compare on equal
        starts; PiSSA's on the base's as well. The adapter's weights are fp32 whatever the base has.

        Args:
            base: A transformers model without gradients.
            config: Rank, alpha, target modules, dropout, seed and variants are read.
            reference: What the adapter's file names as its base model.

        Raises:
            ConfigError: PiSSA with a rank that a module has not; the base is untouched.
        """
        from peft import LoraConfig, get_peft_model

        self._base = base
        self._originals = Originals(base, config.lora_target, config.lora_rank) if config.pissa_init else None
        torch.manual_seed(config.seed)
        settings = LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            target_modules=list(config.lora_target),
            lora_dropout=config.lora_dropout,
            use_rslora=config.use_rslora,
            use_dora=config.use_dora,
            init_lora_weights=INIT if config.pissa_init else True,
            bias="none",
            task_type="CAUSAL_LM",
        )
        self.model = get_peft_model(base, settings)
        settings.base_model_name_or_path = reference
        self._initial: dict[str, torch.Tensor] = {}
        if self._originals is not None:
            self._originals.subtract(self.model)
            self._initial = factors(self.model)

    @property
    def initial(self) -> Mapping[str, torch.Tensor]:
        """The factors that PiSSA took out of the base, by parameter; empty without PiSSA."""
        return self._initial

    def begin_with(self, initial: Mapping[str, torch.Tensor]) -> None:
        """Takes these factors out of the base instead: those of the run that goes on here.

        A decomposition is not the same to the bit on every machine.
        """
        if self._originals is None:
            return
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, first in initial.items():
                parameters[name].copy_(first)
        self._originals.subtract(self.model)
        self._initial = factors(self.model)

    def trainable(self) -> dict[str, nn.Parameter]:
        """What an optimizer updates, in the model's own order."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def named(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`tensors`, which are named as `trainable` is, by PEFT's names: the same."""
        return dict(tensors)

    def save(self, folder: Path) -> None:
        """Writes adapter_config.json and adapter_model.safetensors as PEFT does; PiSSA's as a plain adapter."""
        if self._initial:
            save_as_plain(self.model, self._initial, folder)
            return
        # "auto" would ask the hub whether the base's vocabulary has grown; adapters never hold embeddings here.
        self.model.save_pretrained(folder, save_embedding_layers=False)

    def remove(self) -> None:
        """Takes the adapter off the base."""
        self.model.unload()
        if self._originals is not None:
            self._originals.put_back(self._base)
