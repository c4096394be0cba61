"""Runs of the tiny model: short settings, a loop that collects reports, and what may differ between two runs."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from trials.config import TrialConfig
from trials.data import PreparedData
from trials.model import BaseModel
from trials.passing import mean_losses, pass_together
from trials.protocol import Moved
from trials.report import Report
from trials.run import LoraRun
from trials.token_rows import TokenRows

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


def drive(
    run: LoraRun,
    on_step: Callable[[Moved], None] = lambda moved: None,
    should_close: Callable[[], bool] = lambda: False,
) -> Iterator[Report]:
    """Train as iterating does, but say each step, and end before the pass at which `should_close()` is true."""
    yield from list(run.curve.reports)
    while not run.done:
        step = run.step
        while run.step == step:
            if should_close():
                return
            pass_together(run._base, [run])
        on_step(run.moved())
        if run.is_due:
            yield run.report(run.evaluate())


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
    return {name: p.detach().clone() for name, p in run._adapter.named(run._weights).items()}


@contextlib.contextmanager
def peft_model(run: LoraRun, base: BaseModel, folder: Path) -> Iterator[Any]:
    """A fresh model with a run's adapter of now, as PEFT loads it, in evaluation mode."""
    run._adapter.save(folder)
    fresh = AutoModelForCausalLM.from_pretrained(base.reference, dtype=base.model.dtype)
    model = PeftModel.from_pretrained(fresh, folder)
    model.eval()
    with torch.no_grad():
        yield model


def loaded_loss(base: BaseModel, rows: TokenRows, folder: Path) -> float:
    """Return the mean loss of a fresh model with the adapter in `folder`, as PEFT loads it."""
    fresh = AutoModelForCausalLM.from_pretrained(base.reference, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(fresh, folder)
    (loss,) = mean_losses(dataclasses.replace(base, model=loaded), rows, [None])
    return loss


def adapter_modules(model: Any) -> list[str]:
    """Return the names of the modules that an adapter has put into a model."""
    return [name for name, _ in model.named_modules() if "lora_" in name or "base_layer" in name]
