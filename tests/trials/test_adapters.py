"""A fresh adapter on a warm base, and the base after it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from tests.trials.tiny_runs import adapter_modules, lora_weights, tiny_config
from trials.adapters import PeftAdapter
from trials.config import TrialConfig
from trials.model import BaseModel, load_base

IDS = torch.arange(3, 43).reshape(2, 20)


def logits(model: Any) -> torch.Tensor:
    """Return a model's logits [2, 20, vocab] on fixed token ids, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


def disturb(adapter: PeftAdapter) -> None:
    """Give every adapter weight another value: a fresh adapter changes nothing, having a zero factor."""
    torch.manual_seed(5)
    with torch.no_grad():
        for _, parameter in adapter.trainable().items():
            parameter.add_(torch.randn_like(parameter) * 0.1)


def fresh_weights(base: BaseModel, config: TrialConfig) -> dict[str, torch.Tensor]:
    adapter = PeftAdapter(base.model, config, base.reference)
    weights = lora_weights(adapter.model)
    adapter.remove()
    return weights


# --- first weights


def test_equal_seeds_give_equal_first_weights_whatever_ran_before(tiny_base: BaseModel) -> None:
    config = tiny_config()
    first = fresh_weights(tiny_base, config)
    torch.rand(17)
    fresh_weights(tiny_base, dataclasses.replace(config, lora_rank=2, seed=9))
    again = fresh_weights(tiny_base, dataclasses.replace(config, lora_alpha=64, learning_rate=1.0, lora_dropout=0.5))
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_another_seed_gives_other_first_weights(tiny_base: BaseModel) -> None:
    first, other = fresh_weights(tiny_base, tiny_config(seed=1)), fresh_weights(tiny_base, tiny_config(seed=2))
    assert all(torch.equal(first[name], other[name]) == ("lora_B" in name) for name in first)


def test_only_the_adapter_is_trained_with_its_rank_on_its_targets(tiny_base: BaseModel) -> None:
    adapter = PeftAdapter(tiny_base.model, tiny_config(lora_target=("v_proj", "up_proj"), lora_rank=3), "")
    shapes = {name.split("layers.")[1]: tuple(p.shape) for name, p in adapter.trainable().items()}
    adapter.remove()
    assert len(shapes) == 2 * 2 * 2
    assert shapes["0.self_attn.v_proj.lora_A.default.weight"] == (3, 32)
    assert shapes["1.mlp.up_proj.lora_B.default.weight"] == (64, 3)


def test_adapter_weights_are_fp32_on_a_bf16_base(tiny_folder: Path) -> None:
    base = load_base(tiny_folder, "tiny", "bf16")
    adapter = PeftAdapter(base.model, tiny_config(), base.reference)
    assert {p.dtype for _, p in adapter.trainable().items()} == {torch.float32}
    assert base.model.model.layers[0].self_attn.q_proj.base_layer.weight.dtype == torch.bfloat16


# --- taken off


def test_a_removed_adapter_leaves_the_base_as_it_was(tiny_base: BaseModel) -> None:
    model = tiny_base.model
    modules = [(name, type(module)) for name, module in model.named_modules()]
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    before = logits(model)
    adapter = PeftAdapter(model, tiny_config(), tiny_base.reference)
    disturb(adapter)
    assert not torch.equal(logits(model), before)
    adapter.remove()
    assert [(name, type(module)) for name, module in model.named_modules()] == modules
    assert all(torch.equal(weights[name], p) for name, p in model.named_parameters())
    assert torch.equal(logits(model), before)
    assert not hasattr(model, "peft_config")
    assert not any(p.requires_grad for p in model.parameters())
    assert adapter_modules(model) == []


@pytest.mark.filterwarnings("error::UserWarning")
def test_an_adapter_after_another_draws_no_warning(tiny_base: BaseModel) -> None:
    """PEFT warns of a model that still has traces of an earlier adapter."""
    for _ in range(2):
        PeftAdapter(tiny_base.model, tiny_config(), tiny_base.reference).remove()


# --- saved


def test_a_saved_adapter_gives_the_same_logits_in_a_new_base(tiny_base: BaseModel, tmp_path: Path) -> None:
    adapter = PeftAdapter(tiny_base.model, tiny_config(), tiny_base.reference)
    disturb(adapter)
    adapter.save(tmp_path)
    wanted = logits(adapter.model)
    adapter.remove()
    fresh = AutoModelForCausalLM.from_pretrained(tiny_base.reference, dtype=torch.float32)
    assert torch.equal(logits(PeftModel.from_pretrained(fresh, tmp_path)), wanted)


def test_saved_settings_name_base_rank_and_targets(tiny_base: BaseModel, tmp_path: Path) -> None:
    adapter = PeftAdapter(tiny_base.model, tiny_config(lora_dropout=0.25), "some/where")
    adapter.save(tmp_path)
    adapter.remove()
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == "some/where"
    assert (saved["r"], saved["lora_alpha"], saved["lora_dropout"]) == (4, 8, 0.25)
    assert sorted(saved["target_modules"]) == ["q_proj", "v_proj"]
    assert saved["inference_mode"] is True
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.suffix != ".md") == [".json", ".safetensors"]


def test_gpt2s_transposed_modules_are_adapted_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    make = GPT2Config(vocab_size=64, n_positions=32, n_embd=16, n_layer=1, n_head=2)
    base = GPT2LMHeadModel(make).requires_grad_(False)
    adapter = PeftAdapter(base, tiny_config(lora_target=("c_attn",)), "gpt2")
    disturb(adapter)
    adapter.save(tmp_path)
    wanted = logits(adapter.model)
    adapter.remove()
    assert not torch.equal(logits(base), wanted)
    assert torch.equal(logits(PeftModel.from_pretrained(base, tmp_path)), wanted)
