"""Runs of the tiny model: short settings, a loop that collects reports, and what may differ between two runs."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from trials.config import TrialConfig
from trials.data import PreparedData
from trials.model import BaseModel
from trials.report import Report
from trials.run import LoraRun

ROWS = 24  # training rows of the tiny data


def tiny_config(**changes: Any) -> TrialConfig:
    """Make settings for 6 steps of 8 rows over 2 epochs, evaluated 3 times."""
    settings: dict[str, Any] = {
        "lora_rank": 4,
        "lora_alpha": 8,
        "learning_rate": 5e-3,
        "warmup_ratio": 0.0,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "cutoff_len": 128,
        "evaluations": 3,
        "early_stopping_patience": 0,
        "seed": 1,
    }
    return TrialConfig(**{**settings, **changes})


def run_to_end(config: TrialConfig, base: BaseModel, data: PreparedData, folder: Path) -> list[Report]:
    """Train, close, and return the reports."""
    run = LoraRun(config, base, data, folder)
    try:
        return list(run)
    finally:
        run.close()


def measured(report: Report) -> dict[str, float]:
    """Return what a report says of training, without time and memory, which no two runs share."""
    values = dataclasses.asdict(report)
    del values["seconds"], values["peak_memory_bytes"]
    return values


def lora_weights(model: Any) -> dict[str, torch.Tensor]:
    """Return copies of a model's adapter weights by name."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if "lora_" in name}


def weights_of(run: LoraRun) -> dict[str, torch.Tensor]:
    """Return copies of a run's adapter weights by PEFT's names."""
    return {name: p.detach().clone() for name, p in run._adapter.named_parameters()}


@contextlib.contextmanager
def peft_model(run: LoraRun, base: BaseModel, folder: Path) -> Iterator[Any]:
    """A fresh model with a run's adapter of now, as PEFT loads it, in evaluation mode."""
    run._adapter.save(folder)
    fresh = AutoModelForCausalLM.from_pretrained(base.reference, dtype=base.model.dtype)
    model = PeftModel.from_pretrained(fresh, folder)
    model.eval()
    with torch.no_grad():
        yield model


def adapter_modules(model: Any) -> list[str]:
    """Return the names of the modules that an adapter has put into a model."""
    return [name for name, _ in model.named_modules() if "lora_" in name or "base_layer" in name]
