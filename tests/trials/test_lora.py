"""Weights beside the base, against PEFT's own adapter in it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from tests.trials.tiny_runs import lora_weights, tiny_config
from trials.adapters import PeftAdapter
from trials.errors import ConfigError
from trials.grouped import GroupedLinear, works_grouped
from trials.lora import PREFIX, LoraWeights, features, targets
from trials.model import BaseModel, load_base
from trials.part import Part
from trials.shares import AdaptedLinear, Share, adapted

IDS = torch.arange(3, 43).reshape(2, 20)
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def trained(base: Any, **changes: Any) -> LoraWeights:
    """Return weights as if they had been trained: fresh ones change nothing."""
    weights = LoraWeights(base, tiny_config(**changes), "some/where")
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in weights.trainable().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return weights


def logits(model: Any, weights: LoraWeights | None = None) -> torch.Tensor:
    """Return logits [2, 20, vocab] on fixed ids."""
    model.eval()
    shares = [Share(weights, 0, IDS.numel())] if weights else []
    with torch.no_grad(), adapted(model, shares):
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


# --- first weights


@pytest.mark.parametrize("changes", [{}, {"lora_rank": 3, "seed": 9, "lora_target": (*ATTENTION, "down_proj")}])
def test_first_weights_are_pefts_to_the_bit(tiny_base: BaseModel, changes: dict[str, Any]) -> None:
    config = tiny_config(**changes)
    adapter = PeftAdapter(tiny_base.model, config, "")
    wanted = lora_weights(adapter.model)
    adapter.remove()
    weights = LoraWeights(tiny_base.model, config, "")
    found = weights.named(weights.trainable())
    assert [PREFIX + name.removeprefix(PREFIX) for name in wanted] == list(found)
    assert all(torch.equal(found[PREFIX + name.removeprefix(PREFIX)], weight) for name, weight in wanted.items())


def test_making_them_draws_no_random_number_of_others(tiny_base: BaseModel) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    LoraWeights(tiny_base.model, tiny_config(), "")
    assert torch.equal(torch.rand(2), wanted)


def test_they_are_fp32_on_a_bf16_base(tiny_folder: Path) -> None:
    base = load_base(tiny_folder, "tiny", "bf16")
    assert {p.dtype for p in LoraWeights(base.model, tiny_config(), "").trainable().values()} == {torch.float32}


def test_a_target_that_there_is_not_is_named(tiny_base: BaseModel) -> None:
    with pytest.raises(ConfigError, match=r"^lora_target names a_proj, z_proj, but the base model has no module"):
        LoraWeights(tiny_base.model, tiny_config(lora_target=("q_proj", "z_proj", "a_proj")), "")


def test_a_name_is_a_whole_name(tiny_base: BaseModel) -> None:
    assert {path.rsplit(".", 1)[-1] for path in targets(tiny_base.model, ("q_proj",))} == {"q_proj"}
    with pytest.raises(ConfigError):
        targets(tiny_base.model, ("proj",))


# --- forward and backward


@pytest.mark.parametrize("use_rslora", [False, True])
def test_logits_are_pefts(tiny_base: BaseModel, tmp_path: Path, use_rslora: bool) -> None:
    weights = trained(tiny_base.model, use_rslora=use_rslora, lora_target=(*ATTENTION, "up_proj"))
    found = logits(tiny_base.model, weights)
    weights.save(tmp_path)
    fresh = AutoModelForCausalLM.from_pretrained(tiny_base.reference, dtype=torch.float32)
    bare = logits(fresh)
    assert torch.allclose(found, logits(PeftModel.from_pretrained(fresh, tmp_path)), atol=1e-5)
    assert not torch.allclose(found, bare, atol=1e-2)


def gradients(model: Any, shares: list[Share], named: dict[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    """Return the gradients of a loss that every token's logits take part in."""
    weight = torch.linspace(-1, 1, 40).reshape(2, 20, 1)
    with adapted(model, shares):
        (model(input_ids=IDS).logits * weight).square().mean().backward()
    found = {name: p.grad.clone() for name, p in named.items() if p.grad is not None}
    for parameter in named.values():
        parameter.grad = None
    return found


