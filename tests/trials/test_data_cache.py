"""The cache of prepared rows."""

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trials.data
import trials.rows
import trials.tokenize
from tests.trials.data_files import TOKENIZER, entry, numbered, prepare, spec_of, texts, write_chats, write_texts
from trials.data import DataSpec, prepare_data

# --- the cache


@pytest.fixture
def warm(tmp_path: Path) -> tuple[DataSpec, Path, list[str]]:
    """Return a spec that has been prepared, its cache, and its training texts."""
    spec = spec_of(write_chats(tmp_path / "qa.jsonl", numbered(20)))
    return spec, tmp_path / "cache", texts(prepare(spec, tmp_path / "cache").train)


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials.data, "read_rows", lambda *_: pytest.fail("read the rows again"))


def test_a_second_time_reads_and_tokenises_nothing(
    warm: tuple[DataSpec, Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, cache, expected = warm
    forbid_reading(monkeypatch)
    assert texts(prepare(spec, cache, tokenizer=None).train) == expected


def test_the_same_content_under_another_name_is_a_hit(
    warm: tuple[DataSpec, Path, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec, cache, _ = warm
    shutil.copy(spec.dataset, tmp_path / "copy.jsonl")
    forbid_reading(monkeypatch)
    data = prepare(replace(spec, dataset=str(tmp_path / "copy.jsonl")), cache)
    assert data.facts.dataset == "copy.jsonl"


@pytest.mark.parametrize(
    "change", [{"cutoff_len": 127}, {"max_samples": 5}, {"val_size": 5}, {"val_size": 0.5}, {"seed": 1}]
)
def test_whatever_matters_is_in_the_fingerprint(
    warm: tuple[DataSpec, Path, list[str]], change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, cache, _ = warm
    old = prepare(spec, cache).facts.fingerprint
    assert prepare(replace(spec, val_size=4.0), cache).facts.fingerprint == old
    assert prepare(replace(spec, **change), cache).facts.fingerprint != old
    assert prepare_data(spec, TOKENIZER, "tokenizer-2", cache).facts.fingerprint != old
    monkeypatch.setattr(trials.data, "FORMAT_VERSION", -1)
    assert prepare(spec, cache).facts.fingerprint != old


def test_changed_content_is_prepared_anew(warm: tuple[DataSpec, Path, list[str]]) -> None:
    spec, cache, expected = warm
    write_chats(Path(spec.dataset), numbered(21))
    assert len(prepare(spec, cache).train) == len(expected) + 1


FILES = ["facts.json"] + [
    f"{split}_{part}.npy" for split in ("train", "evaluation") for part in ("ids", "is_label", "offsets")
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["remove", "truncate", "empty", "garble"])
def test_a_damaged_entry_is_made_again(warm: tuple[DataSpec, Path, list[str]], name: str, harm: str) -> None:
    spec, cache, expected = warm
    path = entry(cache) / name
    if harm == "remove":
        path.unlink()
    elif harm == "truncate":
        os.truncate(path, path.stat().st_size - 3)
    else:
        path.write_bytes(b"" if harm == "empty" else b'["what"]')
    assert texts(prepare(spec, cache).train) == expected
    assert sorted(p.name for p in entry(cache).iterdir()) == sorted(FILES)


def test_arrays_that_do_not_fit_together_are_made_again(warm: tuple[DataSpec, Path, list[str]]) -> None:
    spec, cache, expected = warm
    shutil.copy(entry(cache) / "evaluation_ids.npy", entry(cache) / "train_ids.npy")
    assert texts(prepare(spec, cache).train) == expected
    offsets = np.load(entry(cache) / "train_offsets.npy")
    np.save(entry(cache) / "train_offsets.npy", offsets[[0, -1]])
    assert texts(prepare(spec, cache).train) == expected


def test_a_killed_first_run_leaves_nothing_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(write_chats(tmp_path / "qa.jsonl", numbered(20)))
    save = np.save
    saved: list[Path] = []

    def save_two(path: Path, array: Any) -> None:
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(path)
        save(path, array)

    monkeypatch.setattr(np, "save", save_two)
    with pytest.raises(KeyboardInterrupt):
        prepare(spec, tmp_path / "cache")
    monkeypatch.undo()
    assert [path.suffix for path in (tmp_path / "cache" / "data").iterdir() if path.is_dir()] == [".part"]
    data = prepare(spec, tmp_path / "cache")
    assert len(data.train) == 16
    assert entry(tmp_path / "cache").name == data.facts.fingerprint  # and the half entry is gone


def test_of_many_who_ask_at_once_one_prepares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads stand for processes: each opens the lock file by itself, which is what the lock goes by."""
    spec = spec_of(write_chats(tmp_path / "qa.jsonl", numbered(50)))
    read = trials.rows.read_rows
    reads: list[Any] = []
    results: list[list[str]] = []
    barrier = threading.Barrier(4)

    def counting(*args: Any) -> Any:
        reads.append(args)
        return read(*args)

    def ask() -> None:
        barrier.wait()
        results.append(texts(prepare(spec, tmp_path / "cache").train))

    monkeypatch.setattr(trials.data, "read_rows", counting)
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 1
    assert len(results) == 4
    assert results.count(results[0]) == 4


def test_a_reader_keeps_its_rows_while_the_entry_is_made_again(
    warm: tuple[DataSpec, Path, list[str]],
) -> None:
    spec, cache, expected = warm
    held = prepare(spec, cache).train
    (entry(cache) / "facts.json").unlink()
    prepare(spec, cache)
    assert texts(held) == expected


# --- the facts that a sweep checks before it trains


def test_the_checks_are_kept_with_the_rows(
    warm: tuple[DataSpec, Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, cache, _ = warm
    made = prepare(spec, cache.with_name("other")).facts.checks
    monkeypatch.setattr(trials.data, "row_facts", lambda *_: pytest.fail("looked at the rows again"))
    assert made is not None
    assert prepare(spec, cache).facts.checks == made
    assert made.ends == ((TOKENIZER.eos_token_id, 1.0),)


def test_an_entry_from_before_there_were_checks_gets_them(warm: tuple[DataSpec, Path, list[str]]) -> None:
    spec, cache, expected = warm
    facts = prepare(spec, cache).facts
    path = entry(cache) / "facts.json"
    old = json.loads(path.read_text())
    del old["checks"]
    path.write_text(json.dumps(old))
    again = prepare(spec, cache)
    assert again.facts == facts  # the fingerprint among them: studies of the old entry go on
    assert texts(again.train) == expected


def test_checks_do_not_change_what_the_data_are(
    warm: tuple[DataSpec, Path, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec, cache, _ = warm
    facts = prepare(spec, cache).facts
    monkeypatch.setattr(trials.data, "row_facts", lambda *_: None)
    assert prepare(spec, tmp_path / "unchecked").facts == replace(facts, checks=None)


def test_texts_are_not_checked(tmp_path: Path) -> None:
    spec = spec_of(write_texts(tmp_path / "a.jsonl", [f"{i} " * 40 for i in range(8)]), stage="pt")
    for _ in range(2):  # made, then out of the cache
        assert prepare(spec, tmp_path / "cache").facts.checks is None


def test_rows_without_any_label_are_counted_and_lengths_measured(tmp_path: Path) -> None:
    pairs = [*numbered(20), *((f"{i} " + "question " * 60, f"answer {i}") for i in range(3))]
    facts = prepare(spec_of(write_chats(tmp_path / "qa.jsonl", pairs), cutoff_len=100), tmp_path / "cache").facts
    assert facts.checks is not None
    assert facts.checks.unlabelled == facts.unusable_dropped == 3
    assert facts.checks.fitting_cutoff_len > 100
    short = prepare(spec_of(write_chats(tmp_path / "short.jsonl", numbered(20))), tmp_path / "cache").facts
    assert short.checks is not None
    assert short.checks.fitting_cutoff_len < 100
