"""What a run yields, when it ends, and what it leaves behind."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.trials.tiny_runs import ROWS, adapter_modules, drive, run_to_end, tiny_config, weights_of
from trials.data import PreparedData
from trials.folders import ADAPTER, CHECKPOINTS
from trials.model import BaseModel, load_base
from trials.protocol import Moved
from trials.run import LoraRun

# --- reports


def test_reports_come_at_equal_fractions_of_the_horizon(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    reports = run_to_end(tiny_config(num_train_epochs=3.0, evaluations=4), tiny_base, tiny_data, tmp_path)
    assert [report.step for report in reports] == [3, 5, 7, 9]
    assert [report.evaluation for report in reports] == [1, 2, 3, 4]
    assert {(report.total_steps, report.total_evaluations) for report in reports} == {(9, 4)}
    assert [report.epoch for report in reports] == pytest.approx([1, 5 / 3, 7 / 3, 3])


def test_reports_count_tokens_time_and_memory(tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path) -> None:
    reports = run_to_end(tiny_config(evaluations=2), tiny_base, tiny_data, tmp_path)
    tokens = sum(tiny_data.train.length(i) for i in range(ROWS))
    assert [report.tokens for report in reports] == [tokens, 2 * tokens]
    assert 0 < reports[0].seconds < reports[1].seconds
    assert all(report.peak_memory_bytes > 1e6 and report.grad_norm > 0 for report in reports)


def test_rows_and_not_epochs_may_end_a_run(tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path) -> None:
    reports = run_to_end(tiny_config(num_train_epochs=50.0, max_rows=17), tiny_base, tiny_data, tmp_path)
    assert [report.step for report in reports] == [1, 2]


def test_a_high_rate_learns(tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path) -> None:
    config = tiny_config(learning_rate=1e-2, lora_alpha=64, num_train_epochs=16.0, lora_target=("down_proj",))
    run = LoraRun(config, tiny_base, tiny_data, tmp_path)
    untrained = run.evaluate()
    reports = list(run)
    run.close()
    assert untrained == pytest.approx(math.log(len(tiny_base.tokenizer)), abs=0.05)
    assert reports[-1].eval_loss < untrained - 0.2
    assert reports[-1].train_loss < reports[0].train_loss - 0.05


def test_equal_runs_give_equal_reports(tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path) -> None:
    config = tiny_config(lora_dropout=0.3)
    losses = []
    for name in ("a", "b"):
        torch.rand(3)  # what happened before must not matter
        losses.append([r.train_loss for r in run_to_end(config, tiny_base, tiny_data, tmp_path / name)])
    assert losses[0] == losses[1]


def test_chance_in_training_begins_alike_whatever_the_first_weights_took(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    drawn = []
    for rank in (2, 8):
        run = LoraRun(tiny_config(lora_rank=rank), tiny_base, tiny_data, tmp_path)
        drawn.append((run.chance, float(torch.rand(()))))
        run.close()
    assert drawn[0] == drawn[1]


def test_every_pass_drops_other_inputs(tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path) -> None:
    config = tiny_config(per_device_train_batch_size=2, gradient_accumulation_steps=4)
    run, drawn = LoraRun(config, tiny_base, tiny_data, tmp_path), list[int]()
    for _ in range(2):
        for _ in range(4):
            batch = run.next_micro_batch()
            drawn.append(run.chance)
            run.take(0.0, batch)
    run.close()
    assert run.step == 2
    assert len(set(drawn)) == 8


def test_each_step_is_told(tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path) -> None:
    moves: list[Moved] = []
    run = LoraRun(tiny_config(evaluations=1, warmup_ratio=0.5), tiny_base, tiny_data, tmp_path)
    (report,) = drive(run, moves.append)
    run.close()
    assert [(move.step, move.total_steps) for move in moves] == [(step, 6) for step in range(1, 7)]
    assert [move.epoch for move in moves] == pytest.approx([step / 3 for step in range(1, 7)])
    assert [move.learning_rate for move in moves[:4]] == pytest.approx([0, 5e-3 / 3, 5e-3 * 2 / 3, 5e-3])
    assert min(move.train_loss for move in moves) < report.train_loss < max(move.train_loss for move in moves)
    assert all(move.tokens_per_second > 0 for move in moves)


# --- the end


def feign(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Let evaluations find these losses."""
    found = iter(losses)
    monkeypatch.setattr(LoraRun, "evaluate", lambda self: next(found))


