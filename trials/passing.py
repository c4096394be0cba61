"""Passes of several runs at once: one forward and backward of the frozen base for the next micro-batch of each.

A run alone is a pack of one. Knows the runs' doors and nothing of their optimizers.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from trials.batches import EVALUATION_TOKENS, MicroBatch, collate, join, split
from trials.lora import LoraWeights
from trials.losses import label_losses, laid
from trials.model import BaseModel
from trials.shares import Share, adapted
from trials.token_rows import TokenRows

if TYPE_CHECKING:
    from trials.run import LoraRun


def pass_together(base: BaseModel, runs: Sequence["LoraRun"]) -> None:
    """Takes the next micro-batch of each run forward and backward, and lets each take what comes of it.

    The loss of a run's step is the mean over the label tokens of its own whole window, so that it depends neither on
    how the window was split nor on who else is in the pass.

    Args:
        base: What all of them train on.
        runs: None of them done; more than one only of those that can share a pass.
    """
    batches = [run.next_micro_batch() for run in runs]
    adapters = [run.shared_weights for run in runs]
    shares = shares_of(adapters, batches, [run.chance for run in runs])
    batch = join(batches).to(base.device)
    if not base.model.training:  # and left so: to go through all modules takes a tenth of a tiny model's pass
        base.model.train()
    with around(base, batch, shares):
        losses = label_losses(base, batch)
        each = torch.tensor([1 / max(1, run.window_labels) for run in runs])
        weights = each.repeat_interleave(torch.tensor([part.labels for part in batches]))
        torch.autograd.backward(losses, weights.to(losses.device))
    owned = torch.split(losses.detach(), [part.labels for part in batches])
    for run, part, own in zip(runs, batches, owned, strict=True):
        run.take(float(own.sum()), part)


def mean_losses(base: BaseModel, rows: TokenRows, adapters: Sequence[LoraWeights | None]) -> list[float]:
    """Mean loss over the rows' label tokens, in nats per token, with each of the adapters.

    Args:
        base: The base, with a PEFT adapter in it or as it is.
        rows: All of them count.
        adapters: None for the base as it is.
    """
    totals, labels = [0.0] * len(adapters), 0
    most = max(1, base.room.within(EVALUATION_TOKENS) // len(adapters))
    with torch.no_grad(), evaluating(base):
        for indices in split(rows, range(len(rows)), len(rows), most):
            one = collate(rows, indices)
            batches = [one] * len(adapters)
            batch = join(batches).to(base.device)
            shares = shares_of(adapters, batches, [None] * len(adapters))
            with around(base, batch, shares):
                losses = label_losses(base, batch)
            for place, own in enumerate(torch.split(losses, [one.labels] * len(adapters))):
                totals[place] += float(own.sum())
            labels += one.labels
    return [total / max(1, labels) for total in totals]


@contextlib.contextmanager
def around(base: BaseModel, batch: MicroBatch, shares: Sequence[Share]) -> Iterator[None]:
    """What forward and backward pass of a batch take place in: its rows laid out, and its adapters on their shares."""
    with laid(base, batch), adapted(base.model, shares_in(base, batch, shares), grouped=base.passes.grouped):
        yield


def shares_of(
    adapters: Sequence[LoraWeights | None], batches: Sequence[MicroBatch], chances: Sequence[int | None]
) -> list[Share]:
    """Which tokens of the joined batches are whose; those of None are the base's alone."""
    shares, begin = [], 0
    for weights, batch, chance in zip(adapters, batches, chances, strict=True):
        if weights is not None:
            shares.append(Share(weights, begin, begin + batch.tokens, chance))
        begin += batch.tokens
    return shares


def shares_in(base: BaseModel, batch: MicroBatch, shares: Sequence[Share]) -> list[Share]:
    """The shares as the base sees their tokens: where rows lie side by side, with the padding among them."""
    if base.passes.joined:
        return list(shares)
    longest, place = max(batch.lengths), {0: 0}
    total = 0
    for number, length in enumerate(batch.lengths, start=1):
        total += length
        place[total] = number * longest
    return [replace(share, begin=place[share.begin], end=place[share.end]) for share in shares]


@contextlib.contextmanager
def evaluating(base: BaseModel) -> Iterator[None]:
    """Puts the base in evaluation mode, and back afterwards."""
    before = base.model.training
    base.model.eval()
    try:
        yield
    finally:
        base.model.train(before)
