"""Training tokens a CPU second of several trials in one pass beside one: `python -m tests.benchmarks.packing`.

The default model and data, LoRA of four ranks on every linear module, one thread, in turns. `--profile` counts the
operations of a pass instead, for GPUs, whose time goes by their number. Asserts nothing.
"""

import argparse
import dataclasses
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.throughput import CUTOFF, EVALUATION_ROWS, ROWS, cpu_seconds, settings
from trials import row_attention
from trials.data import DataSpec, PreparedData, prepare_data
from trials.memory import Room
from trials.model import BaseModel, find_model, load_base
from trials.passing import pass_together
from trials.paths import cache_dir
from trials.run import LoraRun

RANKS = (8, 16, 4, 32)


def runs_of(base: BaseModel, data: PreparedData, count: int, folder: str) -> list[LoraRun]:
    """So many runs of different ranks, seeds and rates."""
    return [
        LoraRun(
            dataclasses.replace(
                settings(base, 100),
                lora_rank=RANKS[place % len(RANKS)],
                learning_rate=1e-4 * (place + 1),
                seed=place,
                per_device_train_batch_size=2,
                gradient_accumulation_steps=4,
            ),
            base,
            data,
            Path(folder) / str(place),
        )
        for place in range(count)
    ]


def rate(base: BaseModel, data: PreparedData, count: int, passes: int) -> float:
    """Useful tokens a CPU second of so many runs in passes of their own, or together.

    Args:
        base: The base model; how many tokens a pass may have is its `room`'s.
        data: The rows.
        count: Runs in a pass.
        passes: Micro-batches of each run.
    """
    with tempfile.TemporaryDirectory() as folder:
        runs = runs_of(base, data, count, folder)
        pass_together(base, runs)
        tokens, started = 0, cpu_seconds()
        for _ in range(passes):
            pass_together(base, runs)
            tokens += sum(run.passed_tokens for run in runs)
        return tokens / (cpu_seconds() - started)


def narrow(base: BaseModel) -> BaseModel:
    """A model of the same layers and of random weights, so narrow that its pass takes no time: the same operations."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(base.reference)
    config.update({"hidden_size": 72, "intermediate_size": 96, "head_dim": 8})
    model = AutoModelForCausalLM.from_config(config).requires_grad_(False).eval()
    return dataclasses.replace(base, model=model)


def operations(base: BaseModel, data: PreparedData, count: int) -> list[int]:
    """What a GPU would be given to do in one pass: adapters at a layer one after the other, and in groups."""
    row_attention._Rows.side_by_side = True  # as on a GPU
    found = []
    for grouped in (False, True):
        changed = dataclasses.replace(base, passes=dataclasses.replace(base.passes, grouped=grouped))
        with tempfile.TemporaryDirectory() as folder:
            runs = runs_of(changed, data, count, folder)
            pass_together(changed, runs)
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
                pass_together(changed, runs)
        found.append(sum(_starts(event) for event in profile.events()))
    return found


# What only makes a view, or room, starts nothing on a GPU.
IDLE = "view reshape slice select t transpose expand as_strided unsqueeze squeeze detach alias split narrow permute"


def _starts(event: Any) -> bool:
    """Whether a profiled operation is one that a GPU is given to do, and no part of another."""
    if not _is_work(event.name):
        return False
    parent = event.cpu_parent
    while parent is not None and not _is_work(parent.name):
        parent = parent.cpu_parent
    return parent is None


def _is_work(name: str) -> bool:
    made = ("aten::empty", "aten::new_empty")
    return name.startswith("aten::") and not name.startswith(made) and name[6:] not in IDLE.split()


def main(given: Sequence[str] | None = None) -> None:
    """Measures, or counts, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trials", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--profile", action="store_true", help="Count operations instead.")
    asked = parser.parse_args(given)
    torch.set_num_threads(1)
    base = load_base(*find_model("", cache_dir()), asked.dtype)
    room = Room(base.device)
    room.tokens = None
    base = dataclasses.replace(base, room=room)
    spec = DataSpec("", "sft", CUTOFF, ROWS, EVALUATION_ROWS, seed=42)
    data = prepare_data(spec, base.tokenizer, base.tokenizer_fingerprint, cache_dir())
    if asked.profile:
        print("| trials in a pass | operations, one adapter after the other | in groups |\n| --- | --- | --- |")
        for count in asked.trials:
            single, grouped = operations(narrow(base), data, count)
            print(f"| {count} | {single:,} | {grouped:,} |", flush=True)
        return
    rates: dict[int, list[float]] = {count: [] for count in asked.trials}
    for _ in range(asked.repeats):
        for count in asked.trials:
            rates[count].append(rate(base, data, count, asked.passes * max(asked.trials) // count))
    first = statistics.median(rates[asked.trials[0]])
    print(f"{base.facts.dtype}, one thread, median of {asked.repeats}\n")
    print("| trials in a pass | useful tokens a CPU second | times the first |\n| --- | --- | --- |")
    for count, measured in rates.items():
        print(f"| {count} | {statistics.median(measured):.0f} | {statistics.median(measured) / first:.2f} |")


if __name__ == "__main__":
    main()
