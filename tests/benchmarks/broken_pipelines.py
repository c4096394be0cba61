"""What tells a sound data pipeline from a broken one in `sweep sanity`: the default model, its rows broken on purpose.

`python -m tests.benchmarks.broken_pipelines [PIPELINE …]`: trains the trial of `sweep sanity` on one CPU thread, about
five minutes a pipeline, and prints the training loss of each pass. `sweep.overfitting.LEAST_FALL` lies between what
good rows lose and what broken ones do.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sweep.overfitting import judge
from sweep.sanity import HELD_OUT, PASSES, ROWS
from trials.config import TrialConfig
from trials.data import DataSpec, PreparedData, prepare_data
from trials.model import BaseModel, find_model, load_base
from trials.paths import cache_dir
from trials.remedies import PROBING
from trials.run import LoraRun
from trials.token_rows import TokenRows

# The starting point of sft_lora for the default model.
RATE = 4.64e-4
CUTOFF = 128  # tokens, as on the CPU
Ids = NDArray[np.int32]
# A row's token ids [seq] and which of them are labels [seq]; the random generator; the vocabulary's size.
Break = Callable[[Ids, NDArray[np.bool_], np.random.Generator, int], Ids]


def _as_it_is(ids: Ids, labels: NDArray[np.bool_], generator: np.random.Generator, vocabulary: int) -> Ids:
    return ids


def _noise_for_answers(ids: Ids, labels: NDArray[np.bool_], generator: np.random.Generator, vocabulary: int) -> Ids:
    """Answers of random tokens, as a column of hashes, or a wrong tokenizer, would give."""
    return np.where(labels, generator.integers(0, vocabulary, len(ids)), ids).astype(np.int32)


def _noise_for_all(ids: Ids, labels: NDArray[np.bool_], generator: np.random.Generator, vocabulary: int) -> Ids:
    """Rows of random tokens, as another model's token ids would be."""
    return generator.integers(0, vocabulary, len(ids)).astype(np.int32)


# What is done to the rows, and by what the learning rate is multiplied.
PIPELINES: Mapping[str, tuple[Break, float]] = {
    "good": (_as_it_is, 1.0),
    "noise for answers": (_noise_for_answers, 1.0),
    "noise for all": (_noise_for_all, 1.0),
    "rate a hundredth": (_as_it_is, 0.01),
    "rate a thousandth": (_as_it_is, 0.001),
}


def broken(rows: TokenRows, change: Break, vocabulary: int) -> TokenRows:
    """The same rows with their tokens changed."""
    generator = np.random.default_rng(0)
    ids = [change(np.array(rows.ids(i)), np.array(rows.is_label(i)), generator, vocabulary) for i in range(len(rows))]
    labels = np.concatenate([rows.is_label(i) for i in range(len(rows))])
    return TokenRows(np.concatenate(ids), labels, np.cumsum([0, *map(len, ids)]))


def train(name: str, base: BaseModel, data: PreparedData) -> list[float]:
    """The training loss of each pass, in nats per token."""
    change, factor = PIPELINES[name]
    rows = replace(data, train=broken(data.train, change, base.facts.vocab_size))
    config = TrialConfig(
        lora_rank=8,
        lora_alpha=16,
        lora_target=base.facts.linear_modules,
        learning_rate=PROBING * RATE * factor,
        warmup_ratio=0.1,
        num_train_epochs=PASSES,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
        cutoff_len=CUTOFF,
        evaluations=PASSES,
        early_stopping_patience=0,
        seed=42,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = LoraRun(config, base, rows, Path(folder))
        reports = []
        for report in run:
            reports.append(report)
            print(f"{name}, pass {report.evaluation}: {report.train_loss:.3f}", flush=True)
        run.close()
    found = judge(reports)
    print(f"{name}: {found.kind}, {found.fall:.1%} less in the last pass than in the second")
    return [report.train_loss for report in reports]


def main() -> None:
    """Trains on each pipeline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipelines", nargs="*", default=list(PIPELINES), metavar="PIPELINE", help=", ".join(PIPELINES))
    asked = parser.parse_args().pipelines
    torch.set_num_threads(1)
    base = load_base(*find_model("", cache_dir()), "auto")
    spec = DataSpec("", "sft", CUTOFF, ROWS, HELD_OUT, 42)
    data = prepare_data(spec, base.tokenizer, base.tokenizer_fingerprint, cache_dir())
    for name in asked:
        started = time.process_time()
        train(name, base, data)
        print(f"{name}: {time.process_time() - started:.0f} CPU seconds", flush=True)


if __name__ == "__main__":
    main()
