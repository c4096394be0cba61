"""Several adapters at one linear layer in products of groups: as many operations for sixteen adapters as for two.

For GPUs, where it is the number of operations and not their size that takes the time. The factors are stacked and
padded to a common rank; tokens are not padded.
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from trials.part import Part

# Ranks are padded to a multiple of it: rows of 16 bytes in bf16, which the kernels ask for.
RANKS = 8


class GroupedLinear(torch.autograd.Function):
    """A frozen linear layer with adapters on shares of its tokens; the reference is `shares.AdaptedLinear`."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, parts: Any, *factors: torch.Tensor
    ) -> torch.Tensor:
        """`x` is [..., in], `factors` A and B of each part."""
        flat = x.reshape(-1, x.shape[-1])
        groups = _groups(parts, len(flat))
        ends = _tensor(tuple(end for end, _ in groups), torch.int32, x.device)
        a = _stack(factors[::2], groups)
        b = _stack([factor.t() for factor in factors[1::2]], groups).mul_(_scales(groups, x))
        seen = _dropped(flat, parts)
        low = functional.grouped_mm(seen, a.transpose(1, 2), offs=ends)
        y = functional.grouped_mm(low, b, offs=ends).addmm_(flat, weight.t())  # rounded once, as there
        if bias is not None:
            y += bias
        ctx.parts, ctx.groups, ctx.shape = parts, groups, x.shape
        ctx.save_for_backward(flat, weight, a, b, low, ends)
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> Any:
        """The gradients of `x` and of the factors; the layer is frozen."""
        flat, weight, a, b, low, ends = ctx.saved_tensors
        grad = outer[0].reshape(-1, outer[0].shape[-1]).contiguous()
        grad_low = functional.grouped_mm(grad, b.transpose(1, 2), offs=ends)
        grad_b = functional.grouped_mm(low.t(), grad, offs=ends).mul_(_scales(ctx.groups, flat))
        grad_a = functional.grouped_mm(grad_low.t(), _dropped(flat, ctx.parts), offs=ends)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight).add_(_dropped(functional.grouped_mm(grad_low, a, offs=ends), ctx.parts))
            grad_x = grad_x.view(ctx.shape)
        grads: list[torch.Tensor] = []
        for place, (_, part) in enumerate(ctx.groups):
            if part is not None:
                rank = len(part.a)
                grads += [grad_a[place, :rank], grad_b[place, :rank].t()]
        return (grad_x, None, None, None, *grads)


# The end of a group's tokens, and the adapter on them; None for tokens that have none here.
Group = tuple[int, Part | None]


def _groups(parts: Sequence[Part], tokens: int) -> list[Group]:
    """The parts, and what lies between them, in order."""
    groups: list[Group] = []
    done = 0
    for part in parts:
        if part.begin > done:
            groups.append((part.begin, None))
        groups.append((part.end, part))
        done = part.end
    return groups if done == tokens else [*groups, (tokens, None)]


def _stack(factors: Sequence[torch.Tensor], groups: Sequence[Group]) -> torch.Tensor:
    """Factors [rank, size] as one tensor [groups, padded rank, size], zero where a group has no such row."""
    size, first = factors[0].shape[1], factors[0]
    rows = _rows(tuple(len(part.a) if part is not None else 0 for _, part in groups))
    # Two operations, however many factors there are: all one after another, then each row to its place.
    joined = torch.cat([*factors, _zeros(size, first.dtype, first.device)])
    return joined.index_select(0, _tensor(rows, torch.long, first.device)).view(len(groups), -1, size)


@functools.lru_cache
def _rows(ranks: tuple[int, ...]) -> tuple[int, ...]:
    """Where each row of a stack comes from among all factors' rows, behind which lies a row of zeros."""
    most, zero = -(-max(ranks) // RANKS) * RANKS, sum(ranks)
    begins = [sum(ranks[:place]) for place in range(len(ranks))]
    return tuple(
        begin + row if row < rank else zero for begin, rank in zip(begins, ranks, strict=True) for row in range(most)
    )


# All layers of a pass, and all passes of a pack, ask for the same few.
@functools.lru_cache
def _tensor(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


@functools.lru_cache
def _zeros(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.zeros(1, size, dtype=dtype, device=device)


def _scales(groups: Sequence[Group], like: torch.Tensor) -> torch.Tensor:
    """The adapters' scales, [groups, 1, 1]."""
    scales = tuple(part.scale if part is not None else 0.0 for _, part in groups)
    return _tensor(scales, like.dtype, like.device)[:, None, None]


def _dropped(x: torch.Tensor, parts: Sequence[Part]) -> torch.Tensor:
    """`x` [tokens, size] with each part's dropout, of which those without a part are free."""
    if not any(part.drops for part in parts):
        return x
    pieces, done = [], 0
    for part in parts:
        pieces += [x[done : part.begin], part.dropped(x[part.begin : part.end])]
        done = part.end
    return torch.cat([*pieces, x[done:]])


def works_grouped(device: torch.device) -> bool:
    """Whether a device has these products, with gradients, in bf16."""
    probe = [torch.ones(shape, dtype=torch.bfloat16, device=device) for shape in ((32, 16), (16, 16), (8, 16), (16, 8))]
    x, weight, a, b = (tensor.requires_grad_(place != 1) for place, tensor in enumerate(probe))
    parts = [Part(a, b, 1.0, 0, 10, 0.0, 0), Part(a, b, 1.0, 17, 32, 0.0, 0)]
    try:
        GroupedLinear.apply(x, weight, None, parts, a, b, a, b).sum().backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, AttributeError, ValueError):  # an old torch, or a GPU without them
        return False
    # 16 of the layer and 8 · 16 of the adapter for the tokens that have one; a's gradient is 16 ones for each of 25.
    return a.grad is not None and bool((a.grad == 25 * 16).all())
