"""Attention among rows that lie one after another in one sequence: each row sees itself alone, and none is padded.

transformers calls `attend` in place of its own attention while a `rows_apart` context is open. It knows lengths
and nothing of adapters.
"""

import contextlib
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface

from trials.errors import ModelError

NAME = "lora_sweep_rows"
# What an attention may be asked for that this one does not have.
FOREIGN = ("softcap", "s_aux", "position_bias", "head_mask", "sinks")


class _Rows:
    """Where the rows of the pass that is under way begin and end. One for the process, as it does one pass at a time.

    Not a context variable: a backward pass computes layers again on threads of its own. Rows are `side_by_side` on a
    GPU.
    """

    bounds: tuple[tuple[int, int], ...] = ()
    side_by_side = torch.cuda.is_available()


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
        ModelError: The architecture's attention is another one.
    """
    asked = [name for name in FOREIGN if others.get(name) is not None]
    if asked or attention_mask is not None or others.get("is_causal") is False or query.shape[0] != 1:
        raise ModelError(f"rows cannot be joined for an attention with {', '.join(asked) or 'a mask'}")
    by_row = len(_Rows.bounds) == 1 or not _Rows.side_by_side
    settings = {"dropout_p": dropout, "scale": scaling, "enable_gqa": query.shape[1] != key.shape[1]}
    attention = _one_by_one if by_row else _side_by_side
    return attention(query, key, value, sliding_window, settings), None


def _one_by_one(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None, settings: Any
) -> torch.Tensor:
    """A product for rows of one length that lie behind each other: nothing is padded."""
    found = []
    for length, run in groupby(_Rows.bounds, key=lambda bound: bound[1] - bound[0]):
        bounds = list(run)
        begin, end = bounds[0][0], bounds[-1][1]
        # [1, heads, rows · length, size] as [rows, heads, length, size], without a copy
        queries, keys, values = (
            part[0, :, begin:end].reshape(part.shape[1], -1, length, part.shape[3]).transpose(0, 1)
            for part in (query, key, value)
        )
        found.append(_causal(queries, keys, values, window, settings).transpose(1, 2).flatten(0, 1))
    return (torch.cat(found) if len(found) > 1 else found[0])[None]


def _side_by_side(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None, settings: Any
) -> torch.Tensor:
    """One product of all rows, padded for it and for nothing else: a GPU's time goes by the number of products."""
    lengths = torch.tensor([end - begin for begin, end in _Rows.bounds], device=query.device)
    begins = torch.tensor([begin for begin, _ in _Rows.bounds], device=query.device)
    longest = max(end - begin for begin, end in _Rows.bounds)
    within = torch.arange(longest, device=query.device)
    # Behind a row's end its last token stands in; no earlier token sees it, and its own result is not taken.
    places = begins[:, None] + torch.minimum(within[None], lengths[:, None] - 1)
    rows, tokens = len(lengths), query.shape[2]
    queries, keys, values = (
        part[0].index_select(1, places.flatten()).view(part.shape[1], rows, longest, -1).transpose(0, 1)
        for part in (query, key, value)
    )
    found = _causal(queries, keys, values, window, settings)
    row = torch.repeat_interleave(torch.arange(rows, device=query.device), lengths, output_size=tokens)
    taken = row * longest + torch.arange(tokens, device=query.device) - begins[row]
    return found.transpose(1, 2).flatten(0, 1).index_select(0, taken)[None]


def _causal(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None, settings: Any
) -> torch.Tensor:
    """Causal attention in each row, [rows, heads, seq, size]."""
    length, mask = query.shape[2], None
    if window is not None and length > window:
        ones = torch.ones(length, length, dtype=torch.bool, device=query.device)
        mask = ones.tril().triu(1 - window)
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, **settings
    )


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
    except (ModelError, TypeError, ValueError, RuntimeError, AttributeError, KeyError, IndexError):
        return False
    # Against what a leak would change, as rounding differs from type to type.
    return bool((apart - alone).abs().max() < 0.2 * (leaking - alone).abs().max())


AttentionInterface.register(NAME, attend)