def test_gradients_are_pefts(tiny_base: BaseModel, tmp_path: Path) -> None:
    weights = trained(tiny_base.model, lora_target=(*ATTENTION, "up_proj"))
    found = weights.named(gradients(tiny_base.model, [Share(weights, 0, 40)], weights.trainable()))
    weights.save(tmp_path)
    fresh = AutoModelForCausalLM.from_pretrained(tiny_base.reference, dtype=torch.float32).requires_grad_(False)
    peft = PeftModel.from_pretrained(fresh, tmp_path, is_trainable=True)
    peft.eval()
    wanted = gradients(peft, [], {name: p for name, p in peft.named_parameters() if p.requires_grad})
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        assert torch.allclose(gradient, wanted[name], atol=1e-6 + 1e-4 * float(wanted[name].abs().max()))


def test_each_share_sees_its_adapter_alone(tiny_base: BaseModel) -> None:
    """The first row has one, the second another, as each has when both rows do."""
    first, second = trained(tiny_base.model, seed=1), trained(tiny_base.model, seed=2, lora_rank=7, lora_alpha=100)
    tiny_base.model.eval()
    with torch.no_grad(), adapted(tiny_base.model, [Share(first, 0, 20), Share(second, 20, 40)]):
        found = tiny_base.model(input_ids=IDS).logits
    assert torch.allclose(found[0], logits(tiny_base.model, first)[0], atol=1e-5)
    assert torch.allclose(found[1], logits(tiny_base.model, second)[1], atol=1e-5)
    assert not torch.allclose(found[1], logits(tiny_base.model, first)[1], atol=1e-2)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_dropout_drops_the_same_in_both_passes_and_its_mean_is_the_whole(tiny_base: BaseModel, kind: str) -> None:
    """By a difference quotient: a gradient through another mask than the loss's would not fit it."""
    base = tiny_base.model if kind == "llama" else gpt2()
    target = "o_proj" if kind == "llama" else "c_attn"
    weights = trained(base, lora_dropout=0.5, lora_target=(target,))
    base.eval()

    def loss(chance: int | None) -> torch.Tensor:
        with adapted(base, [Share(weights, 0, 40, chance)]):
            found: torch.Tensor = base(input_ids=IDS).logits.double().square().mean()
        return found

    torch.autograd.backward(loss(7))
    a = weights.trainable()["lora_A"]
    assert a.grad is not None
    step = 1e-2 * a.grad / a.grad.norm()
    with torch.no_grad():
        a.add_(step)
        above = float(loss(7))
        a.sub_(2 * step)
        below = float(loss(7))
        a.add_(step)
        assert (above - below) / 2 == pytest.approx(float((a.grad * step).sum()), rel=2e-2)
        drawn = [float(loss(chance)) for chance in range(200)]
        assert float(loss(7)) == drawn[7]
        assert len(set(drawn)) > 190
        assert sum(drawn) / len(drawn) == pytest.approx(float(loss(None)), rel=0.05)


def gpt2() -> Any:
    torch.manual_seed(0)
    make = GPT2Config(vocab_size=64, n_positions=32, n_embd=16, n_layer=1, n_head=2)
    return GPT2LMHeadModel(make).requires_grad_(False)


def test_gpt2s_transposed_modules_are_adapted_too(tmp_path: Path) -> None:
    base = gpt2()
    weights = trained(base, lora_target=("c_attn",))
    assert features(base.transformer.h[0].attn.c_attn) == (16, 48)
    found = logits(base, weights)
    weights.save(tmp_path)
    assert not torch.equal(found, logits(base))
    assert torch.allclose(logits(PeftModel.from_pretrained(base, tmp_path)), found, atol=1e-5)


def test_the_base_is_as_it_was_also_after_an_error(tiny_base: BaseModel) -> None:
    weights, before = trained(tiny_base.model), logits(tiny_base.model)
    with pytest.raises(IndexError), adapted(tiny_base.model, [Share(weights, 0, 40)]):
        tiny_base.model(input_ids=IDS + 10_000)
    assert torch.equal(logits(tiny_base.model), before)
    assert not any("forward" in vars(module) for module in tiny_base.model.modules())


