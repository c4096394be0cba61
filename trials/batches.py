"""Which rows a run sees when, and their tensors.

Windows of `effective_batch_size` rows, each split into micro-batches of rows of like length: the split changes
how much is padded and how much memory is used, never what is learnt.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from trials.token_rows import TokenRows

IGNORED = -100
# Tokens, padding included, in one evaluation batch: large enough to keep the matrix units busy.
EVALUATION_TOKENS = 2048


@dataclass(frozen=True)
class MicroBatch:
    """Rows for one forward pass, padded on the right.

    Attributes:
        ids: Token ids, [batch, seq].
        mask: 1 for a token and 0 for padding, [batch, seq].
        targets: The next token's id where it counts, else `IGNORED`, [batch, seq].
        tokens: Tokens in it, without padding.
        labels: Tokens whose prediction counts.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    targets: torch.Tensor
    tokens: int
    labels: int

    def to(self, device: torch.device) -> "MicroBatch":
        """The same batch on `device`."""
        return MicroBatch(self.ids.to(device), self.mask.to(device), self.targets.to(device), self.tokens, self.labels)


def collate(rows: TokenRows, indices: Sequence[int], pad_id: int) -> MicroBatch:
    """Pads the rows at `indices` into one batch."""
    longest = max(rows.length(i) for i in indices)
    ids = np.full((len(indices), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(indices), longest), dtype=np.int64)
    targets = np.full((len(indices), longest), IGNORED, dtype=np.int64)
    for line, index in enumerate(indices):
        row, is_label = rows.ids(index), np.asarray(rows.is_label(index), dtype=bool)
        ids[line, : len(row)] = row
        mask[line, : len(row)] = 1
        # The logits at a position predict the token after it.
        targets[line, : len(row) - 1] = np.where(is_label[1:], row[1:], IGNORED)
    return MicroBatch(
        ids=torch.from_numpy(ids),
        mask=torch.from_numpy(mask),
        targets=torch.from_numpy(targets),
        tokens=int(mask.sum()),
        labels=int((targets != IGNORED).sum()),
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


def window(rows: TokenRows, order: RowOrder, step: int, batch: int, micro: int) -> list[list[int]]:
    """The row indices of optimizer step `step` (from 0), in micro-batches, the longest rows first."""
    indices = [order[step * batch + i] for i in range(batch)]
    indices.sort(key=rows.length, reverse=True)
    return [indices[i : i + micro] for i in range(0, batch, micro)]


def evaluation_batches(rows: TokenRows) -> list[list[int]]:
    """All rows, sorted by length, in batches of at most `EVALUATION_TOKENS` padded tokens."""
    batches: list[list[int]] = []
    for index in sorted(range(len(rows)), key=rows.length, reverse=True):
        if batches and (len(batches[-1]) + 1) * rows.length(batches[-1][0]) <= EVALUATION_TOKENS:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def label_count(rows: TokenRows, index: int) -> int:
    """Tokens of a row whose prediction counts. The first token is never predicted."""
    return int(np.asarray(rows.is_label(index), dtype=bool)[1:].sum())
