"""Runs that share passes: each has what it has alone, whoever else is there."""

import dataclasses
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trials.tiny_runs import tiny_config, weights_of
from trials.config import TrialConfig
from trials.data import PreparedData
from trials.model import BaseModel
from trials.passing import mean_losses, pass_together
from trials.run import LoraRun

STEPS = 30
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@st.composite
def configs(draw: st.DrawFn) -> TrialConfig:
    """Any plain LoRA run of 30 steps."""
    batch = draw(st.sampled_from([1, 2, 4, 8]))
    micro = draw(st.sampled_from([size for size in (1, 2, 4, 8) if batch % size == 0]))
    return tiny_config(
        lora_rank=draw(st.sampled_from([1, 2, 3, 8, 16])),
        lora_alpha=draw(st.sampled_from([1, 8, 32])),
        lora_target=tuple(draw(st.lists(st.sampled_from(TARGETS), min_size=1, max_size=4, unique=True))),
        lora_dropout=draw(st.sampled_from([0.0, 0.0, 0.2])),
        use_rslora=draw(st.booleans()),
        loraplus_lr_ratio=draw(st.sampled_from([0.0, 4.0])),
        learning_rate=draw(st.sampled_from([1e-4, 1e-3, 5e-3])),
        lr_scheduler_type=draw(st.sampled_from(["cosine", "linear", "constant"])),
        warmup_ratio=draw(st.sampled_from([0.0, 0.1])),
        max_grad_norm=draw(st.sampled_from([0.0, 0.1, 1.0])),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=batch // micro,
        seed=draw(st.integers(0, 3)),
        num_train_epochs=1e6,
        max_rows=STEPS * batch,
        evaluations=2,
    )


def losses_alone(config: TrialConfig, base: BaseModel, data: PreparedData, steps: int) -> list[float]:
    """Return the loss of each step of a run that has the base for itself."""
    with TemporaryDirectory() as folder:
        run, losses = LoraRun(config, base, data, Path(folder)), list[float]()
        while len(losses) < steps:
            pass_together(base, [run])
            if run.step > len(losses):
                losses.append(run.moved().train_loss)
        run.close()
    return losses


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_run_has_the_losses_that_it_has_alone(
    tiny_base: BaseModel, tiny_data: PreparedData, data: st.DataObject
) -> None:
    """Over 30 steps, while others begin, end, are taken away or diverge beside it."""
    drawn = data.draw(st.lists(configs(), min_size=2, max_size=4), label="runs")
    begins = [0, *(data.draw(st.integers(0, 9), label="begins after") for _ in drawn[1:])]
    ends = [STEPS, *(data.draw(st.sampled_from([3, 17, STEPS]), label="steps") for _ in drawn[1:])]
    broken = data.draw(st.none() | st.integers(1, len(drawn) - 1), label="diverges")
    with TemporaryDirectory() as folder:
        runs = [LoraRun(config, tiny_base, tiny_data, Path(folder) / str(i)) for i, config in enumerate(drawn)]
        losses: list[list[float]] = [[] for _ in drawn]
        passes = 0
        while len(losses[0]) < STEPS:
            active = [i for i in range(len(runs)) if begins[i] <= passes and len(losses[i]) < ends[i]]
            pass_together(tiny_base, [runs[i] for i in active])
            passes += 1
            for i in active:
                if runs[i].step > len(losses[i]):
                    losses[i].append(runs[i].moved().train_loss)
                    if i == broken and len(losses[i]) == 2:
                        spoil(runs[i])
        for run in runs:
            run.close()
    for i, config in enumerate(drawn):
        if i != broken:
            wanted = losses_alone(config, tiny_base, tiny_data, len(losses[i]))
            assert losses[i] == pytest.approx(wanted, rel=0, abs=1e-5)
        elif len(losses[i]) > 2:
            assert all(loss != loss for loss in losses[i][2:])


def spoil(run: LoraRun) -> None:
    """Lets a run diverge: no weight of its is a number."""
    with torch.no_grad():
        for weight in run._weights.values():
            weight.fill_(float("nan"))


def test_each_trains_its_own_weights_alone(tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path) -> None:
    first = LoraRun(tiny_config(lora_rank=2, lora_target=("q_proj",)), tiny_base, tiny_data, tmp_path / "first")
    second = LoraRun(tiny_config(lora_rank=8, lora_target=("up_proj",)), tiny_base, tiny_data, tmp_path / "second")
    before = [weights_of(run) for run in (first, second)]
    shapes = [{tuple(w.shape) for w in weights.values()} for weights in before]
    assert shapes == [{(2, 32), (32, 2)}, {(8, 32), (64, 8)}]
    for _ in range(2):
        pass_together(tiny_base, [first, second])
    for run, weights in zip((first, second), before, strict=True):
        assert all(not torch.equal(weight, weights[name]) for name, weight in weights_of(run).items())
        run.close()


@pytest.mark.parametrize("joined", [True, False])
def test_several_are_evaluated_at_once_as_each_alone(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, joined: bool
) -> None:
    base = dataclasses.replace(tiny_base, passes=dataclasses.replace(tiny_base.passes, joined=joined))
    runs = [
        LoraRun(tiny_config(learning_rate=rate, seed=seed), base, tiny_data, tmp_path / str(seed))
        for seed, rate in enumerate((1e-2, 2e-2, 5e-2))
    ]
    for _ in range(6):
        pass_together(base, runs)
    alone = [run.evaluate() for run in runs]
    adapters = [*(run.shared_weights for run in runs), None]
    assert mean_losses(base, tiny_data.evaluation, adapters)[:3] == pytest.approx(alone, rel=0, abs=1e-6)
    assert len(set(alone)) == 3
    for run in runs:
        run.close()


def parts_of(model: Any) -> dict[str, Any]:
    return {name: module.__dict__.get("forward") for name, module in model.named_modules()}


def test_a_pass_leaves_the_base_as_it_was(tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path) -> None:
    run = LoraRun(tiny_config(learning_rate=1.0), tiny_base, tiny_data, tmp_path)
    (before,) = mean_losses(tiny_base, tiny_data.evaluation, [None])
    pass_together(tiny_base, [run])
    pass_together(tiny_base, [run])
    assert set(parts_of(tiny_base.model).values()) == {None}
    assert mean_losses(tiny_base, tiny_data.evaluation, [None]) == [before]
    assert run.evaluate() != before
    assert tiny_base.model.config._attn_implementation == "sdpa"
    run.close()
