"""Tokenised rows in flat arrays, which processes map from the same files instead of each holding a copy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trials.tokenize import Tokenized


class TokenRows:
    """Tokenised rows of different lengths in flat, memory-mapped arrays."""

    def __init__(self, ids: NDArray[np.int32], is_label: NDArray[np.bool_], offsets: NDArray[np.int64]) -> None:
        """Take the flat arrays.

        Args:
            ids: Token ids of all rows, one after the other [tokens].
            is_label: Whether each token counts in the loss [tokens].
            offsets: Where each row begins, and at last where the last one ends [rows + 1].
        """
        self._ids, self._is_label, self._offsets = ids, is_label, offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def ids(self, i: int) -> NDArray[np.int32]:
        """Return row i's token ids [seq], a read-only view."""
        return self._ids[self._row(i)]

    def is_label(self, i: int) -> NDArray[np.bool_]:
        """Return whether each token of row i counts in the loss [seq], a read-only view."""
        return self._is_label[self._row(i)]

    def length(self, i: int) -> int:
        """Return row i's number of tokens."""
        return len(self.ids(i))

    def label_count(self, i: int) -> int:
        """Return row i's number of label tokens."""
        return int(np.count_nonzero(self.is_label(i)))

    def _row(self, i: int) -> slice:
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        return slice(int(self._offsets[i]), int(self._offsets[i + 1]))


def store_rows(folder: Path, name: str, rows: Sequence[Tokenized]) -> None:
    """Write rows to `folder` as three arrays whose files begin with `name`.

    Raises:
        OSError: The folder cannot be written.
    """
    lengths = [len(row.ids) for row in rows]
    np.save(folder / f"{name}_ids.npy", np.array([i for row in rows for i in row.ids], np.int32))
    np.save(folder / f"{name}_is_label.npy", np.array([x for row in rows for x in row.is_label], np.bool_))
    np.save(folder / f"{name}_offsets.npy", np.cumsum([0, *lengths], dtype=np.int64))


def load_rows(folder: Path, name: str, rows: int) -> TokenRows:
    """Map what `store_rows` wrote.

    Args:
        folder: Where it was written.
        name: Under which name.
        rows: How many rows there must be.

    Raises:
        OSError: A file is missing or cannot be read.
        ValueError: A file is damaged, or the files do not belong together.
        EOFError: A file is empty.
    """
    ids, is_label, offsets = (
        np.load(folder / f"{name}_{part}.npy", mmap_mode="r") for part in ("ids", "is_label", "offsets")
    )
    if len(offsets) != rows + 1 or not len(ids) == len(is_label) == offsets[-1]:
        raise ValueError(f"{name}: the arrays do not fit together")
    return TokenRows(ids, is_label, offsets)
