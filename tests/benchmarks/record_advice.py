"""Records the runs that `tests.benchmarks.advice` searches among, into `tests/benchmarks/curves/advice.jsonl`.

`nice -n 10 python -m tests.benchmarks.record_advice`: fine-tunes the tiny pretrained Llama of `record_states` at every
point of a grid, on one CPU thread, twice: with rows enough, and with few rows seen many times, where strong settings
over-fit. A run is a JSON line; a run that is there already is not repeated.
"""

import argparse
import itertools
import json
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.pretrained import pretrained
from tests.benchmarks.record_states import DIGITS, TARGETS, Plan, record
from trials.config import TrialConfig
from trials.model import load_base
from trials.paths import cache_dir

CURVES = Path(__file__).parent / "curves" / "advice.jsonl"
# Four decades around the tiny model's best rate, 5e-3, three rates a decade.
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
        lora_target=TARGETS,
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


def short(line: dict[str, Any]) -> list[list[float]]:
    """A run's evaluations: step, mean training loss since the one before, evaluation loss."""
    losses = {int(step): loss for step, _, loss, _ in line["training"]}
    points, before = [], 0
    for step, loss in line["evaluation"]:
        part = [losses[place] for place in range(before + 1, step + 1)]
        points.append([step, round(sum(part) / len(part), DIGITS), loss])
        before = step
    return points


def main() -> None:
    """Records what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=CURVES)
    to: Path = parser.parse_args().to
    torch.set_num_threads(1)
    base = load_base(pretrained(cache_dir() / "state-curves-model"), "tiny pretrained", "fp32")
    to.parent.mkdir(parents=True, exist_ok=True)
    lines = to.read_text(encoding="utf8").splitlines() if to.exists() else []
    there = [(line["task"], line["knobs"]) for line in map(json.loads, lines)]
    with to.open("a", encoding="utf8") as file:
        for task, knobs in grid():
            if (task, knobs) in there:
                continue
            started = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                run = record(Plan("grid", 0, TASKS[task][0], 1, config(task, knobs)), base, Path(folder))
            line = {"task": task, "knobs": knobs, "total_steps": run["total_steps"], "curve": short(run)}
            file.write(json.dumps(line) + "\n")
            file.flush()
            best = min((loss for _, _, loss in line["curve"] if math.isfinite(loss)), default=math.nan)
            print(f"{task} {knobs}: {best:.3f}, {time.process_time() - started:.1f} CPU s", flush=True)


if __name__ == "__main__":
    main()
