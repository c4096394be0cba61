"""A plain PyTorch and PEFT training loop, as a user writes it: what the floor and the peers run."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tests.benchmarks.peers.work import SEED, Work, trial_name
from trials.data import PreparedData
from trials.token_rows import TokenRows


def load(work: Work) -> tuple[Any, PreparedData]:
    """The base model in fp32, frozen, and the rows."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(work.folder)
    model = AutoModelForCausalLM.from_pretrained(work.folder, dtype=torch.float32).requires_grad_(False)
    return model, work.data(tokenizer)


def train(
    work: Work, base: Any, data: PreparedData, rank: int, rate: float, report: Callable[[int, float], bool]
) -> float:
    """One trial with a fresh adapter; the best evaluation loss.

    Args:
        work: How long and on what.
        base: Comes back as it was.
        data: The rows.
        rank: The adapter's; alpha is twice as much.
        rate: Its learning rate.
        report: Takes an evaluation's number, from 1, and its loss; True to end the trial.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import get_cosine_schedule_with_warmup

    torch.manual_seed(SEED)
    lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(base, lora)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, work.warmup_steps, work.steps)
    order, trial = row_order(work, data), trial_name(rank, rate)
    best, evaluated_after = float("inf"), work.evaluated_after
    model.train()
    for step in range(1, work.steps + 1):
        batch = padded(data.train, order[(step - 1) * work.batch : step * work.batch])
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step == 1:
            work.say_begun(trial)
        if step in evaluated_after:
            loss = evaluate(model, data.evaluation)
            best = min(best, loss)
            work.say_evaluated(trial, step, loss)
            if report(evaluated_after.index(step) + 1, loss):
                break
    model.unload()
    return best


def row_order(work: Work, data: PreparedData) -> list[int]:
    """The training rows' numbers in the order of a trial: the program's own, epoch by epoch."""
    epochs = -(-work.steps * work.batch // len(data.train))
    orders = [np.random.default_rng([SEED, epoch]).permutation(len(data.train)) for epoch in range(epochs)]
    order: list[int] = np.concatenate(orders)[: work.steps * work.batch].tolist()
    return order


def evaluate(model: Any, rows: TokenRows) -> float:
    """Mean loss over the rows' labels, in nats per token."""
    model.eval()
    total, labels = 0.0, 0
    with torch.no_grad():
        for begin in range(0, len(rows), 8):
            batch = padded(rows, list(range(begin, min(begin + 8, len(rows)))))
            count = int((batch["labels"][:, 1:] != -100).sum())
            total += float(model(**batch).loss) * count
            labels += count
    model.train()
    return total / labels


def padded(rows: TokenRows, indices: list[int]) -> dict[str, torch.Tensor]:
    """Rows padded on the right, as a model's forward takes them with labels."""
    longest = max(rows.length(i) for i in indices)
    ids = torch.zeros(len(indices), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for line, index in enumerate(indices):
        row = torch.from_numpy(rows.ids(index).astype(np.int64))
        counts = torch.from_numpy(np.array(rows.is_label(index)))
        ids[line, : len(row)], mask[line, : len(row)] = row, 1
        labels[line, : len(row)] = torch.where(counts, row, -100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
