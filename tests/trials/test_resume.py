"""A run that was interrupted and goes on is the run that it would have been."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.trials.tiny_runs import drive, measured, run_to_end, tiny_config
from trials.checkpoint import load_checkpoint
from trials.config import SCHEDULERS
from trials.data import PreparedData
from trials.folders import ADAPTER, CHECKPOINT
from trials.model import BaseModel
from trials.report import Report
from trials.run import LoraRun

# Three epochs of three steps, evaluated in the middle of epochs too; two micro-batches a step.
CONFIG = tiny_config(
    lora_dropout=0.2,
    warmup_ratio=0.3,
    weight_decay=0.1,
    num_train_epochs=3.0,
    evaluations=4,
    per_device_train_batch_size=4,
    gradient_accumulation_steps=2,
)
MICRO_BATCHES = 18


@pytest.fixture(scope="module")
def whole(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Report], Path]:
    """Return the reports and the folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    return run_to_end(CONFIG, tiny_base, tiny_data, folder), folder


def interrupt(base: BaseModel, data: PreparedData, folder: Path, should_close: Callable[[], bool]) -> list[Report]:
    """Begin or go on with the run, until it shall close."""
    run = LoraRun(CONFIG, base, data, folder)
    try:
        return list(drive(run, should_close=should_close))
    finally:
        run.close()
        torch.rand(11)  # whatever comes between must not matter


def assert_same(reports: list[Report], wanted: list[Report]) -> None:
    assert len(reports) == len(wanted)
    for report, other in zip(reports, wanted, strict=True):
        assert measured(report) == pytest.approx(measured(other), rel=0, abs=1e-6)


@pytest.mark.parametrize("micro_batches", range(MICRO_BATCHES + 1))
def test_interrupted_anywhere_it_gives_the_reports_of_an_uninterrupted_run(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, whole: tuple[list[Report], Path], micro_batches: int
) -> None:
    calls = itertools.count()
    interrupt(tiny_base, tiny_data, tmp_path, lambda: next(calls) >= micro_batches)
    assert_same(run_to_end(CONFIG, tiny_base, tiny_data, tmp_path), whole[0])
    for name in (f"{ADAPTER}/adapter_model.safetensors", f"{CHECKPOINT}/tensors.safetensors"):
        assert (tmp_path / name).read_bytes() == (whole[1] / name).read_bytes()


def test_interrupted_after_each_report_it_gives_them_all(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, whole: tuple[list[Report], Path]
) -> None:
    for count in range(1, 5):
        run = LoraRun(CONFIG, tiny_base, tiny_data, tmp_path)
        reports = list(itertools.islice(run, count))
        run.close()
        assert_same(reports, whole[0][:count])


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_each_schedule_goes_on_where_it_was(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, scheduler: str
) -> None:
    config = dataclasses.replace(CONFIG, lr_scheduler_type=scheduler, evaluations=9)
    wanted = run_to_end(config, tiny_base, tiny_data, tmp_path / "whole")
    run = LoraRun(config, tiny_base, tiny_data, tmp_path / "parts")
    next(iter(run))
    run.close()
    reports = run_to_end(config, tiny_base, tiny_data, tmp_path / "parts")
    assert [report.learning_rate for report in reports] == [report.learning_rate for report in wanted]


def test_earlier_reports_come_first_and_as_they_were(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    calls = itertools.count()
    first = interrupt(tiny_base, tiny_data, tmp_path, lambda: next(calls) >= MICRO_BATCHES - 4)
    assert len(first) == 3
    again = run_to_end(CONFIG, tiny_base, tiny_data, tmp_path)
    assert again[:3] == first
    assert again[3].seconds > first[2].seconds


def test_a_finished_run_yields_its_reports_and_trains_no_more(
    tiny_base: BaseModel, tiny_data: PreparedData, whole: tuple[list[Report], Path]
) -> None:
    run = LoraRun(CONFIG, tiny_base, tiny_data, whole[1])
    assert run.done
    assert list(run) == whole[0]
    run.close()


def test_patience_that_ran_out_has_still_run_out(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoraRun, "evaluate", lambda self: 2.0)
    config = dataclasses.replace(CONFIG, early_stopping_patience=1)
    assert len(run_to_end(config, tiny_base, tiny_data, tmp_path)) == 2
    run = LoraRun(config, tiny_base, tiny_data, tmp_path)
    run.close()
    assert run.early
    assert run.done


def test_it_goes_on_with_another_split_of_the_batch(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    calls = itertools.count()
    first = interrupt(tiny_base, tiny_data, tmp_path, lambda: next(calls) >= 8)
    other = dataclasses.replace(CONFIG, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    reports = run_to_end(other, tiny_base, tiny_data, tmp_path)
    assert reports[: len(first)] == first
    assert [report.step for report in reports] == [3, 5, 7, 9]


def test_a_checkpoint_of_other_settings_is_ignored(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, whole: tuple[list[Report], Path]
) -> None:
    run_to_end(dataclasses.replace(CONFIG, seed=77), tiny_base, tiny_data, tmp_path)
    assert_same(run_to_end(CONFIG, tiny_base, tiny_data, tmp_path), whole[0])


def test_a_damaged_checkpoint_costs_one_evaluation(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, whole: tuple[list[Report], Path]
) -> None:
    calls = itertools.count()
    interrupt(tiny_base, tiny_data, tmp_path, lambda: next(calls) >= 12)
    (tmp_path / CHECKPOINT / "state.json").write_text("{")
    before = load_checkpoint(tmp_path)
    assert before is not None
    assert len(before.values["reports"]) == 1
    assert_same(run_to_end(CONFIG, tiny_base, tiny_data, tmp_path), whole[0])
