"""One adapter at one linear layer: its factors, and the tokens of a pass that they act on."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Part:
    """One adapter at one layer.

    Attributes:
        a: [rank, in].
        b: [out, rank].
        scale: What B A is multiplied by.
        begin: Its first token, counted over the whole pass.
        end: The token after its last.
        drops: Share of A's inputs that is dropped.
        seed: Fixes which.
    """

    a: torch.Tensor
    b: torch.Tensor
    scale: float
    begin: int
    end: int
    drops: float
    seed: int

    def dropped(self, x: torch.Tensor) -> torch.Tensor:
        """`x` [tokens, in] as A sees it, or its gradient: the same inputs are dropped at every call."""
        if not self.drops:
            return x
        generator = torch.Generator(x.device).manual_seed(self.seed)
        mask = torch.empty_like(x).bernoulli_(1 - self.drops, generator=generator)
        return x * mask.div_(1 - self.drops)
