"""What a trial needs of memory: reckoned, corrected by what was measured, and learnt from what ran out."""

import dataclasses
from pathlib import Path

import optuna
import pytest

from sweep.errors import SweepError, TrialFailed
from sweep.memory import CHUNK_BYTES, Memory, needed_bytes, token_bytes, trainable_weights
from sweep.memory_notes import extreme, memory_notes
from sweep.plan import Plan
from sweep.study import INFEASIBLE
from tests.sweep.fakes import FakeSweep, curve, make_plan, make_ready, make_space, report
from trials.config import TrialConfig
from trials.failure import FailureClass
from trials.protocol import DeviceFacts

GIB = 1 << 30
MODEL = dataclasses.replace(make_ready().model, linear_sizes={"q_proj": 100, "v_proj": 60, "up_proj": 300})
SMALL = TrialConfig(lora_target=("q_proj",), lora_rank=8, cutoff_len=64, per_device_train_batch_size=4)
LARGE = TrialConfig(lora_target=("q_proj", "up_proj"), lora_rank=64, cutoff_len=64, per_device_train_batch_size=4)


def gpu(free: int, used: int = 1000) -> DeviceFacts:
    return DeviceFacts("H100", 80 * GIB, free, used)


def test_an_adapter_has_rank_times_inputs_and_outputs_of_its_layers() -> None:
    assert trainable_weights(MODEL, SMALL) == 8 * 100
    assert trainable_weights(MODEL, LARGE) == 64 * 400


def test_the_tiny_models_count_is_the_adapters_own(tmp_path: Path) -> None:
    """Of a real model and a real adapter."""
    import torch
    from transformers import AutoModelForCausalLM

    from tests.tiny import make_tiny_model
    from trials.lora import LoraWeights
    from trials.model import linear_sizes

    base = AutoModelForCausalLM.from_pretrained(make_tiny_model(tmp_path), dtype=torch.float32)
    config = TrialConfig(lora_rank=3, lora_target=("q_proj", "k_proj", "down_proj"))
    weights = LoraWeights(base, config, "").trainable().values()
    model = dataclasses.replace(MODEL, linear_sizes=linear_sizes(base))
    assert trainable_weights(model, config) == sum(weight.numel() for weight in weights)


def test_a_need_grows_with_tokens_layers_and_the_adapter_and_shrinks_with_checkpointing() -> None:
    plain = needed_bytes(MODEL, SMALL, 64)
    assert plain == 16 * 800 + 64 * 20 * 2 * 32 * 4 + CHUNK_BYTES
    assert needed_bytes(MODEL, SMALL, 128) - plain == 64 * token_bytes(MODEL)
    assert needed_bytes(MODEL, LARGE, 64) - plain == 16 * (64 * 400 - 800)
    assert needed_bytes(MODEL, SMALL, 64, checkpointing=True) < plain
    halves = dataclasses.replace(MODEL, dtype="bf16")
    assert 2 * token_bytes(halves) == token_bytes(MODEL)


def test_what_does_not_fit_is_told_with_need_and_room() -> None:
    memory = Memory()
    need = needed_bytes(MODEL, LARGE, 64, checkpointing=True)
    assert memory.misfit(MODEL, gpu(need), LARGE) == ""
    told = memory.misfit(MODEL, gpu(need - 1), LARGE)
    assert told == (
        "rank 64 on 2 kinds of layers and rows of 64 tokens are reckoned to need 0.1 GB beside the model, one row at a "
        "time, and 0.1 GB are free"
    )


