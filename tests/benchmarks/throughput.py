"""Useful training tokens a CPU second: ours, and transformers' Trainer in fp32 with right padding, on the same rows.

`python -m tests.benchmarks.throughput [--steps 6] [--repeats 3] [--dtypes fp32 bf16]`. The default model and data, LoRA
of rank 8 on every linear module, batches of eight rows, one thread. Both train on the same rows in the same order from
the same first weights, in turns; useful tokens are those of the rows, without padding. Asserts nothing.
"""

import argparse
import resource
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from trials.batches import RowOrder, window
from trials.config import TrialConfig
from trials.data import DataSpec, PreparedData, prepare_data
from trials.model import BaseModel, find_model, linear_modules, load_base
from trials.passing import mean_losses, pass_together
from trials.paths import cache_dir
from trials.run import LoraRun

BATCH, CUTOFF, ROWS, EVALUATION_ROWS = 8, 256, 400, 32


def settings(base: BaseModel, steps: int) -> TrialConfig:
    """A run of so many steps."""
    return TrialConfig(
        lora_rank=8,
        lora_alpha=16,
        lora_target=linear_modules(base.model),
        learning_rate=5e-4,
        warmup_ratio=0.0,
        lr_scheduler_type="constant",
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=1,
        cutoff_len=CUTOFF,
        max_rows=BATCH * steps,
        num_train_epochs=1e6,
        evaluations=1,
        seed=1,
    )


def cpu_seconds() -> float:
    """Of this process so far, in user and system mode."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def train_here(base: BaseModel, data: PreparedData, steps: int) -> tuple[float, float]:
    """Trains as a trial does; CPU seconds of the training, and the evaluation loss after it."""
    with tempfile.TemporaryDirectory() as folder:
        run = LoraRun(settings(base, steps), base, data, Path(folder))
        started = cpu_seconds()
        while not run.done:
            pass_together(base, [run])
        seconds = cpu_seconds() - started
        loss = run.evaluate()
        run.close()
    return seconds, loss


def train_there(base: BaseModel, data: PreparedData, steps: int) -> tuple[float, float]:
    """The same with PEFT and transformers' Trainer."""
    from peft import LoraConfig, get_peft_model
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    config = settings(base, steps)
    torch.manual_seed(config.seed)
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=list(config.lora_target), task_type="CAUSAL_LM")
    model = get_peft_model(base.model, lora)
    order = RowOrder(len(data.train), config.seed)
    indices = [index for step in range(steps) for index in window(order, step, BATCH)]

    class InOrder(Trainer):  # type: ignore[misc]
        """Takes the rows as they come."""

        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(rows)

    rows = [as_example(data, index) for index in indices]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            max_steps=steps,
            learning_rate=config.learning_rate,
            lr_scheduler_type="constant",
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
        )
        collator = DataCollatorForSeq2Seq(base.tokenizer, padding=True, label_pad_token_id=-100)
        trainer = InOrder(model=model, args=arguments, train_dataset=rows, data_collator=collator)
        started = cpu_seconds()
        trainer.train()
        seconds = cpu_seconds() - started
    (loss,) = mean_losses(base, data.evaluation, [None])
    model.unload()
    base.model.requires_grad_(False)
    return seconds, loss


def as_example(data: PreparedData, index: int) -> dict[str, list[int]]:
    """A row as a Trainer takes it."""
    ids, is_label = data.train.ids(index).tolist(), data.train.is_label(index).tolist()
    labels = [token if counts else -100 for token, counts in zip(ids, is_label, strict=True)]
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}


def main(given: Sequence[str] | None = None) -> None:
    """Runs both in turns and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"])
    asked = parser.parse_args(given)
    torch.set_num_threads(1)
    folder, name = find_model("", cache_dir())
    bases = {dtype: load_base(folder, name, dtype) for dtype in dict.fromkeys(["fp32", *asked.dtypes])}
    spec = DataSpec("", "sft", CUTOFF, ROWS, EVALUATION_ROWS, seed=42)
    data = prepare_data(spec, bases["fp32"].tokenizer, bases["fp32"].tokenizer_fingerprint, cache_dir())
    order = RowOrder(len(data.train), 1)
    tokens = sum(data.train.length(i) for step in range(asked.steps) for i in window(order, step, BATCH))
    contestants: dict[str, Callable[[], tuple[float, float]]] = {
        "Trainer, fp32": lambda: train_there(bases["fp32"], data, asked.steps)
    }
    for dtype in asked.dtypes:
        contestants[f"ours, {dtype}"] = lambda base=bases[dtype]: train_here(base, data, asked.steps)  # type: ignore[misc]
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    losses: dict[str, float] = {}
    for _ in range(asked.repeats):
        for contestant, train in contestants.items():
            seconds, losses[contestant] = train()
            rates[contestant].append(tokens / seconds)
            print(f"  {contestant}: {rates[contestant][-1]:.0f} tokens a CPU second", flush=True)
    first = statistics.median(rates["Trainer, fp32"])
    print(f"\n{tokens:,} tokens in {asked.steps} steps; median of {asked.repeats}\n")
    print("| | useful tokens a CPU second | times the Trainer's | evaluation loss after it |")
    print("| --- | --- | --- | --- |")
    for contestant, measured in rates.items():
        rate = statistics.median(measured)
        print(f"| {contestant} | {rate:.0f} | {rate / first:.2f} | {losses[contestant]:.4f} |")


if __name__ == "__main__":
    main()
