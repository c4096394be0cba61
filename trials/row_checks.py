"""What tokenised chats are like where training goes wrong without an error (guide 2.4: "check data pipeline").

Answers that are empty, all alike, or cut before they end; and the token that ends them. Knows no tokenizer. Torch-free.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trials.tokenize import Tokenized

# The share of rows that the cutoff_len which is told would hold whole.
HELD_WHOLE = 0.95


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What the training rows of stage sft are like. All shares are of the training rows; JSON-able.

    Attributes:
        unlabelled: Rows that were looked at and dropped, as no assistant token lies within cutoff_len.
        empty_share: Rows with at most one label token: an end marker, and nothing that is said.
        same_share: Rows with the most frequent answer.
        cut_in_answer_share: Rows that cutoff_len cuts inside an answer.
        endless_share: Rows in which no answer comes to its end, so that none teaches to stop.
        ends: The token ids that end most of the answers, at most three, each with its share of the rows whose last
            answer is whole.
        fitting_cutoff_len: Tokens that hold 95 % of the rows whole, reckoned from those that were measured.
    """

    unlabelled: int
    empty_share: float
    same_share: float
    cut_in_answer_share: float
    endless_share: float
    ends: tuple[tuple[int, float], ...]
    fitting_cutoff_len: int

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RowFacts":
        """The facts out of JSON, which has no tuples."""
        return cls(**values | {"ends": tuple((token, share) for token, share in values["ends"])})


def row_facts(rows: Sequence["Tokenized"], unlabelled: int, lengths: Sequence[int]) -> RowFacts:
    """Look through the training rows.

    Args:
        rows: At least one; each has a label token.
        unlabelled: Rows that were dropped for having none.
        lengths: Tokens of some rows as they are without cutoff_len; at least one.
    """
    answers = Counter(tuple(_labels(row)) for row in rows)
    whole = [row for row in rows if not row.cut_in_answer]
    ends = Counter(_labels(row)[-1] for row in whole)
    return RowFacts(
        unlabelled=unlabelled,
        empty_share=sum(sum(row.is_label) <= 1 for row in rows) / len(rows),
        same_share=answers.most_common(1)[0][1] / len(rows),
        cut_in_answer_share=1 - len(whole) / len(rows),
        endless_share=sum(row.cut_in_answer and _answers(row) == 1 for row in rows) / len(rows),
        ends=tuple((token, count / len(whole)) for token, count in ends.most_common(3)),
        fitting_cutoff_len=sorted(lengths)[max(0, -int(-HELD_WHOLE * len(lengths) // 1) - 1)],
    )


def _labels(row: "Tokenized") -> list[int]:
    """The row's label tokens."""
    return [token for token, is_label in zip(row.ids, row.is_label, strict=True) if is_label]


def _answers(row: "Tokenized") -> int:
    """The row's answers: unbroken stretches of labels."""
    return sum(now and not before for before, now in pairwise([False, *row.is_label]))
