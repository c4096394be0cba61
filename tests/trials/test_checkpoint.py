"""A run's state on disk, whole whatever happens while it is written."""

import hashlib
import json
import math
import os
import pickle
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

import trials.checkpoint
from trials.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trials.folders import CHECKPOINT, CHECKPOINT_BEFORE, CHECKPOINT_WRITING, CHECKPOINTS


def save(folder: Path, number: int) -> None:
    save_checkpoint(folder, {"weights": torch.full((300, 10), float(number))}, {"step": number})


def loaded(folder: Path) -> Checkpoint:
    checkpoint = load_checkpoint(folder)
    assert checkpoint is not None
    return checkpoint


def step(folder: Path) -> int:
    """Return which state is loaded, and see that its tensors belong to it."""
    checkpoint = loaded(folder)
    assert torch.equal(checkpoint.tensors["weights"], torch.full((300, 10), float(checkpoint.values["step"])))
    return int(checkpoint.values["step"])


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Return a folder in which states 1 and 2 were saved."""
    save(tmp_path, 1)
    save(tmp_path, 2)
    return tmp_path


# --- there and back


def test_tensors_and_values_come_back(tmp_path: Path) -> None:
    tensors = {
        "matrix": torch.randn(3, 4),
        "transposed": torch.randn(3, 4).T,
        "scalar": torch.tensor(7.0),
        "bytes": torch.get_rng_state(),
        "half": torch.randn(3, dtype=torch.bfloat16),
        "parameter": torch.nn.Parameter(torch.randn(2)),
    }
    values = {"step": 3, "reports": [{"loss": 1.25}], "early": False}
    save_checkpoint(tmp_path / "new" / "folder", tensors, values)
    checkpoint = loaded(tmp_path / "new" / "folder")
    assert checkpoint.values == values
    assert checkpoint.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(checkpoint.tensors[name], tensor)
        assert checkpoint.tensors[name].dtype == tensor.dtype


def test_losses_that_are_no_numbers_come_back(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {}, {"losses": [math.nan, math.inf]})
    nan, infinity = loaded(tmp_path).values["losses"]
    assert math.isnan(nan)
    assert infinity == math.inf


def test_the_newest_is_loaded_and_the_one_before_kept(two: Path) -> None:
    assert step(two) == 2
    shutil.rmtree(two / CHECKPOINT)
    assert step(two) == 1


def test_nothing_but_its_own_folders_is_left(two: Path) -> None:
    save(two, 3)
    assert sorted(path.name for path in two.iterdir()) == sorted([CHECKPOINT, CHECKPOINT_BEFORE])
    assert {CHECKPOINT, CHECKPOINT_BEFORE, CHECKPOINT_WRITING} == set(CHECKPOINTS)


def test_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((torch, "save"), (torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "dumps")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("pickled"))
    save(tmp_path, 1)
    assert step(tmp_path) == 1
    assert sorted(p.suffix for p in (tmp_path / CHECKPOINT).iterdir()) == [".json", ".safetensors"]


# --- what cannot be read


@pytest.mark.parametrize("there", [False, True])
def test_where_nothing_was_saved_there_is_none(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "run"
    if there:
        folder.mkdir()
    assert load_checkpoint(folder) is None


@pytest.mark.parametrize("harm", ["remove", "truncate", "flip", "empty"])
def test_damaged_tensors_fall_back_to_the_state_before(two: Path, harm: str) -> None:
    path = two / CHECKPOINT / "tensors.safetensors"
    data = path.read_bytes()
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes({"truncate": data[:-5], "flip": data[:-1] + b"\xff", "empty": b""}[harm])
    assert step(two) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"step": 2}', "\x00\x00"])
def test_a_garbled_state_falls_back_to_the_state_before(two: Path, text: str) -> None:
    (two / CHECKPOINT / "state.json").write_text(text)
    assert step(two) == 1


def test_bytes_that_are_no_text_fall_back_to_the_state_before(two: Path) -> None:
    (two / CHECKPOINT / "state.json").write_bytes(b"\xff\xfe\x80")
    assert step(two) == 1


def test_a_pickle_in_the_tensors_place_is_not_loaded_though_its_checksum_is_right(two: Path) -> None:
    path, state = two / CHECKPOINT / "tensors.safetensors", two / CHECKPOINT / "state.json"
    torch.save({"weights": torch.full((300, 10), 2.0)}, path)
    values = json.loads(state.read_text())
    state.write_text(json.dumps({**values, "tensors_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}))
    assert step(two) == 1


def test_with_both_damaged_there_is_none(two: Path) -> None:
    for name in (CHECKPOINT, CHECKPOINT_BEFORE):
        (two / name / "state.json").write_text("{")
    assert load_checkpoint(two) is None


# --- what cannot be written


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let the system refuse to write more than 2,000 bytes to a file, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_states_before(two: Path, small_files: None) -> None:
    with pytest.raises(OSError, match=r"cannot write .*tensors\.safetensors"):
        save(two, 3)
    assert step(two) == 2


def test_a_failed_write_leaves_the_states_before(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(trials.checkpoint, "save_file", fail)
    with pytest.raises(OSError, match="No space left on device"):
        save(two, 3)
    assert step(two) == 2
    shutil.rmtree(two / CHECKPOINT)
    assert step(two) == 1


@pytest.mark.parametrize("renames", [0, 1])
def test_a_kill_between_the_renames_leaves_a_whole_state(
    two: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    rename = os.replace
    done: list[Path] = []

    def kill(source: Path, target: Path) -> None:
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(target)
        rename(source, target)

    monkeypatch.setattr(os, "replace", kill)
    with pytest.raises(KeyboardInterrupt):
        save(two, 3)
    monkeypatch.undo()
    assert step(two) == 2
    save(two, 4)
    assert step(two) == 4


def test_what_a_killed_writer_left_is_written_over(two: Path) -> None:
    (two / CHECKPOINT_WRITING).mkdir()
    (two / CHECKPOINT_WRITING / "stray").write_text("half")
    save(two, 3)
    assert step(two) == 3
    assert not (two / CHECKPOINT / "stray").exists()