def test_a_forward_that_lay_over_a_module_is_called_and_put_back(tiny_base: BaseModel) -> None:
    """As accelerate lays one when a model is spread over GPUs."""
    module, called = tiny_base.model.model.layers[0].self_attn.q_proj, list[int]()
    weights = trained(tiny_base.model)
    wanted = logits(tiny_base.model, weights)

    def over(x: torch.Tensor) -> torch.Tensor:
        called.append(len(x))
        found: torch.Tensor = type(module).forward(module, x)
        return found

    module.forward = over
    try:
        assert torch.allclose(logits(tiny_base.model, weights), wanted, atol=1e-6)
        assert called == [2]
        assert module.forward is over
    finally:
        del module.forward


@pytest.mark.parametrize("drops", [0.0, 0.4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_groups_all_is_as_one_by_one(dtype: torch.dtype, drops: float) -> None:
    """Adapters of several ranks, with tokens between and behind them that have none."""
    assert works_grouped(torch.device("cpu"))
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(shape, dtype=dtype) for shape in ((2, 25, 16), (24, 16), (24,)))
    bounds = [(0, 9, 3), (12, 13, 8), (13, 41, 11)]
    factors = [torch.randn(shape, dtype=dtype) for _, _, rank in bounds for shape in ((rank, 16), (24, rank))]
    found = []
    for function in (AdaptedLinear, GroupedLinear):
        leaves = [leaf.clone().requires_grad_() for leaf in (x, *factors)]
        pairs = zip(leaves[1::2], leaves[2::2], strict=True)
        parts = [
            Part(a, b, 0.5 + place, begin, end, drops, place)
            for place, ((a, b), (begin, end, _)) in enumerate(zip(pairs, bounds, strict=True))
        ]
        y = function.apply(leaves[0], weight, bias, parts, *leaves[1:])  # type: ignore[no-untyped-call]
        torch.autograd.backward(y.square().mean())
        found.append([y.detach(), *(leaf.grad for leaf in leaves)])
    for one, other in zip(*found, strict=True):
        near = 1e-5 if dtype == torch.float32 else 2e-2
        assert (one - other).abs().max() <= near * one.abs().max()


# --- saved


def test_the_files_are_those_that_peft_writes(tiny_base: BaseModel, tmp_path: Path) -> None:
    config = tiny_config(lora_dropout=0.25, use_rslora=True)
    adapter = PeftAdapter(tiny_base.model, config, "some/where")
    adapter.save(tmp_path / "peft")
    adapter.remove()
    LoraWeights(tiny_base.model, config, "some/where").save(tmp_path / "own")
    wanted, found = (
        json.loads((tmp_path / name / "adapter_config.json").read_text()) | {"target_modules": []}
        for name in ("peft", "own")
    )
    assert found == wanted
    tensors = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("peft", "own")]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


@pytest.mark.parametrize("function", [AdaptedLinear, GroupedLinear])
def test_what_a_young_adapter_changes_is_not_lost_to_rounding(function: Any) -> None:
    if function is GroupedLinear and not works_grouped(torch.device("cpu")):
        pytest.skip("no grouped products here")
    torch.manual_seed(0)
    x, weight = torch.randn(256, 64).bfloat16(), (torch.randn(96, 64) / 8).bfloat16()
    a, b = (torch.randn(8, 64) / 8).bfloat16(), (5e-4 * torch.randn(96, 8).sign()).bfloat16()
    parts = [Part(a, b, 2.0, 0, 128, 0.0, 0), Part(a, b, 2.0, 128, 256, 0.0, 0)]
    y = function.apply(x, weight, None, parts, a, b, a, b)
    change = 2.0 * (x.float() @ a.float().t()) @ b.float().t()
    arrived = y.float() - x.float() @ weight.float().t()
    share = (arrived * change).sum() / change.square().sum()
    assert share == pytest.approx(1.0, abs=0.05)  # 0.6 where it is added to a rounded output
