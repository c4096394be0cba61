"""A run's numbers, against computations that share no code with it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, get_cosine_schedule_with_warmup

from tests.trials.tiny_runs import ROWS, peft_model, run_to_end, tiny_config
from trials.data import PreparedData
from trials.model import BaseModel
from trials.run import LoraRun
from trials.token_rows import TokenRows


def row_loss(model: Any, rows: TokenRows, index: int) -> tuple[torch.Tensor, int]:
    """Return one row's loss summed over its label tokens, in nats, and their number."""
    ids = torch.from_numpy(rows.ids(index).astype(np.int64))
    labels = torch.from_numpy(np.array(rows.is_label(index)))[1:]
    logits = model(input_ids=ids[None]).logits[0, :-1]
    losses = functional.cross_entropy(logits.float(), ids[1:], reduction="none")
    return (losses * labels).sum(), int(labels.sum())


def mean_loss(model: Any, rows: TokenRows, indices: list[int]) -> torch.Tensor:
    """Return the mean over all label tokens of several rows, one row at a time."""
    losses = [row_loss(model, rows, index) for index in indices]
    return torch.stack([loss for loss, _ in losses]).sum() / sum(count for _, count in losses)


def plain_training(
    folder: str, data: PreparedData, steps: int, batch: int, seed: int
) -> tuple[list[float], list[float], float]:
    """Fine-tune as a textbook would: PEFT, AdamW, clipping, transformers' cosine schedule.

    Returns:
        Each step's loss, each step's gradient norm before clipping, and the last evaluation loss.
    """
    torch.manual_seed(seed)
    settings = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), settings)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=5e-3, weight_decay=0.1)
    schedule = get_cosine_schedule_with_warmup(optimizer, 2, steps)
    order = [int(i) for epoch in range(9) for i in np.random.default_rng([seed, epoch]).permutation(ROWS)]
    losses, norms = [], []
    for step in range(steps):
        loss = mean_loss(model, data.train, order[step * batch : (step + 1) * batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norms.append(float(torch.nn.utils.clip_grad_norm_(weights, 0.1)))
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    with torch.no_grad():
        final = float(mean_loss(model, data.evaluation, list(range(len(data.evaluation)))))
    return losses, norms, final


def test_ten_steps_agree_with_a_plain_loop(tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path) -> None:
    config = tiny_config(
        num_train_epochs=10 * 8 / ROWS,
        evaluations=10,
        warmup_ratio=0.2,
        weight_decay=0.1,
        max_grad_norm=0.1,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
    )
    reports = run_to_end(config, tiny_base, tiny_data, tmp_path)
    losses, norms, final = plain_training(tiny_base.reference, tiny_data, steps=10, batch=8, seed=config.seed)
    assert [report.train_loss for report in reports] == pytest.approx(losses, rel=0, abs=1e-5)
    assert [report.grad_norm for report in reports] == pytest.approx(norms, rel=0, abs=1e-5)
    assert min(norms) > 0.1  # or clipping was not tested
    assert reports[-1].eval_loss == pytest.approx(final, rel=0, abs=1e-5)
    assert abs(losses[0] - losses[-1]) > 0.01


def test_evaluation_is_the_mean_over_all_label_tokens(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    run = LoraRun(tiny_config(lora_dropout=0.5), tiny_base, tiny_data, tmp_path)
    next(iter(run))
    found = run.evaluate()
    with peft_model(run, tiny_base, tmp_path / "adapter") as model:
        wanted = float(mean_loss(model, tiny_data.evaluation, list(range(12))))
    run.close()
    assert found == pytest.approx(wanted, rel=0, abs=1e-5)
    assert found == pytest.approx(run.curve.reports[-1].eval_loss, rel=0, abs=1e-7)


def test_the_loss_does_not_depend_on_the_split(tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path) -> None:
    found = {}
    for micro in (8, 4, 2, 1):
        config = tiny_config(per_device_train_batch_size=micro, gradient_accumulation_steps=8 // micro)
        reports = run_to_end(config, tiny_base, tiny_data, tmp_path / str(micro))
        found[micro] = [value for r in reports for value in (r.train_loss, r.eval_loss, r.grad_norm)]
    for micro in (4, 2, 1):
        assert found[micro] == pytest.approx(found[8], rel=0, abs=1e-5)


@pytest.mark.parametrize(
    "change", [{"plain_output": False}, {"joined": False}, {"plain_output": False, "joined": False}]
)
def test_a_model_of_another_kind_has_the_same_losses(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, change: dict[str, bool]
) -> None:
    other = dataclasses.replace(tiny_base, passes=dataclasses.replace(tiny_base.passes, **change))
    wanted, found = (
        [
            value
            for report in run_to_end(tiny_config(), base, tiny_data, tmp_path / name)
            for value in (report.train_loss, report.eval_loss, report.grad_norm)
        ]
        for name, base in (("wanted", tiny_base), ("found", other))
    )
    assert found == pytest.approx(wanted, rel=0, abs=1e-5)


def test_without_a_limit_gradients_are_not_clipped(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    found = {}
    for limit in (0.0, 1e9, 1e-6):
        reports = run_to_end(tiny_config(max_grad_norm=limit), tiny_base, tiny_data, tmp_path / str(limit))
        found[limit] = [report.train_loss for report in reports]
    assert found[0.0] == found[1e9]
    assert found[0.0] != found[1e-6]
