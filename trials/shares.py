"""One pass of a frozen base for several adapters: each acts on its own share of the tokens.

Nothing is padded to a common rank, and an adapter has no weights outside its own: each share's products are
those that it would have alone, in shape and in value.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from trials.grouped import GroupedLinear
from trials.lora import LoraWeights
from trials.part import Part


@dataclass(frozen=True)
class Share:
    """The tokens of one adapter in a pass.

    Attributes:
        weights: The adapter.
        begin: Its first token, counted over the whole pass.
        end: The token after its last.
        chance: Seed of this pass's dropout; None for no dropout. A seed and not a generator, so that a layer that is
            computed again in the backward pass drops the same inputs.
    """

    weights: LoraWeights
    begin: int
    end: int
    chance: int | None = None


@contextlib.contextmanager
def adapted(base: Any, shares: Sequence[Share], *, grouped: bool = False) -> Iterator[None]:
    """Puts the shares' adapters into a base's forward and backward pass, which both belong inside.

    Args:
        base: A transformers model without gradients.
        shares: In the order of their tokens.
        grouped: Whether several adapters at a layer are taken in products of groups.
    """
    replaced: list[tuple[nn.Module, Any]] = []
    try:
        for path, parts in _parts(base, shares).items():
            module = base.get_submodule(path)
            replaced.append((module, module.__dict__.get("forward")))
            module.forward = _forward(module, parts, grouped=grouped)
        yield
    finally:
        for module, before in replaced:
            # accelerate lays an own forward over a module's, too, when a model is spread over GPUs.
            del module.forward
            if before is not None:
                module.forward = before


def _parts(base: Any, shares: Sequence[Share]) -> dict[str, list[Part]]:
    """What acts at each module, by its path."""
    parts: dict[str, list[Part]] = {}
    for share in shares:
        weights = share.weights
        all_a, all_b = weights.factors(base.dtype)
        drops = weights.dropout if share.chance is not None else 0.0
        for path, place in weights.places.items():
            # By the module's place in the adapter and not in the pack, whose other adapters may have other targets.
            seed = (share.chance or 0) + place
            part = Part(all_a[place], all_b[place], weights.scale, share.begin, share.end, drops, seed)
            parts.setdefault(path, []).append(part)
    return parts


def _forward(module: Any, parts: Sequence[Part], *, grouped: bool) -> Any:
    """The forward of a module with adapters on it."""
    plain = type(module) is nn.Linear and "forward" not in module.__dict__ and not module.weight.requires_grad
    own = module.forward
    function = GroupedLinear if grouped and len(parts) > 1 else AdaptedLinear

    def fused(x: torch.Tensor) -> torch.Tensor:
        # Of another type or device than the base's first weights only where a model mixes them.
        factors = [factor.to(x.device, x.dtype) for part in parts for factor in (part.a, part.b)]
        found: torch.Tensor = function.apply(x, module.weight, module.bias, parts, *factors)  # type: ignore[no-untyped-call]
        return found

    def added(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        y: torch.Tensor = own(x, *args, **kwargs)
        return y + _change(x, parts, y.shape[-1]).to(y.dtype).view(y.shape)

    return fused if plain else added


def _change(x: torch.Tensor, parts: Sequence[Part], size: int) -> torch.Tensor:
    """What the adapters add to a module's output, [tokens, out]; of quantised modules and GPT-2's."""
    flat = x.reshape(-1, x.shape[-1])
    pieces, done = [], 0
    for part in parts:
        seen = part.dropped(flat[part.begin : part.end])
        low = functional.linear(seen, part.a.to(x.device, x.dtype))
        high = functional.linear(low, part.b.to(x.device, x.dtype))
        pieces += [flat.new_zeros(part.begin - done, size), high * part.scale]
        done = part.end
    return torch.cat([*pieces, flat.new_zeros(len(flat) - done, size)])


class AdaptedLinear(torch.autograd.Function):
    """A frozen linear layer with adapters: their part is added in place, forward and backward.

    Autograd's own way would write the whole output, and the whole gradient of the input, once more for each.

    The layer's product is added to the adapters', and not theirs to it, so that both are rounded together: a young
    adapter changes an output by less than half of what bf16 tells apart there, and of that, added to a rounded output,
    about half is lost.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, parts: Any, *factors: torch.Tensor
    ) -> torch.Tensor:
        """`x` is [..., in], `factors` A and B of each part."""
        flat = x.reshape(-1, x.shape[-1])
        y, done = flat.new_empty(len(flat), len(weight)), 0
        kept = []
        for part, a, b in zip(parts, factors[::2], factors[1::2], strict=True):
            low = part.dropped(flat[part.begin : part.end]) @ a.t()
            if part.begin > done:
                y[done : part.begin].zero_()
            y[part.begin : part.end].addmm_(low, b.t(), beta=0, alpha=part.scale)
            kept += [a, b, low]
            done = part.end
        if done < len(y):
            y[done:].zero_()
        y.addmm_(flat, weight.t())
        if bias is not None:
            y += bias
        ctx.parts, ctx.shape = parts, x.shape
        ctx.save_for_backward(flat, weight, *kept)
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> Any:
        """The gradients of `x` and of the factors; the layer is frozen."""
        flat, weight, *kept = ctx.saved_tensors
        grad = outer[0].reshape(-1, outer[0].shape[-1])
        grad_x = grad @ weight if ctx.needs_input_grad[0] else None
        grads: list[torch.Tensor] = []
        for part, a, b, low in zip(ctx.parts, kept[::3], kept[1::3], kept[2::3], strict=True):
            own = grad[part.begin : part.end]
            grad_low = (own @ b).mul_(part.scale)
            seen = part.dropped(flat[part.begin : part.end])
            grads += [grad_low.t() @ seen, (own.t() @ low).mul_(part.scale)]
            if grad_x is not None and part.drops:
                grad_x[part.begin : part.end] += part.dropped(grad_low @ a)
            elif grad_x is not None:
                grad_x[part.begin : part.end].addmm_(grad_low, a)
        return (None if grad_x is None else grad_x.view(ctx.shape), None, None, None, *grads)
