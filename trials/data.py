"""The rows that a study trains and evaluates on: read, split, tokenised, and kept for the next process.

Knows the split and the cache; parsing is `rows`, tokenising `tokenize`, the arrays `token_rows`. The order of the
steps makes numbers comparable: twins go before the split, so that no evaluation row was trained on, and a larger
max_samples only appends rows.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock

from trials.errors import DataError
from trials.forms import Chat, Row, Stage
from trials.row_checks import RowFacts, row_facts
from trials.rows import identify, read_rows
from trials.token_rows import TokenRows, load_rows, store_rows
from trials.tokenize import Tokenized, count_tokens, tokenize_chat, tokenize_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMAT_VERSION = 1  # raise it when the same spec would give other arrays
MEASURED_ROWS = 256  # whose length without cutoff_len is measured; more would tell the same


@dataclass(frozen=True, slots=True)
class DataSpec:
    """What determines the rows, apart from the tokenizer; the names are LLaMA-Factory's.

    Attributes:
        dataset: See `trials.rows.read_rows`.
        stage: "sft" or "pt".
        cutoff_len: Most tokens a row; a longer row is cut.
        max_samples: Most training rows; None for all. The evaluation rows do not depend on it.
        val_size: Evaluation rows: below 1 a fraction of the distinct rows, otherwise their number. In stage
            pt a number counts blocks, a fraction counts documents.
        seed: Seed of the split and the order.

    Raises:
        DataError: A value that cannot be.
    """

    dataset: str
    stage: Stage
    cutoff_len: int
    max_samples: int | None
    val_size: float | int
    seed: int

    def __post_init__(self) -> None:
        if self.stage not in ("sft", "pt"):
            raise DataError(f"stage is {self.stage!r}; allowed: sft, pt")
        if self.cutoff_len < 1:
            raise DataError(f"cutoff_len is {self.cutoff_len}; it must be at least 1 token")
        if self.max_samples is not None and self.max_samples < 1:
            raise DataError(f"max_samples is {self.max_samples}; it must be at least 1 row, or none for all")
        if not self.val_size > 0 or (self.val_size >= 1 and not float(self.val_size).is_integer()):
            raise DataError(
                f"val_size is {self.val_size}; allowed: a fraction between 0 and 1, or a whole number of rows"
            )
        if self.seed < 0:
            raise DataError(f"the seed is {self.seed}; it must not be negative")


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What the rows are like; JSON-able, and stored with the study.

    Attributes:
        dataset: Display name.
        form: alpaca, sharegpt, messages or text.
        stage: "sft" or "pt".
        rows_read: Rows of the data set, before anything is dropped.
        twins_dropped: Rows dropped because an earlier one is the same up to case and white space, whole or
            after the cut; counted among the rows that were looked at.
        unusable_dropped: Rows dropped because they have no text, no assistant turn, or none within
            cutoff_len; the last counted among the rows that were looked at.
        train_rows: Training rows.
        eval_rows: Evaluation rows.
        cut_share: Share of the training rows that lost tokens to cutoff_len.
        mean_tokens: Mean tokens of a training row.
        label_share: Share of the training tokens that are labels.
        cutoff_len: Most tokens a row.
        fingerprint: Digest of all that determines the arrays; equal on any machine that has the same data.
        checks: Where the answers may be at fault; None in stage pt, which has none.
    """

    dataset: str
    form: str
    stage: str
    rows_read: int
    twins_dropped: int
    unusable_dropped: int
    train_rows: int
    eval_rows: int
    cut_share: float
    mean_tokens: float
    label_share: float
    cutoff_len: int
    fingerprint: str
    checks: RowFacts | None


@dataclass(frozen=True, slots=True)
class PreparedData:
    """What runs train and evaluate on."""

    train: TokenRows
    evaluation: TokenRows
    facts: DataFacts


def prepare_data(
    spec: DataSpec, tokenizer: "PreTrainedTokenizerBase", tokenizer_fingerprint: str, cache_dir: Path
) -> PreparedData:
    """Return the tokenised training and evaluation rows, from the cache when they have been prepared before.

    Any number of processes may ask at once: one prepares, the others wait. What a killed process left, or
    what is damaged, is made again.

    Args:
        spec: What to prepare.
        tokenizer: A fast tokenizer; for stage sft with a chat template.
        tokenizer_fingerprint: Digest of the tokenizer's files, chat template included.
        cache_dir: The entry goes to `cache_dir/data/<fingerprint>/`.

    Raises:
        DataError: The data set cannot be read, has too few rows for val_size, or does not suit the tokenizer;
            or the cache cannot be written.
    """
    name, content = identify(spec.dataset, spec.stage)
    fingerprint = _fingerprint(spec, content, tokenizer_fingerprint)
    folder = cache_dir / "data" / fingerprint
    found = _load(folder, name)
    if found is not None:
        return found
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f"{fingerprint}.lock"):
            found = _load(folder, name)  # another process may have been faster
            if found is None:
                _store(folder, *_build(spec, tokenizer, fingerprint))
                found = _load(folder, name)
    except OSError as error:
        raise DataError(f"cannot keep the prepared data in {folder.parent}: {error}") from error
    if found is None:
        raise DataError(f"the prepared data in {folder} cannot be read back: is its disk full?")
    return found


def _fingerprint(spec: DataSpec, content: str, tokenizer_fingerprint: str) -> str:
    fields = asdict(spec) | {
        "dataset": content,  # not its path, which differs between machines
        "val_size": float(spec.val_size),
        "tokenizer": tokenizer_fingerprint,
        "format": FORMAT_VERSION,
    }
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:32]


