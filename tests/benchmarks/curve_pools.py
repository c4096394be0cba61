"""Two pools of configurations to record learning curves of: which models, which rows, which settings.

A configuration is drawn from its index alone, so that the first ones are a fair sample of all, however many are
recorded. Every configuration of a pool sees as many training rows and is evaluated at the same shares of them.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spaces.targets import resolve_target
from tests.benchmarks.docstrings import signatures
from tests.benchmarks.pretrained import pretrained, unseen_pairs
from trials.config import TrialConfig
from trials.default_model import default_model

Pair = tuple[str, str]

# A question and its answer without the names of the roles and without a system turn: what is computed is mostly read.
TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }}{{ '<|im_end|>' if m['role'] == 'assistant' else '\n' }}{% endfor %}"
)
SECOND_SEEDS = 3  # every third configuration is run at a second seed


@dataclass(frozen=True)
class Pool:
    """Configurations of one model on one data set.

    Attributes:
        name: The file of its curves.
        model: Makes the model's folder in a cache folder.
        dtype: Of the base model.
        pairs: All questions and answers.
        rates: Least and highest learning rate; drawn evenly on a log scale.
        ranks: Of the adapter.
        batches: Rows in an optimizer step.
        epochs: Passes over the training rows. All see the same number of rows in all, so that many passes are over
            few rows.
        rows: Training rows that a run sees; at least `evaluations` of the largest batches.
        evaluations: Evaluations of a run.
        evaluation_rows: Rows in the evaluation set.
        cutoff_len: Tokens at which a row is cut.
    """

    name: str
    model: Callable[[Path], Path]
    dtype: str
    pairs: Callable[[], Sequence[Pair]]
    rates: tuple[float, float]
    ranks: tuple[int, ...]
    batches: tuple[int, ...]
    epochs: tuple[int, ...]
    rows: int
    evaluations: int
    evaluation_rows: int
    cutoff_len: int

    def training_rows(self, knobs: Mapping[str, Any]) -> int:
        """Distinct rows of a configuration."""
        return self.rows // int(knobs["num_train_epochs"])


def draw(pool: Pool, index: int) -> dict[str, Any]:
    """The knobs of a configuration: sft_lora's, each over more than the space allows.

    Half have the space's schedule and warm-up, half any: a constant rate's curve crosses a cosine's.
    """
    generator = random.Random(f"{pool.name} {index}")
    low, high = pool.rates
    rate = low * (high / low) ** generator.random()
    ratio, rank = generator.choice((1, 2)), generator.choice(pool.ranks)
    usual = generator.random() < 0.5
    other = generator.choice(("linear", "constant", "constant_with_warmup", "warmup_stable_decay"))
    warmups = (0.1, 0.15, 0.2) if usual else (0.0, 0.05, 0.3)
    return {
        "learning_rate": float(f"{rate:.3g}"),
        "lora_rank": rank,
        "alpha_ratio": ratio,
        "lora_target": generator.choice(("qv", "attention", "mlp", "all")),
        "effective_batch_size": generator.choice(pool.batches),
        "num_train_epochs": generator.choice(pool.epochs),
        "lr_scheduler_type": "cosine" if usual else other,
        "warmup_ratio": generator.choice(warmups),
    }


def seeds(index: int) -> tuple[int, ...]:
    """The seeds that a configuration is run at."""
    return (1, 2) if index % SECOND_SEEDS == 0 else (1,)


def config(pool: Pool, knobs: Mapping[str, Any], seed: int, module_names: Sequence[str], micro: int) -> TrialConfig:
    """The run of a configuration, with at most `micro` rows in a forward pass."""
    batch = int(knobs["effective_batch_size"])
    return TrialConfig(
        lora_rank=knobs["lora_rank"],
        lora_alpha=knobs["lora_rank"] * knobs["alpha_ratio"],
        lora_target=resolve_target(knobs["lora_target"], module_names),
        learning_rate=knobs["learning_rate"],
        lr_scheduler_type=knobs["lr_scheduler_type"],
        warmup_ratio=knobs["warmup_ratio"],
        num_train_epochs=knobs["num_train_epochs"],
        max_rows=pool.rows,
        per_device_train_batch_size=min(micro, batch),
        gradient_accumulation_steps=batch // min(micro, batch),
        cutoff_len=pool.cutoff_len,
        evaluations=pool.evaluations,
        early_stopping_patience=0,
        seed=seed,
    )


def write_pairs(pool: Pool, path: Path) -> Path:
    """Writes the pool's questions and answers as chats."""
    lines = []
    for question, answer in pool.pairs():
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        lines.append(json.dumps({"messages": turns}))
    path.write_text("\n".join(lines) + "\n", encoding="utf8")
    return path


def _short_talk() -> list[Pair]:
    return [(q, a) for q, a in unseen_pairs() if 6 < len(q) <= 26 and 6 < len(a) <= 28]


POOLS = {
    "small": Pool(
        name="small",
        model=lambda cache: pretrained(cache / "state-curves-model"),
        dtype="fp32",
        pairs=signatures,
        rates=(1e-4, 1e-1),
        ranks=(4, 8, 16, 32),
        batches=(8, 16, 32),
        epochs=(1, 2, 5, 12),
        rows=480,
        evaluations=15,
        evaluation_rows=100,
        cutoff_len=96,
    ),
    "default": Pool(
        name="default",
        model=default_model,
        dtype="bf16",
        pairs=_short_talk,
        rates=(1e-5, 1e-2),
        ranks=(8, 16, 32, 64),
        batches=(4, 8, 16),
        epochs=(2, 3, 5, 10),
        rows=240,
        evaluations=15,
        evaluation_rows=100,
        cutoff_len=32,
    ),
}
