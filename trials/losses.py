"""The loss of a model on rows: summed over a batch's label tokens, and the mean over an evaluation set."""

import inspect
from typing import Any

import torch
from torch.nn import functional

from trials.batches import IGNORED, MicroBatch, collate, evaluation_batches
from trials.model import BaseModel
from trials.token_rows import TokenRows


def takes_logits_to_keep(model: Any) -> bool:
    """Whether a model can be asked for the logits of some positions alone."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def summed_loss(model: Any, batch: MicroBatch, *, few_logits: bool) -> torch.Tensor:
    """The loss summed over the batch's label tokens, in nats; a scalar.

    Args:
        model: A causal language model, with an adapter or without.
        batch: On the model's device.
        few_logits: Whether to ask for the logits at labels alone: the output embedding is a fifth of a small model.
    """
    targets = batch.targets
    if few_logits:
        # Only positions where some row has a label.
        keep = (targets != IGNORED).any(dim=0).nonzero().squeeze(1)
        logits = model(input_ids=batch.ids, attention_mask=batch.mask, logits_to_keep=keep).logits
        targets = targets[:, keep]
    else:
        logits = model(input_ids=batch.ids, attention_mask=batch.mask).logits
    counted = targets != IGNORED
    return functional.cross_entropy(logits[counted].float(), targets[counted], reduction="sum")


def mean_loss(base: BaseModel, rows: TokenRows) -> float:
    """Mean loss over the rows' label tokens, in nats per token, of the base as it is."""
    few_logits = takes_logits_to_keep(base.model)
    total, labels, training = 0.0, 0, base.model.training
    base.model.eval()
    with torch.no_grad():
        for indices in evaluation_batches(rows):
            batch = collate(rows, indices, base.pad_id).to(base.device)
            total += float(summed_loss(base.model, batch, few_logits=few_logits))
            labels += batch.labels
    base.model.train(training)
    return total / max(1, labels)
