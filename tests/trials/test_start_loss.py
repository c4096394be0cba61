"""The loss before training: where every curve of a study begins, measured once."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.trials.tiny_runs import tiny_config
from trials.data import PreparedData
from trials.lora import LoraWeights
from trials.model import BaseModel
from trials.passing import mean_losses
from trials.run import LoraRun
from trials.start_loss import start_loss
from trials.token_rows import TokenRows


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The losses that were measured, and not read."""
    losses = list[float]()

    def measure(base: BaseModel, rows: TokenRows, adapters: Sequence[LoraWeights | None]) -> list[float]:
        losses.extend(mean_losses(base, rows, adapters))
        return losses[-1:]

    monkeypatch.setattr("trials.start_loss.mean_losses", measure)
    return losses


def cached(folder: Path) -> Path:
    (file,) = (folder / "start-loss").iterdir()
    return file


@pytest.mark.parametrize("variant", [{"lora_dropout": 0.5}, {"use_dora": True}, {"pissa_init": True}])
def test_it_is_what_a_run_has_before_its_first_step(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, variant: dict[str, Any]
) -> None:
    known = start_loss(tiny_base, tiny_data, tmp_path)
    run = LoraRun(tiny_config(**variant), tiny_base, tiny_data, tmp_path / "run")
    try:
        assert run.evaluate() == pytest.approx(known, rel=0, abs=1e-5)
        next(iter(run))
        assert run.evaluate() != pytest.approx(known, rel=0, abs=1e-3)
    finally:
        run.close()


def test_the_base_is_as_it_was(tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path) -> None:
    for training in (True, False):
        tiny_base.model.train(training)
        start_loss(tiny_base, tiny_data, tmp_path / str(training))
        assert tiny_base.model.training == training
    assert all(weight.grad is None for weight in tiny_base.model.parameters())


def test_it_is_measured_once(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, measured: list[float]
) -> None:
    first, second = (start_loss(tiny_base, tiny_data, tmp_path) for _ in range(2))
    assert measured == [first]
    assert second == first
    assert [file.suffix for file in (tmp_path / "start-loss").iterdir()] == [".json"], "nothing half-written stays"


@pytest.mark.parametrize("content", ["", '{"loss": 2.', "[]", "{}", "null", "\0"])
def test_a_half_written_file_is_measured_again(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, measured: list[float], content: str
) -> None:
    first = start_loss(tiny_base, tiny_data, tmp_path)
    cached(tmp_path).write_text(content, encoding="utf8")
    assert [start_loss(tiny_base, tiny_data, tmp_path) for _ in range(2)] == [first, first]
    assert len(measured) == 2


def test_another_process_that_measures_at_the_same_time_does_not_disturb(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, meanwhile = Path.replace, list[float | None]()

    def and_another(part: Path, target: Path) -> Path:
        if not meanwhile:
            meanwhile.append(None)
            monkeypatch.setattr("os.getpid", lambda: -1)
            meanwhile.append(start_loss(tiny_base, tiny_data, tmp_path))
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", and_another)
    assert start_loss(tiny_base, tiny_data, tmp_path) == meanwhile[1]
    assert json.loads(cached(tmp_path).read_text(encoding="utf8"))["loss"] == meanwhile[1]


def test_other_data_weights_or_precision_are_measured_anew(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, measured: list[float]
) -> None:
    facts = tiny_base.facts
    others = [
        dataclasses.replace(facts, fingerprint="another"),
        dataclasses.replace(facts, dtype="bf16"),
        dataclasses.replace(facts, quantization_bit=4),
    ]
    for changed in (facts, *others):
        start_loss(dataclasses.replace(tiny_base, facts=changed), tiny_data, tmp_path)
    data = dataclasses.replace(tiny_data, facts=dataclasses.replace(tiny_data.facts, fingerprint="another"))
    start_loss(tiny_base, data, tmp_path)
    assert len(measured) == 5


def test_a_loss_that_is_not_finite_is_not_known(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trials.start_loss.mean_losses", lambda *_: [math.nan])
    assert start_loss(tiny_base, tiny_data, tmp_path) is None
    monkeypatch.setattr("trials.start_loss.mean_losses", lambda *_: pytest.fail("it was measured again"))
    assert start_loss(tiny_base, tiny_data, tmp_path) is None
