"""Puts a fresh LoRA adapter on a warm base model and takes it off again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trials.config import TrialConfig


class Adapter:
    """PEFT's LoRA adapter on a frozen base. The base is shared; `remove` leaves it as it was."""

    def __init__(self, base: Any, config: TrialConfig, reference: str) -> None:
        """Adds the adapter.

        The first weights depend on `config.seed`, rank and target alone, so that trials compare on equal
        starts. The adapter's weights are fp32 whatever the base has.

        Args:
            base: A transformers model without gradients.
            config: Rank, alpha, target modules, dropout and seed are read.
            reference: What the adapter's file names as its base model.
        """
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(config.seed)
        settings = LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            target_modules=list(config.lora_target),
            lora_dropout=config.lora_dropout,
            bias="none",
            task_type="CAUSAL_LM",
        )
        self.model = get_peft_model(base, settings)
        settings.base_model_name_or_path = reference

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The trainable weights, in the model's own order."""
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    def save(self, folder: Path) -> None:
        """Writes adapter_config.json and adapter_model.safetensors as PEFT does."""
        # "auto" would ask the hub whether the base's vocabulary has grown; adapters never hold embeddings here.
        self.model.save_pretrained(folder, save_embedding_layers=False)

    def remove(self) -> None:
        """Takes the adapter off the base."""
        self.model.unload()