class _Sieve:
    """Lets through rows that have labels and no twin among those let through before; counts the others."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.tokenizer = tokenizer
        self.seen: set[bytes] = set()
        self.twins = 0
        self.unlabelled = 0

    def take(
        self, units: Iterator[list[Tokenized]], rows: int | None = None, most_units: int | None = None
    ) -> list[Tokenized]:
        """Take rows from the next units (chats or documents) until there are enough, or the units end."""
        kept: list[Tokenized] = []
        for number, unit in enumerate(units, 1):
            kept += [row for row in unit if self._is_new(row)]
            if (rows is not None and len(kept) >= rows) or number == most_units:
                break
        return kept[:rows]

    def _is_new(self, row: Tokenized) -> bool:
        if not any(row.is_label):
            self.unlabelled += 1
            return False
        # By text, not by ids: two rows can differ in case before the cut and in words after it.
        digest = _digest([self.tokenizer.decode(row.ids)])
        self.twins += digest in self.seen
        is_new = digest not in self.seen
        self.seen.add(digest)
        return is_new


def _build(
    spec: DataSpec, tokenizer: "PreTrainedTokenizerBase", fingerprint: str
) -> tuple[list[Tokenized], list[Tokenized], DataFacts]:
    """Read, split and tokenise; return training rows, evaluation rows and facts."""
    raw = read_rows(spec.dataset, spec.stage)
    distinct = _distinct(raw.rows)
    wanted = int(spec.val_size) if spec.val_size >= 1 else max(1, round(spec.val_size * len(distinct)))
    by_fraction_of_documents = spec.stage == "pt" and spec.val_size < 1
    if len(distinct) <= wanted and (spec.stage == "sft" or by_fraction_of_documents):
        raise _too_few(wanted, raw.name, len(distinct))
    order = np.random.default_rng(spec.seed).permutation(len(distinct))
    units = (_tokenize(tokenizer, distinct[i], spec.cutoff_len) for i in order)  # lazily: only what is needed
    sieve = _Sieve(tokenizer)
    # Blocks left over of a document that evaluation has begun are not given to training: they know its words.
    if by_fraction_of_documents:
        evaluation = sieve.take(units, most_units=wanted)
        wanted = max(1, len(evaluation))
    else:
        evaluation = sieve.take(units, rows=wanted)
    train = sieve.take(units, rows=spec.max_samples)
    if len(evaluation) < wanted or not train:
        raise _too_few(wanted, raw.name, len(evaluation) + len(train), sieve.unlabelled, spec.cutoff_len)
    tokens = sum(len(row.ids) for row in train)
    chats = [row for row in (distinct[i] for i in order[:MEASURED_ROWS]) if isinstance(row, Chat)]
    lengths = [count_tokens(tokenizer, chat) for chat in chats]
    facts = DataFacts(
        dataset=raw.name,
        form=raw.form,
        stage=spec.stage,
        rows_read=len(raw.rows) + raw.unusable,
        twins_dropped=len(raw.rows) - len(distinct) + sieve.twins,
        unusable_dropped=raw.unusable + sieve.unlabelled,
        train_rows=len(train),
        eval_rows=len(evaluation),
        cut_share=sum(row.cut for row in train) / len(train),
        mean_tokens=tokens / len(train),
        label_share=sum(sum(row.is_label) for row in train) / tokens,
        cutoff_len=spec.cutoff_len,
        fingerprint=fingerprint,
        checks=row_facts(train, sieve.unlabelled, lengths) if lengths else None,
    )
    return train, evaluation, facts


def _too_few(wanted: int, name: str, distinct: int, unlabelled: int = 0, cutoff_len: int = 0) -> DataError:
    hint = f" ({unlabelled} have no assistant token within cutoff_len {cutoff_len})" if unlabelled else ""
    return DataError(
        f"val_size asks for {wanted} evaluation rows, but {name} has only {distinct} distinct rows{hint}: "
        "give more data or a smaller val_size"
    )


def _tokenize(tokenizer: "PreTrainedTokenizerBase", row: Row, cutoff_len: int) -> list[Tokenized]:
    if isinstance(row, Chat):
        return [tokenize_chat(tokenizer, row, cutoff_len)]
    return tokenize_text(tokenizer, row.text, cutoff_len)


def _distinct(rows: Sequence[Row]) -> list[Row]:
    """Drop every row that equals an earlier one up to case and white space."""
    first: dict[bytes, Row] = {}
    for row in rows:
        parts = [row.text] if not isinstance(row, Chat) else [x for m in row.messages for x in (m.role, m.content)]
        first.setdefault(_digest(parts), row)
    return list(first.values())


def _digest(parts: Sequence[str]) -> bytes:
    """Digest texts up to case and white space, to 16 bytes: the texts themselves could fill memory."""
    plain = "\0".join(" ".join(part.casefold().split()) for part in parts)
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _store(folder: Path, train: list[Tokenized], evaluation: list[Tokenized], facts: DataFacts) -> None:
    """Write an entry beside its place and move it there, so that a killed process leaves nothing half."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for split, rows in (("train", train), ("evaluation", evaluation)):
        store_rows(part, split, rows)
    (part / "facts.json").write_text(json.dumps(asdict(facts), indent=2), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)  # a damaged entry
    os.replace(part, folder)


def _load(folder: Path, name: str) -> PreparedData | None:
    """Map an entry's arrays, or return None when it is missing or damaged."""
    try:
        values = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        checks = values["checks"]  # which an entry lacks that was made when there were none
        facts = DataFacts(**values | {"checks": checks and RowFacts.from_dict(checks)})
        train = load_rows(folder, "train", facts.train_rows)
        evaluation = load_rows(folder, "evaluation", facts.eval_rows)
    except (OSError, ValueError, TypeError, KeyError, EOFError):
        return None
    # The same content may have been prepared from a file of another name.
    return PreparedData(train, evaluation, replace(facts, dataset=name))
