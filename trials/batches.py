"""Which rows a run sees when, and their tensors.

Windows of `effective_batch_size` rows, each split into micro-batches: the split changes how much memory is used,
never what is learnt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch

from trials.token_rows import TokenRows

# Tokens in one evaluation batch: large enough to keep the matrix units busy.
EVALUATION_TOKENS = 2048


@dataclass(frozen=True)
class MicroBatch:
    """Rows for one forward pass, one after another.

    Attributes:
        ids: Token ids, [tokens].
        positions: Each token's place in its row, [tokens].
        lengths: Tokens of each row.
        label_places: The tokens behind which a label follows, counted over all, [labels].
        label_ids: Those labels, [labels].
    """

    ids: torch.Tensor
    positions: torch.Tensor
    lengths: tuple[int, ...]
    label_places: torch.Tensor
    label_ids: torch.Tensor

    @property
    def tokens(self) -> int:
        """Tokens in it."""
        return len(self.ids)

    @property
    def labels(self) -> int:
        """Tokens whose prediction counts."""
        return len(self.label_ids)

    def to(self, device: torch.device) -> "MicroBatch":
        """The same batch on `device`."""
        names = ("ids", "positions", "label_places", "label_ids")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})

    def padded(self, pad_id: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The rows side by side, padded on the right.

        Returns:
            What a model takes, `input_ids` and `attention_mask` [rows, longest]; and where in them, counted over
            all, the label places lie.
        """
        rows, longest = len(self.lengths), max(self.lengths)
        lengths = torch.tensor(self.lengths, device=self.ids.device)
        row = torch.repeat_interleave(torch.arange(rows, device=self.ids.device), lengths)
        places = row * longest + self.positions
        ids = self.ids.new_full((rows * longest,), pad_id)
        mask = torch.zeros_like(ids)
        ids[places], mask[places] = self.ids, 1
        return {"input_ids": ids.view(rows, -1), "attention_mask": mask.view(rows, -1)}, places[self.label_places]


def collate(rows: TokenRows, indices: Sequence[int]) -> MicroBatch:
    """Joins the rows at `indices` into one batch."""
    ids, positions, places = [], [], []
    begin = 0
    for index in indices:
        row = np.asarray(rows.ids(index), dtype=np.int64)
        ids.append(row)
        positions.append(np.arange(len(row)))
        # The logits at a position predict the token after it.
        places.append(begin + np.flatnonzero(np.asarray(rows.is_label(index), dtype=bool)[1:]))
        begin += len(row)
    joined, label_places = np.concatenate(ids), np.concatenate(places)
    return MicroBatch(
        ids=torch.from_numpy(joined),
        positions=torch.from_numpy(np.concatenate(positions)),
        lengths=tuple(len(row) for row in ids),
        label_places=torch.from_numpy(label_places),
        label_ids=torch.from_numpy(joined[label_places + 1]),
    )


def join(batches: Sequence[MicroBatch]) -> MicroBatch:
    """Several batches as one, in their order."""
    if len(batches) == 1:
        return batches[0]
    begins = np.cumsum([0, *(batch.tokens for batch in batches)]).tolist()
    return MicroBatch(
        ids=torch.cat([batch.ids for batch in batches]),
        positions=torch.cat([batch.positions for batch in batches]),
        lengths=tuple(chain.from_iterable(batch.lengths for batch in batches)),
        label_places=torch.cat([batch.label_places + at for batch, at in zip(batches, begins, strict=False)]),
        label_ids=torch.cat([batch.label_ids for batch in batches]),
    )


class RowOrder:
    """The order in which a run sees its rows: a new shuffle each epoch, fixed by the seed alone."""

    def __init__(self, rows: int, seed: int) -> None:
        self._rows, self._seed = rows, seed
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def __getitem__(self, position: int) -> int:
        """The row at `position`, counted over all epochs."""
        epoch, place = divmod(position, self._rows)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self._seed, epoch]).permutation(self._rows)
        return int(self._order[place])


def window(order: RowOrder, step: int, batch: int) -> list[int]:
    """The row indices of optimizer step `step` (from 0)."""
    return [order[step * batch + i] for i in range(batch)]


def split(rows: TokenRows, indices: Sequence[int], most_rows: int, most_tokens: int | None = None) -> list[list[int]]:
    """Rows in batches of like lengths, the longest first, so that what memory cannot hold shows at once.

    Args:
        rows: Whose lengths are taken.
        indices: The rows to split.
        most_rows: Rows of a batch at most.
        most_tokens: Tokens of a batch at most, unless a row alone has more; None for any number.
    """
    batches: list[list[int]] = []
    tokens = 0
    for index in sorted(indices, key=rows.length, reverse=True):
        tokens += rows.length(index)
        full = not batches or len(batches[-1]) == most_rows or (most_tokens is not None and tokens > most_tokens)
        if full:
            batches.append([])
            tokens = rows.length(index)
        batches[-1].append(index)
    return batches


def label_count(rows: TokenRows, index: int) -> int:
    """Tokens of a row whose prediction counts. The first token is never predicted."""
    return int(np.asarray(rows.is_label(index), dtype=bool)[1:].sum())
