"""The variants of LoRA: what they change, that they resume, save and leave the base as it was."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import GPT2Config, GPT2LMHeadModel

from tests.trials.tiny_runs import adapter_modules, loaded_loss, measured, run_to_end, tiny_config, weights_of
from trials.adapters import PeftAdapter
from trials.data import PreparedData
from trials.errors import ConfigError
from trials.folders import ADAPTER
from trials.model import BaseModel, load_base
from trials.optimizers import make_optimizer
from trials.run import LoraRun

VARIANTS: dict[str, dict[str, Any]] = {
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "pissa": {"pissa_init": True},
    "loraplus": {"loraplus_lr_ratio": 8.0},
    "dropout": {"lora_dropout": 0.3},
    "all": {"use_rslora": True, "use_dora": True, "pissa_init": True, "loraplus_lr_ratio": 4, "lora_dropout": 0.1},
}
each_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
IDS = torch.arange(3, 43).reshape(2, 20)


def logits(model: Any) -> torch.Tensor:
    """Return a model's logits [2, 20, vocab] on fixed token ids, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@each_variant
def test_the_base_is_as_it_was_to_the_bit(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, variant: dict[str, Any]
) -> None:
    before, wanted = weights(tiny_base.model), logits(tiny_base.model)
    run_to_end(tiny_config(lora_target=("q_proj", "down_proj"), **variant), tiny_base, tiny_data, tmp_path)
    assert all(torch.equal(before[name], p) for name, p in tiny_base.model.named_parameters())
    assert torch.equal(logits(tiny_base.model), wanted)
    assert adapter_modules(tiny_base.model) == []


@each_variant
def test_a_saved_adapter_has_the_runs_loss_on_a_fresh_base(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, variant: dict[str, Any]
) -> None:
    config = tiny_config(learning_rate=2e-2, lora_target=("v_proj", "up_proj"), **variant)
    run = LoraRun(config, tiny_base, tiny_data, tmp_path)
    untrained = run.evaluate()
    reports = list(run)
    run.close()
    best = min(report.eval_loss for report in reports)
    assert best < untrained - 0.01
    assert loaded_loss(tiny_base, tiny_data.evaluation, tmp_path / ADAPTER) == pytest.approx(best, abs=2e-6)


