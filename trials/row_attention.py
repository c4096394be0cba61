"""Attention among rows that lie one after another in one sequence: each row sees itself alone, and none is padded.

transformers calls `attend` in place of its own attention while a `rows_apart` context is open. It knows lengths
and nothing of adapters.
"""

import contextlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface

NAME = "lora_sweep_rows"
# What an attention may be asked for that this one does not have.
FOREIGN = ("softcap", "s_aux", "position_bias", "head_mask", "sinks")


class _Rows:
    """Where the rows of the pass that is under way begin and end. One for the process, as it does one pass at a time.

    Not a context variable: a backward pass computes layers again on threads of its own.
    """

    bounds: tuple[tuple[int, int], ...] = ()


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of each row on itself; transformers' interface.

    Args:
        module: The attention module.
        query: [1, heads, tokens, size].
        key: [1, key heads, tokens, size].
        value: [1, key heads, tokens, size].
        attention_mask: None: the rows' bounds say all.
        dropout: Share of the weights that is dropped.
        scaling: Of the products; None for 1 / sqrt(size).
        sliding_window: Tokens that a token sees, itself included; None for all before it.
        others: What an architecture adds.

    Returns:
        [1, tokens, heads, size], and no weights.

    Raises:
        NotImplementedError: The architecture's attention is another one.
    """
    asked = [name for name in FOREIGN if others.get(name) is not None]
    if asked or attention_mask is not None or others.get("is_causal") is False or query.shape[0] != 1:
        raise NotImplementedError(f"attention with {', '.join(asked) or 'a mask'}")
    found = []
    for begin, end in _Rows.bounds:
        window = None
        if sliding_window is not None and end - begin > sliding_window:
            ones = torch.ones(end - begin, end - begin, dtype=torch.bool, device=query.device)
            window = ones.tril().triu(1 - sliding_window)
        found.append(
            functional.scaled_dot_product_attention(
                query[:, :, begin:end],
                key[:, :, begin:end],
                value[:, :, begin:end],
                attn_mask=window,
                dropout_p=dropout,
                is_causal=window is None,
                scale=scaling,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        )
    return torch.cat(found, dim=2).transpose(1, 2).contiguous(), None


@contextlib.contextmanager
def rows_apart(model: Any, lengths: Sequence[int]) -> Iterator[None]:
    """Lets a model keep rows of these lengths apart; forward and backward pass both belong inside."""
    config, before = model.config, model.config._attn_implementation
    ends = torch.tensor([0, *lengths]).cumsum(0).tolist()
    _Rows.bounds = tuple(pairwise(ends))
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _Rows.bounds = ()


def keeps_rows_apart(model: Any) -> bool:
    """Whether a model computes two joined rows as it does each alone; found by doing so.

    Models with a state of their own (Mamba), with positions from the mask (ALiBi) or with code of their own do not.
    """
    tokens, first = min(12, int(model.config.get_text_config().vocab_size)), 5
    ids = torch.arange(tokens, device=model.get_input_embeddings().weight.device)[None]
    positions = torch.cat([torch.arange(first), torch.arange(tokens - first)])[None].to(ids.device)
    try:
        with torch.no_grad():
            alone = model(input_ids=ids[:, first:]).logits
            leaking = model(input_ids=ids).logits[:, first:]
            with rows_apart(model, [first, tokens - first]):
                apart = model(input_ids=ids, position_ids=positions).logits[:, first:]
    except (NotImplementedError, TypeError, ValueError, RuntimeError, AttributeError, KeyError, IndexError):
        return False
    # Against what a leak would change, as rounding differs from type to type.
    return bool((apart - alone).abs().max() < 0.2 * (leaking - alone).abs().max())


AttentionInterface.register(NAME, attend)
