"""The runs that `tests.benchmarks.advice` searches among: a grid, twice. Knows no torch."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trials.config import TrialConfig

CURVES = Path(__file__).parents[1] / "data" / "advice_runs.jsonl"
TARGET = ("q_proj", "v_proj", "k_proj", "o_proj")
# Four decades around the rate that the tiny model learns best at, 5e-3: three rates a decade.
RATES = tuple(float(f"{10 ** (exponent / 3):.3g}") for exponent in range(-13, 0))
RANKS, RATIOS, BATCHES = (4, 16), (1, 4), (4, 16)
# Rows, passes over them and evaluations: "few" is seen often enough to be learnt by heart.
TASKS = {"enough": (240, 1.0, 5), "few": (24, 20.0, 8)}
MICRO_BATCH = 4


def grid() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every run: the task's name and the knobs."""
    for task, rank, ratio, batch, rate in itertools.product(TASKS, RANKS, RATIOS, BATCHES, RATES):
        yield task, {"learning_rate": rate, "lora_rank": rank, "alpha_ratio": ratio, "effective_batch_size": batch}


def config(task: str, knobs: dict[str, Any]) -> TrialConfig:
    """One run's settings."""
    _, epochs, evaluations = TASKS[task]
    return TrialConfig(
        lora_rank=knobs["lora_rank"],
        lora_alpha=knobs["lora_rank"] * knobs["alpha_ratio"],
        lora_target=TARGET,
        learning_rate=knobs["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_ratio=0.1,
        num_train_epochs=epochs,
        per_device_train_batch_size=MICRO_BATCH,
        gradient_accumulation_steps=knobs["effective_batch_size"] // MICRO_BATCH,
        cutoff_len=128,
        evaluations=evaluations,
        early_stopping_patience=0,
        seed=0,
    )
