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

from trials.lora import LoraWeights


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
def adapted(base: Any, shares: Sequence[Share]) -> Iterator[None]:
    """Puts the shares' adapters into a base's forward and backward pass, which both belong inside."""
    replaced: list[tuple[nn.Module, Any]] = []
    paths = dict.fromkeys(path for share in shares for path in share.weights.factors)
    try:
        for path in paths:
            module = base.get_submodule(path)
            parts = [_Part(share, path) for share in shares if path in share.weights.factors]
            replaced.append((module, module.__dict__.get("forward")))
            module.forward = _forward(module, parts)
        yield
    finally:
        for module, before in replaced:
            # accelerate lays an own forward over a module's, too, when a model is spread over GPUs.
            del module.forward
            if before is not None:
                module.forward = before


class _Part:
    """One adapter's factors at one module, and the tokens that they act on."""

    def __init__(self, share: Share, path: str) -> None:
        self.a, self.b = share.weights.factors[path]
        self.scale, self.begin, self.end = share.weights.scale, share.begin, share.end
        self.drops = share.weights.dropout if share.chance is not None else 0.0
        # The module's place in the adapter and not in the pack, whose other adapters may have other targets.
        self._seed = (share.chance or 0) + share.weights.places[path]

    def dropped(self, x: torch.Tensor) -> torch.Tensor:
        """`x` [tokens, in] as A sees it, or its gradient: the same inputs are dropped at every call."""
        if not self.drops:
            return x
        generator = torch.Generator(x.device).manual_seed(self._seed)
        mask = torch.empty_like(x).bernoulli_(1 - self.drops, generator=generator)
        return x * mask.div_(1 - self.drops)


def _forward(module: Any, parts: Sequence[_Part]) -> Any:
    """The forward of a module with adapters on it."""
    plain = type(module) is nn.Linear and "forward" not in module.__dict__ and not module.weight.requires_grad
    own = module.forward
    factors = [factor for part in parts for factor in (part.a, part.b)]

    def fused(x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = _AdaptedLinear.apply(x, module.weight, module.bias, parts, *factors)  # type: ignore[no-untyped-call]
        return found

    def added(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        y: torch.Tensor = own(x, *args, **kwargs)
        return y + _change(x, parts, y.shape[-1]).to(y.dtype).view(y.shape)

    return fused if plain else added


def _change(x: torch.Tensor, parts: Sequence[_Part], size: int) -> torch.Tensor:
    """What the adapters add to a module's output, [tokens, out]; of quantised modules and GPT-2's."""
    flat = x.reshape(-1, x.shape[-1])
    pieces, done = [], 0
    for part in parts:
        seen = part.dropped(flat[part.begin : part.end])
        low = functional.linear(seen, part.a.to(x.dtype))
        pieces += [flat.new_zeros(part.begin - done, size), functional.linear(low, part.b.to(x.dtype)) * part.scale]
        done = part.end
    return torch.cat([*pieces, flat.new_zeros(len(flat) - done, size)])


class _AdaptedLinear(torch.autograd.Function):
    """A frozen linear layer with adapters: their part is added in place, forward and backward.

    Autograd's own way would write the whole output, and the whole gradient of the input, once more for each.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, parts: Any, *factors: torch.Tensor
    ) -> torch.Tensor:
        """`x` is [..., in], `factors` A and B of each part."""
        flat = x.reshape(-1, x.shape[-1])
        y = functional.linear(flat, weight, bias)
        kept = []
        for part, a, b in zip(parts, factors[::2], factors[1::2], strict=True):
            cast_a, cast_b = a.to(x.dtype), b.to(x.dtype)
            low = part.dropped(flat[part.begin : part.end]) @ cast_a.t()
            y[part.begin : part.end].addmm_(low, cast_b.t(), alpha=part.scale)
            kept += [cast_a, cast_b, low]
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
            grads += [(grad_low.t() @ seen).to(part.a.dtype), (own.t() @ low).mul_(part.scale).to(part.b.dtype)]
            if grad_x is not None and part.drops:
                grad_x[part.begin : part.end] += part.dropped(grad_low @ a)
            elif grad_x is not None:
                grad_x[part.begin : part.end].addmm_(grad_low, a)
        return (None if grad_x is None else grad_x.view(ctx.shape), None, None, None, *grads)
