"""The losses of a base model at label tokens: no logits elsewhere, and none of all labels at once.

Knows the output layer and the two ways that rows go through a model: one after another in one sequence, or, for
models that cannot keep them apart, side by side and padded.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from trials.batches import MicroBatch
from trials.model import BaseModel
from trials.row_attention import rows_apart

# Logits that are held at once: 32 MB in fp32.
CHUNK_LOGITS = 1 << 23


@contextlib.contextmanager
def laid(base: BaseModel, batch: MicroBatch) -> Iterator[None]:
    """What a pass of `batch` needs around forward and backward."""
    if base.passes.joined:
        with rows_apart(base.model, batch.lengths):
            yield
    else:
        yield


def label_losses(base: BaseModel, batch: MicroBatch) -> torch.Tensor:
    """The loss at each label token of the batch, in nats, [labels]; within `laid`."""
    if base.passes.joined:
        inputs = {"input_ids": batch.ids[None], "position_ids": batch.positions[None]}
        places = batch.label_places
    else:
        inputs, places = batch.padded(base.pad_id)
    wanted = batch.label_ids
    if base.passes.plain_output:
        hidden = _before_output(base.model, places, inputs)
        head = base.model.get_output_embeddings()
        wanted = wanted.to(hidden.device)  # another than the first one's where a model is spread over GPUs
        losses: torch.Tensor = _PlainLosses.apply(hidden, head.weight, head.bias, wanted)  # type: ignore[no-untyped-call]
        return losses
    logits = base.model(**inputs).logits
    labelled = logits.reshape(-1, logits.shape[-1])[places.to(logits.device)]
    return functional.cross_entropy(labelled.float(), wanted.to(logits.device), reduction="none")


class _Reached(Exception):
    """The pass has come to the output layer: nothing after it is needed."""


def _before_output(model: Any, places: torch.Tensor, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the output layer would see at `places`, [places, hidden]."""
    seen: list[torch.Tensor] = []

    def take(_: Any, args: tuple[torch.Tensor, ...]) -> None:
        seen.append(args[0])
        raise _Reached

    hook = model.get_output_embeddings().register_forward_pre_hook(take)
    try:
        with contextlib.suppress(_Reached):
            model(**inputs)
    finally:
        hook.remove()
    return seen[0].reshape(-1, seen[0].shape[-1])[places.to(seen[0].device)]


class _PlainLosses(torch.autograd.Function):
    """Cross-entropy behind a frozen output layer, a chunk of labels at a time.

    As the layer is frozen, all that a backward pass needs is each loss's gradient at its hidden state; it is
    computed while the chunk's logits are there.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, wanted: torch.Tensor
    ) -> torch.Tensor:
        """`hidden` is [labels, hidden], `wanted` the right tokens' ids [labels]."""
        losses = hidden.new_empty(len(hidden), dtype=torch.float32)
        grads = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        size = max(1, CHUNK_LOGITS // weight.shape[0])
        for begin in range(0, len(hidden), size):
            part = slice(begin, begin + size)
            logits = functional.linear(hidden[part], weight, bias).float()
            right = wanted[part, None]
            summed = logits.logsumexp(1, keepdim=True)
            losses[part] = (summed - logits.gather(1, right)).squeeze(1)
            if grads is not None:
                logits.sub_(summed).exp_().scatter_add_(1, right, torch.full_like(summed, -1))
                grads[part] = logits.to(weight.dtype) @ weight
        ctx.save_for_backward(grads)
        return losses

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> Any:
        """The gradient of `hidden`."""
        (grads,) = ctx.saved_tensors
        return (grads * outer[0][:, None].to(grads.dtype), None, None, None)