def test_a_measured_peak_corrects_the_reckoning_and_never_to_less_than_it() -> None:
    memory, free = Memory(), 2 * needed_bytes(MODEL, LARGE, 64, checkpointing=True)
    reckoned = 2 * needed_bytes(MODEL, SMALL, 4 * 64)
    peak = dataclasses.replace(report(1, 2.0), peak_memory_bytes=1000 + 3 * reckoned)
    low = dataclasses.replace(peak, peak_memory_bytes=1000 + reckoned // 2)
    assert not memory.measured(MODEL, gpu(free), SMALL, 2, low)
    assert (memory.ratio, memory.misfit(MODEL, gpu(free), LARGE)) == (1.0, "")
    assert memory.measured(MODEL, gpu(free), SMALL, 2, peak)
    assert memory.ratio == 3
    assert memory.misfit(MODEL, gpu(free), LARGE)
    assert not memory.measured(MODEL, gpu(free), SMALL, 2, low)
    assert memory.ratio == 3


def test_the_cpu_tells_nothing() -> None:
    memory = Memory()
    last = dataclasses.replace(report(1, 2.0), peak_memory_bytes=99 * GIB)
    assert not memory.measured(MODEL, DeviceFacts("cpu", GIB, GIB), SMALL, 1, last)
    assert memory == Memory()


def test_nothing_that_needs_as_much_as_what_ran_out_is_tried() -> None:
    memory = Memory()
    memory.ran_out(MODEL, LARGE)
    assert memory.misfit(MODEL, gpu(GIB), SMALL) == ""
    assert "as a trial that ran out of it" in memory.misfit(MODEL, gpu(GIB), LARGE)
    memory.ran_out(MODEL, SMALL)
    memory.ran_out(MODEL, LARGE)
    assert memory.misfit(MODEL, gpu(GIB), SMALL)


def test_a_study_remembers_each_device() -> None:
    study = optuna.create_study()
    Memory(2.5, 7).keep(study, "H100")
    Memory(1.5).keep(study, "A100")
    assert Memory.of(study, "H100") == Memory(2.5, 7)
    assert Memory.of(study, "A100") == Memory(1.5)
    assert Memory.of(study, "cpu") == Memory()


# --- said before it starts


SPACE = """
stage: sft
search:
  lora_rank: {int: [2, 4096]}
  lora_target: {choice: [mlp, qv, all]}
"""


def planned(free: int) -> Plan:
    ready = make_ready(free_bytes=free)
    sizes = {module: 100 * (place + 1) for place, module in enumerate(ready.model.linear_modules)}
    model = dataclasses.replace(ready.model, linear_sizes=sizes)
    return make_plan(make_space(SPACE), ready=dataclasses.replace(ready, model=model))


def test_the_extremes_are_those_of_rank_and_targets() -> None:
    plan = planned(GIB)
    least, most = extreme(plan, min), extreme(plan, max)
    assert (least.lora_rank, sorted(least.lora_target)) == (2, ["down_proj", "gate_proj", "up_proj"])
    assert (most.lora_rank, set(most.lora_target)) == (4096, set(plan.ready.model.linear_modules))


def test_before_the_first_trial_it_is_said_what_will_not_fit() -> None:
    plan = planned(GIB)
    needs = [
        needed_bytes(plan.ready.model, extreme(plan, choose), plan.budget.cutoff_len, checkpointing=True)
        for choose in (min, max)
    ]
    assert memory_notes(planned(needs[1]), Memory()) == []
    (note,) = memory_notes(planned(needs[1] - 1), Memory())
    assert note.startswith("the largest settings do not fit and will not be trained: rank 4096 on 7 kinds of layers")
    with pytest.raises(SweepError, match=r"^nothing of space demo fits into cpu's memory: rank 2 on 3 kinds"):
        memory_notes(planned(needs[0] - 1), Memory())


# --- in a sweep


def test_a_trial_that_runs_out_is_failed_and_its_like_not_trained_also_in_the_next_session(tmp_path: Path) -> None:
    short = TrialFailed("out of memory with a single row", failure=FailureClass.MEMORY)
    sweep = FakeSweep(tmp_path, [short], curve(3.0, 2.0))
    sweep.run(3)
    states = [trial.state.name for trial in sweep.study.trials]
    assert states == ["FAIL", "PRUNED", "PRUNED"]
    assert len(sweep.launcher.started) == 1
    told = sweep.study.trials[1].user_attrs[INFEASIBLE]
    assert told.startswith("not trained: rank ")
    assert "as a trial that ran out of it" in told
    assert Memory.of(sweep.study, "cpu, 128 GB").short is not None


def test_a_failure_of_another_kind_teaches_nothing_of_memory(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, *[[TrialFailed("broken")]] * 3, curve(3.0, 2.0))
    sweep.run(2)
    assert [trial.state.name for trial in sweep.study.trials] == ["FAIL", "COMPLETE"]
    assert Memory.of(sweep.study, "cpu, 128 GB") == Memory()


@pytest.mark.parametrize(("used", "kept"), [(1000, True), (0, False)])
def test_a_trials_peak_is_kept_with_the_study(tmp_path: Path, used: int, kept: bool) -> None:
    ready = make_ready(device="H100")
    ready = dataclasses.replace(ready, device=dataclasses.replace(ready.device, used_bytes=used))
    last = dataclasses.replace(curve(3.0)[0], peak_memory_bytes=8 * GIB)
    sweep = FakeSweep(tmp_path, [last])
    sweep.session.plan = dataclasses.replace(sweep.session.plan, ready=ready)
    sweep.run(1)
    assert (Memory.of(sweep.study, "H100, 128 GB").ratio > 1) == kept