def test_patience_ends_a_run(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feign(monkeypatch, [3.0, 2.0, 2.5, 2.2, 1.0])
    run = LoraRun(tiny_config(evaluations=6, early_stopping_patience=2), tiny_base, tiny_data, tmp_path)
    assert [report.eval_loss for report in run] == [3.0, 2.0, 2.5, 2.2]
    assert run.done
    assert run.early
    run.close()


def test_a_run_that_reaches_its_horizon_is_not_early(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    run = LoraRun(tiny_config(), tiny_base, tiny_data, tmp_path)
    list(run)
    run.close()
    assert run.done
    assert not run.early


@pytest.mark.parametrize("calls", [0, 1, 2, 5])
def test_should_close_ends_it_before_the_next_micro_batch(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(per_device_train_batch_size=2, gradient_accumulation_steps=4, evaluations=1)
    run, passed = LoraRun(config, tiny_base, tiny_data, tmp_path), []
    take = run.take

    def count(loss: float, batch: Any) -> None:
        passed.append(batch)
        take(loss, batch)

    monkeypatch.setattr(run, "take", count)
    assert list(drive(run, should_close=lambda: len(passed) >= calls)) == []
    run.close()
    assert len(passed) == calls
    assert run.step == calls // 4
    assert not list(tmp_path.iterdir())


def test_losses_that_are_no_numbers_do_not_break_it(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    config = tiny_config(learning_rate=1e30, max_grad_norm=0.0)
    reports = run_to_end(config, tiny_base, tiny_data, tmp_path)
    assert [report.step for report in reports] == [2, 4, 6]
    assert math.isnan(reports[-1].train_loss)
    assert math.isnan(reports[-1].eval_loss)
    assert not (tmp_path / ADAPTER).exists()
    again = LoraRun(config, tiny_base, tiny_data, tmp_path)
    again.close()
    assert again.done


def test_a_batch_without_labels_counts_for_nothing(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_data.train, "is_label", lambda i: [False] * tiny_data.train.length(i))
    (first, *_) = run_to_end(tiny_config(), tiny_base, tiny_data, tmp_path)
    assert (first.train_loss, first.grad_norm) == (0, 0)


# --- what it leaves


def test_the_kept_adapter_is_the_best_evaluations(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feign(monkeypatch, [3.0, 2.0, 2.5])
    run = LoraRun(tiny_config(), tiny_base, tiny_data, tmp_path)
    weights = [weights_of(run) for _ in run]
    run.close()
    kept = load_file(tmp_path / ADAPTER / "adapter_model.safetensors")
    assert len(kept) == len(weights[1]) > 0
    for name, weight in weights[1].items():
        saved = kept[name.replace(".default", "")]
        assert torch.equal(saved, weight)
        assert not torch.equal(saved, weights[2][name])


def test_a_report_is_on_disk_before_it_is_yielded(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    run = LoraRun(tiny_config(), tiny_base, tiny_data, tmp_path)
    (first,) = itertools.islice(run, 1)
    run.close()
    resumed = LoraRun(tiny_config(), tiny_base, tiny_data, tmp_path)
    resumed.close()
    assert resumed.curve.reports == [first]
    assert {path.name for path in tmp_path.iterdir()} <= {ADAPTER, *CHECKPOINTS}


def test_close_takes_the_adapter_off(tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path) -> None:
    before = {name: p.detach().clone() for name, p in tiny_base.model.named_parameters()}
    run = LoraRun(tiny_config(), tiny_base, tiny_data, tmp_path)
    assert run.trainable_parameters == sum(w.numel() for w in weights_of(run).values()) > 0
    next(iter(run))
    run.close()
    assert adapter_modules(tiny_base.model) == []
    assert all(torch.equal(before[name], p) for name, p in tiny_base.model.named_parameters())
    assert all(p.grad is None for p in tiny_base.model.parameters())


def test_a_bf16_base_trains(tiny_folder: Path, tiny_data: PreparedData, tmp_path: Path) -> None:
    base = load_base(tiny_folder, "tiny", "bf16")
    config = tiny_config(learning_rate=1e-2, lora_alpha=64, lora_target=("down_proj",))
    reports = run_to_end(config, base, tiny_data, tmp_path)
    assert reports[-1].eval_loss < reports[0].eval_loss - 0.01
