"""The split and its twins."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trials.data
import trials.rows
import trials.tokenize
from tests.trials.data_files import TOKENIZER, numbered, plain, prepare, spec_of, texts, write_chats, write_texts
from trials.data import DataFacts
from trials.errors import DataError
from trials.forms import Stage
from trials.row_checks import RowFacts

# --- rows and facts


def test_rows_and_facts(tmp_path: Path) -> None:
    pairs = [*numbered(20), ("QUESTION  3", "answer\n3"), ("unanswered", "")]
    data = prepare(spec_of(write_chats(tmp_path / "qa.jsonl", pairs)), tmp_path / "cache")
    assert (len(data.train), len(data.evaluation)) == (16, 4)
    facts = data.facts
    assert (facts.dataset, facts.form, facts.stage, facts.cutoff_len) == ("qa.jsonl", "alpaca", "sft", 128)
    assert (facts.rows_read, facts.twins_dropped, facts.unusable_dropped) == (22, 1, 1)
    assert (facts.train_rows, facts.eval_rows, facts.cut_share) == (16, 4, 0.0)
    lengths = [data.train.length(i) for i in range(16)]
    labels = [data.train.label_count(i) for i in range(16)]
    assert facts.mean_tokens == pytest.approx(sum(lengths) / 16)
    assert facts.label_share == pytest.approx(sum(labels) / sum(lengths))
    assert facts.checks is not None
    plain = json.loads(json.dumps(asdict(facts)))
    assert RowFacts.from_dict(plain.pop("checks")) == facts.checks
    assert DataFacts(**plain, checks=facts.checks) == facts
    assert sorted(texts(data.train) + texts(data.evaluation)) == sorted(
        f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n{a}<|im_end|>\n" for q, a in numbered(20)
    )


def test_a_row_is_a_read_only_view_with_its_labels(tmp_path: Path) -> None:
    data = prepare(spec_of(write_chats(tmp_path / "qa.jsonl", numbered(8))), tmp_path / "cache")
    ids, is_label = data.train.ids(2), data.train.is_label(2)
    assert isinstance(ids, np.memmap)
    assert ids.dtype == np.int32
    assert is_label.dtype == np.bool_
    assert not ids.flags.writeable
    assert len(ids) == len(is_label) == data.train.length(2)
    assert data.train.label_count(2) == is_label.sum()
    assert TOKENIZER.decode(ids[is_label]).startswith("answer ")
    for outside in (-1, len(data.train)):
        with pytest.raises(IndexError):
            data.train.ids(outside)


def test_cut_rows_are_counted_and_rows_without_label_dropped(tmp_path: Path) -> None:
    short, cut, beyond = ("a", "b"), ("a", "Z" * 100), ("Z" * 100, "b")
    pairs = [(f"{a}{i}", b) for i in range(4) for a, b in (short, cut)] + [beyond]
    data = prepare(spec_of(write_chats(tmp_path / "qa.jsonl", pairs), cutoff_len=60, val_size=1), tmp_path / "c")
    assert data.facts.unusable_dropped == 1
    assert len(data.train) == 7
    full = [data.train.length(i) == 60 for i in range(7)]
    assert data.facts.cut_share == pytest.approx(sum(full) / 7)
    assert 0 < data.facts.cut_share < 1


# --- the split


def test_a_fraction_is_of_the_distinct_rows(tmp_path: Path) -> None:
    path = write_chats(tmp_path / "qa.jsonl", numbered(20) + numbered(20))
    data = prepare(spec_of(path, val_size=0.25), tmp_path / "cache")
    assert (len(data.evaluation), len(data.train)) == (5, 15)
    assert len(prepare(spec_of(path, val_size=0.001), tmp_path / "cache").evaluation) == 1


def test_a_split_is_the_same_each_time_and_another_for_another_seed(tmp_path: Path) -> None:
    path = write_chats(tmp_path / "qa.jsonl", numbered(40))
    first, again, other = (
        prepare(spec_of(path, seed=seed), tmp_path / cache) for seed, cache in ((1, "a"), (1, "b"), (2, "a"))
    )
    assert texts(first.train) == texts(again.train)
    assert texts(first.evaluation) == texts(again.evaluation)
    assert first.facts == again.facts
    assert texts(first.evaluation) != texts(other.evaluation)


@pytest.mark.parametrize("stage", ["sft", "pt"])
def test_a_larger_max_samples_only_appends(tmp_path: Path, stage: Stage) -> None:
    if stage == "sft":
        path = write_chats(tmp_path / "d.jsonl", [(q, a) for q, a in numbered(30) for _ in range(2)])
    else:
        path = write_texts(tmp_path / "d.jsonl", [f"{i} " + "Z " * 10 * i for i in range(30)])
    all_rows = prepare(spec_of(path, stage=stage, cutoff_len=32), tmp_path / "cache")
    for count in (1, 2, 7, 20):
        few = prepare(spec_of(path, stage=stage, cutoff_len=32, max_samples=count), tmp_path / "cache")
        assert len(few.train) == count
        assert texts(few.train) == texts(all_rows.train)[:count]
        assert texts(few.evaluation) == texts(all_rows.evaluation)
    many = prepare(spec_of(path, stage=stage, cutoff_len=32, max_samples=10_000), tmp_path / "cache")
    assert texts(many.train) == texts(all_rows.train)


def test_only_what_is_needed_is_tokenised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    tokenize = trials.tokenize.tokenize_chat

    def counting(*args: Any) -> Any:
        nonlocal count
        count += 1
        return tokenize(*args)

    monkeypatch.setattr(trials.data, "tokenize_chat", counting)
    path = write_chats(tmp_path / "qa.jsonl", numbered(200))
    prepare(spec_of(path, max_samples=10), tmp_path / "cache")
    assert count == 14


# --- twins


def test_twins_that_arise_from_the_cut_are_dropped_and_made_up_for(tmp_path: Path) -> None:
    twins = [("the same start", "Z" * 200 + f" then {i}") for i in range(20)]
    path = write_chats(tmp_path / "qa.jsonl", twins + numbered(20))
    data = prepare(spec_of(path, max_samples=15, cutoff_len=100), tmp_path / "cache")
    together = texts(data.evaluation) + texts(data.train)
    assert len(set(together)) == len(together) == 19
    assert data.facts.twins_dropped > 0


def test_twins_after_the_cut_may_differ_in_case(tmp_path: Path) -> None:
    pairs = [(case("zz"), "Z" * 200 + str(i)) for i, case in enumerate((str.upper, str.lower))]
    path = write_chats(tmp_path / "qa.jsonl", pairs + numbered(1))
    data = prepare(spec_of(path, cutoff_len=100, val_size=1), tmp_path / "cache")
    assert (len(data.train), data.facts.twins_dropped) == (1, 1)


pieces = st.lists(st.sampled_from(["Hi", "hi", " hi", "hi \n", "you", "Z" * 9, "z" * 9]), min_size=1, max_size=6)
pairs_strategy = st.lists(st.tuples(pieces.map("".join), pieces.map("".join)), min_size=8, max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs_strategy, st.integers(30, 60), st.integers(0, 5), st.integers(1, 3))
def test_no_validation_row_has_a_twin_in_training(
    tmp_path: Path, pairs: list[tuple[str, str]], cutoff_len: int, seed: int, val_size: int
) -> None:
    cache = tmp_path / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    path = write_chats(tmp_path / "qa.jsonl", pairs)
    try:
        data = prepare(spec_of(path, cutoff_len=cutoff_len, seed=seed, val_size=val_size), cache)
    except DataError as error:
        # Too few distinct rows is an answer too; any other complaint is not.
        if "distinct rows" not in str(error):
            raise
        return
    assert len(data.evaluation) == val_size
    together = plain(data.evaluation) + plain(data.train)
    assert len(set(together)) == len(together)


def test_a_document_never_straddles_the_split(tmp_path: Path) -> None:
    letters = "ABCDEFGHIJKL"
    documents = [" ".join(f"{letter}{n}" for n in range(60)) for letter in letters]
    path = write_texts(tmp_path / "d.jsonl", documents)
    data = prepare(spec_of(path, stage="pt", cutoff_len=64, val_size=5), tmp_path / "cache")
    evaluation, train = (
        {letter for letter in letters if letter in "".join(texts(rows))} for rows in (data.evaluation, data.train)
    )
    assert len(data.evaluation) == 5
    assert evaluation
    assert evaluation | train <= set(letters)
    assert len(train) > 5
    assert not evaluation & train


# --- blocks


def test_pt_blocks(tmp_path: Path) -> None:
    documents = [chr(ord("A") + i) * (64 * 3 + 20) for i in range(10)]  # 3 whole blocks, one of 21 with eos
    path = write_texts(tmp_path / "d.jsonl", [*documents, documents[0].lower()])
    by_number = prepare(spec_of(path, stage="pt", cutoff_len=64, val_size=3), tmp_path / "cache")
    # The three whole blocks of a document are twins, so each gives two rows.
    assert (by_number.facts.form, by_number.facts.rows_read) == ("text", 11)
    assert (len(by_number.evaluation), len(by_number.train)) == (3, 2 * 8)
    assert {by_number.train.length(i) for i in range(16)} == {64, 21}
    assert by_number.facts.label_share == 1
    by_fraction = prepare(spec_of(path, stage="pt", cutoff_len=64, val_size=0.3), tmp_path / "cache")
    assert (len(by_fraction.evaluation), len(by_fraction.train)) == (2 * 3, 2 * 7)


# --- complaints


@pytest.mark.parametrize(
    ("rows", "val_size", "wanted"),
    [
        (
            120,
            256,
            "val_size asks for 256 evaluation rows, but qa.jsonl has only 120 distinct rows: give more",
        ),
        (4, 4, "val_size asks for 4 evaluation rows, but qa.jsonl has only 4 distinct rows: give more data"),
        (
            1,
            0.5,
            "val_size asks for 1 evaluation rows, but qa.jsonl has only 1 distinct rows: give more data",
        ),
    ],
)
def test_too_few_rows(tmp_path: Path, rows: int, val_size: float, wanted: str) -> None:
    path = write_chats(tmp_path / "qa.jsonl", numbered(rows) * 3)
    with pytest.raises(DataError) as error:
        prepare(spec_of(path, val_size=val_size), tmp_path / "cache")
    assert str(error.value).startswith(wanted)


def test_no_row_remains_for_training(tmp_path: Path) -> None:
    path = write_texts(tmp_path / "d.jsonl", ["Z" * 100])
    with pytest.raises(DataError, match=r"asks for 1 evaluation rows, but d\.jsonl has only 1 distinct rows"):
        prepare(spec_of(path, stage="pt", val_size=1), tmp_path / "cache")


def test_too_few_rows_because_of_the_cut(tmp_path: Path) -> None:
    path = write_chats(tmp_path / "qa.jsonl", numbered(50))
    with pytest.raises(DataError, match=r"only 0 distinct rows \(50 have no assistant token within cutoff_len 8\)"):
        prepare(spec_of(path, cutoff_len=8), tmp_path / "cache")


@pytest.mark.parametrize("val_size", [2, 0.5, 100])
def test_too_few_blocks(tmp_path: Path, val_size: float) -> None:
    path = write_texts(tmp_path / "d.jsonl", ["short", "words"])
    with pytest.raises(DataError, match=r"d\.jsonl has only 0 distinct rows: give more data"):
        prepare(spec_of(path, stage="pt", val_size=val_size), tmp_path / "cache")


@pytest.mark.parametrize(
    "changes",
    [
        {"val_size": 0},
        {"val_size": -1},
        {"val_size": 1.5},
        {"val_size": float("nan")},
        {"val_size": float("inf")},
        {"max_samples": 0},
        {"cutoff_len": 0},
        {"stage": "dpo"},
        {"seed": -1},
    ],
)
def test_a_spec_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"{next(iter(changes))} is"):
        spec_of(Path("x"), **changes)


def test_an_error_leaves_no_entry(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        prepare(spec_of(write_chats(tmp_path / "qa.jsonl", numbered(2))), tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache" / "data").iterdir() if path.is_dir()]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot keep the prepared data in"):
        prepare(spec_of(write_chats(tmp_path / "qa.jsonl", numbered(8))), tmp_path / "cache")