@each_variant
def test_a_resumed_run_is_the_run_that_it_would_have_been(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, variant: dict[str, Any]
) -> None:
    config = tiny_config(warmup_ratio=0.3, weight_decay=0.1, **variant)
    wanted = run_to_end(config, tiny_base, tiny_data, tmp_path / "whole")
    run = LoraRun(config, tiny_base, tiny_data, tmp_path / "parts")
    list(itertools.islice(run, 1))
    run.close()
    torch.rand(7)
    reports = run_to_end(config, tiny_base, tiny_data, tmp_path / "parts")
    assert [measured(report) for report in reports] == [measured(report) for report in wanted]
    kept = [(tmp_path / name / ADAPTER / "adapter_model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert kept[0] == kept[1]


# --- rsLoRA, DoRA


def test_rslora_scales_by_the_root_of_the_rank(tiny_base: BaseModel) -> None:
    adapter = PeftAdapter(tiny_base.model, tiny_config(lora_rank=4, lora_alpha=8, use_rslora=True), "")
    assert tiny_base.model.model.layers[0].self_attn.q_proj.scaling["default"] == 8 / math.sqrt(4)
    adapter.remove()


@pytest.mark.parametrize("variant", [{"use_dora": True}, {"pissa_init": True}])
def test_on_a_bf16_base_the_adapter_is_fp32_and_the_base_is_restored(
    tiny_folder: Path, tiny_data: PreparedData, tmp_path: Path, variant: dict[str, Any]
) -> None:
    base = load_base(tiny_folder, "tiny", "bf16")
    before, wanted = weights(base.model), logits(base.model)
    run = LoraRun(tiny_config(learning_rate=2e-2, lora_alpha=64, **variant), base, tiny_data, tmp_path)
    assert {p.dtype for p in base.model.parameters() if p.requires_grad} == {torch.float32}
    assert torch.allclose(logits(base.model).float(), wanted.float(), atol=0.02)
    assert list(run)[-1].eval_loss < run.curve.reports[0].eval_loss
    run.close()
    assert all(torch.equal(before[name], p) for name, p in base.model.named_parameters())


# --- PiSSA


def test_pissa_begins_as_the_base_with_its_main_directions_in_the_adapter(tiny_base: BaseModel) -> None:
    module = tiny_base.model.model.layers[0].self_attn.q_proj
    original, wanted = module.weight.detach().clone(), logits(tiny_base.model)
    adapter = PeftAdapter(tiny_base.model, tiny_config(pissa_init=True), "")
    assert torch.allclose(logits(tiny_base.model), wanted, atol=1e-5)
    rest = tiny_base.model.model.layers[0].self_attn.q_proj.base_layer.weight.detach()
    values, left = torch.linalg.svdvals(original), torch.linalg.svdvals(rest)
    adapter.remove()
    assert left[:3] == pytest.approx(values[4:7], rel=0.02)


def test_pissa_is_saved_as_a_plain_adapter_of_twice_the_rank(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    run_to_end(tiny_config(pissa_init=True), tiny_base, tiny_data, tmp_path)
    saved = json.loads((tmp_path / ADAPTER / "adapter_config.json").read_text())
    assert (saved["r"], saved["lora_alpha"], saved["init_lora_weights"]) == (8, 16, True)


def test_pissa_on_gpt2s_transposed_modules(tmp_path: Path) -> None:
    torch.manual_seed(0)
    make = GPT2Config(vocab_size=64, n_positions=32, n_embd=16, n_layer=1, n_head=2)
    base = GPT2LMHeadModel(make).requires_grad_(False)
    before, wanted = weights(base), logits(base)
    adapter = PeftAdapter(base, tiny_config(lora_target=("c_attn",), pissa_init=True), "gpt2")
    assert torch.allclose(logits(base), wanted, atol=1e-5)
    with torch.no_grad():
        for _, parameter in adapter.trainable().items():
            parameter.add_(0.1)
    adapter.save(tmp_path)
    changed = logits(adapter.model)
    adapter.remove()
    assert all(torch.equal(before[name], p) for name, p in base.named_parameters())
    assert torch.allclose(logits(PeftModel.from_pretrained(base, tmp_path)), changed, atol=1e-5)


def test_pissa_with_a_rank_that_no_module_has_is_refused_and_changes_nothing(tiny_base: BaseModel) -> None:
    before = weights(tiny_base.model)
    with pytest.raises(ConfigError) as error:
        PeftAdapter(tiny_base.model, tiny_config(pissa_init=True, lora_rank=17), "")
    wanted = "lora_rank is 17; pissa_init allows at most 16, as model.layers.0.self_attn.v_proj is 16 x 32"
    assert str(error.value) == wanted
    assert all(torch.equal(before[name], p) for name, p in tiny_base.model.named_parameters())


def test_a_resumed_pissa_run_takes_its_own_first_factors_out_of_the_base(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another machine, whose decomposition has other signs."""
    config = tiny_config(pissa_init=True)
    wanted = run_to_end(config, tiny_base, tiny_data, tmp_path / "whole")
    run = LoraRun(config, tiny_base, tiny_data, tmp_path / "parts")
    list(itertools.islice(run, 1))
    run.close()
    lowrank = torch.svd_lowrank

    def other(*given: Any, **named: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        u, s, v = lowrank(*given, **named)
        return -u * 1.001, s, -v

    monkeypatch.setattr("peft.tuners.lora.layer.svd_lowrank", other)
    reports = run_to_end(config, tiny_base, tiny_data, tmp_path / "parts")
    assert [measured(report) for report in reports] == [measured(report) for report in wanted]


# --- LoRA+


def test_loraplus_gives_the_b_factors_a_rate_of_their_own(tiny_base: BaseModel) -> None:
    config = tiny_config(loraplus_lr_ratio=8.0, learning_rate=1e-3, weight_decay=0.1)
    adapter = PeftAdapter(tiny_base.model, config, "")
    optimizer = make_optimizer(adapter.trainable(), config)
    names = {id(p): name for name, p in adapter.trainable().items()}
    rates = {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    decays = {group["weight_decay"] for group in optimizer.param_groups if group["params"]}
    adapter.remove()
    assert rates == {name: 8e-3 if "lora_B" in name else 1e-3 for name in names.values()}
    assert (optimizer.param_groups[0]["lr"], decays) == (1e-3, {0.1})


def test_a_ratio_of_one_is_no_ratio(tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path) -> None:
    found = []
    for ratio in (0.0, 1.0):
        run = LoraRun(tiny_config(loraplus_lr_ratio=ratio), tiny_base, tiny_data, tmp_path / str(ratio))
        list(run)
        found.append(weights_of(run))
        run.close()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
