"""Records real learning curves of runs that were made to be healthy or sick, into `tests/data/state_curves/`.

`nice -n 10 python -m tests.benchmarks.record_states [--seeds … --states … --to FILE]`: pretrains a tiny Llama once
(kept in the cache), then fine-tunes it through `LoraRun`, once a curve, on one CPU thread. A curve is a JSON line: how
it was made, its settings, what a log of it would hold (training losses averaged over `logging_steps`, evaluations),
and what the labelling rule (`tests.benchmarks.state_curves`) needs.
"""

import argparse
import json
import math
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.pretrained import pretrained, write_chats
from tests.trials.tiny_runs import drive
from trials.config import TrialConfig
from trials.data import DataSpec, PreparedData, prepare_data
from trials.model import BaseModel, load_base
from trials.paths import cache_dir
from trials.protocol import Moved
from trials.run import LoraRun

STATES = (
    "healthy",
    "rate too high",
    "rate rather high",
    "rate too low",
    "rate rather low",
    "few rows, many epochs",
    "random answers",
    "random answers, few",
    "rate rather high, small batches",
    "rate a little low",
    "few steps",
)
FACTORS = {
    "rate too high": (10, 150),
    "rate rather high": (3, 10),
    "rate rather high, small batches": (2, 8),
    "rate too low": (1 / 3000, 1 / 50),
    "rate rather low": (1 / 50, 1 / 10),
    "rate a little low": (1 / 15, 1 / 4),
}
# Around this rate the tiny model learns best; a healthy run stays within a factor of two.
GOOD_RATE = 5e-3
DIGITS = 4
TARGETS = ("q_proj", "v_proj", "k_proj", "o_proj")


@dataclass(frozen=True)
class Plan:
    """One curve to record."""

    state: str
    seed: int
    rows: int
    logging_steps: int
    config: TrialConfig

    @property
    def noise(self) -> bool:
        """Whether the answers are random signs."""
        return self.state.startswith("random")


def plan(state: str, seed: int) -> Plan:
    """Draws a run that should end in a state."""
    generator = random.Random(f"{state} {seed}")
    few = state in ("few rows, many epochs", "random answers, few")
    sizes = (16, 20, 24) if few else (120, 160, 200) if "rather" in state else (240, 320, 480)
    rows = generator.choice((48, 64, 96) if state == "few steps" else sizes)
    epochs = generator.choice((20, 30)) if few else 1 if state == "few steps" else generator.choice((1, 1.5, 2))
    factor = FACTORS.get(state, (0.5, 2))
    rate = GOOD_RATE * math.exp(generator.uniform(math.log(factor[0]), math.log(factor[1])))
    batch = generator.choice((1, 2)) if state.endswith("small batches") else 4
    config = TrialConfig(
        lora_rank=generator.choice((4, 8, 16)),
        lora_alpha=16,
        lora_target=generator.choice((TARGETS[:2], TARGETS)),
        learning_rate=float(f"{rate:.3g}"),
        lr_scheduler_type=generator.choice(("cosine", "linear", "constant_with_warmup")),
        warmup_ratio=generator.choice((0.0, 0.05, 0.1)),
        max_grad_norm=generator.choice((1.0, 1.0, 0.0)) if "high" in state else 1.0,
        num_train_epochs=epochs,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=1,
        cutoff_len=128,
        evaluations=generator.choice((5, 8, 12)),
        early_stopping_patience=0,
        seed=seed,
    )
    return Plan(state, seed, rows, generator.choice((1, 2, 4)), config)


def record(planned: Plan, base: BaseModel, folder: Path) -> dict[str, Any]:
    """Trains one run; returns its line."""
    data = _data(planned, base, folder)
    run = LoraRun(planned.config, base, data, folder / "run")
    first = run.evaluate()
    steps: list[Moved] = []
    try:
        reports = list(drive(run, steps.append))
    finally:
        run.close()
    return {
        "state": planned.state,
        "seed": planned.seed,
        "rows": planned.rows,
        "settings": planned.config.to_dict(),
        "untrained": round(first, DIGITS),
        "total_steps": run.total_steps,
        "training": _logged(steps, planned.logging_steps),
        "evaluation": [[report.step, round(report.eval_loss, DIGITS)] for report in reports],
    }


def _logged(steps: list[Moved], every: int) -> list[list[float]]:
    """Step, epoch, mean loss and rate, every so many steps, as a trainer logs them."""
    points = []
    for start in range(0, len(steps) - every + 1, every):
        part = steps[start : start + every]
        loss = sum(moved.train_loss for moved in part) / every
        last = part[-1]
        points.append([last.step, round(last.epoch, 3), round(loss, DIGITS), float(f"{last.learning_rate:.4g}")])
    return points


def _data(planned: Plan, base: BaseModel, folder: Path) -> PreparedData:
    held_out = 24
    chats = write_chats(folder / "chats.jsonl", planned.rows + held_out + 40, planned.seed, planned.noise)
    spec = DataSpec(str(chats), "sft", planned.config.cutoff_len, planned.rows, held_out, planned.seed)
    return prepare_data(spec, base.tokenizer, base.tokenizer_fingerprint, folder / "cache")


def main() -> None:
    """Records a curve of each state for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=range(10), help="a curve of each state for each")
    parser.add_argument("--to", type=Path, default=Path("tests/data/state_curves/curves.jsonl"))
    parser.add_argument("--states", nargs="*", default=STATES)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    base = load_base(pretrained(cache_dir() / "state-curves-model"), "tiny pretrained", "fp32")
    asked.to.parent.mkdir(parents=True, exist_ok=True)
    with asked.to.open("a", encoding="utf8") as file:
        for seed in asked.seeds:
            for state in asked.states:
                started = time.process_time()
                with tempfile.TemporaryDirectory() as folder:
                    line = record(plan(state, seed), base, Path(folder))
                file.write(json.dumps(line) + "\n")
                file.flush()
                last = line["evaluation"][-1][1]
                print(
                    f"{state} {seed}: {line['total_steps']} steps, rate {line['settings']['learning_rate']:g}, "
                    f"{line['untrained']:.2f} -> {last:.2f}, {time.process_time() - started:.1f} CPU s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
