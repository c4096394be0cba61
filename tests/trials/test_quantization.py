"""Quantised bases: what is done where bitsandbytes runs, and what is said where it does not."""

import dataclasses
import itertools
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests.trials.tiny_runs import adapter_modules, loaded_loss, measured, run_to_end, tiny_config
from trials import quantization
from trials.adapters import PeftAdapter
from trials.data import PreparedData
from trials.errors import ConfigError, ModelError
from trials.folders import ADAPTER
from trials.model import BaseModel, linear_modules, load_base
from trials.passing import pass_together
from trials.protocol import Ready, WorkerSetup
from trials.quantization import INSTALL, settle
from trials.run import LoraRun
from trials.worker import load

IDS = torch.arange(3, 43).reshape(2, 20)
CPU = torch.device("cpu")


def logits(model: Any) -> torch.Tensor:
    """Return a model's logits [2, 20, vocab] on fixed token ids, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


# --- where it does not run


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without bitsandbytes, whether it is installed or not."""
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU, as far as can be seen before anything is laid on it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.usefixtures("absent")
def test_without_bitsandbytes_four_bits_are_refused_with_what_to_install(tiny_folder: Path) -> None:
    with pytest.raises(ModelError) as error:
        load_base(tiny_folder, "tiny", "fp32", quantization_bit=4)
    assert str(error.value) == (
        "quantization_bit is 4, but the model 'tiny' cannot be quantised here: bitsandbytes is not installed: "
        f"{INSTALL}. Without: --set quantization_bit=0"
    )


@pytest.mark.usefixtures("absent", "gpu")
def test_without_bitsandbytes_auto_does_without_and_says_why(tiny_folder: Path) -> None:
    bits, why = settle("auto", tiny_folder, "tiny")
    assert bits is None
    assert why.startswith("bitsandbytes is not installed: pip install")


def test_on_the_cpu_auto_does_without(tiny_folder: Path, tiny_base: BaseModel) -> None:
    base = load_base(tiny_folder, "tiny", "fp32", quantization_bit="auto")
    assert base.facts == dataclasses.replace(tiny_base.facts, not_quantized="the CPU's memory is not what is short")


@pytest.mark.parametrize(("bits", "quantised"), [("auto", 4), (4, 4), (8, 8), (None, None)])
@pytest.mark.usefixtures("gpu")
def test_on_a_gpu_where_it_runs_it_is_done(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, bits: int | str | None, quantised: int | None
) -> None:
    asked: list[tuple[int, str]] = []

    def hindered(bits: int, device: torch.device) -> str:
        asked.append((bits, device.type))
        return ""

    monkeypatch.setattr(quantization, "hindered", hindered)
    assert settle(bits, tiny_folder, "tiny") == (quantised, "")
    assert asked == ([(quantised, "cuda")] if quantised else [])


@pytest.mark.usefixtures("absent")
def test_a_worker_says_what_is_missing(tiny_folder: Path, tiny_chats: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="bitsandbytes is not installed"):
        load(setup(tiny_folder, tiny_chats, tmp_path, 8))


def setup(model: Path, dataset: Path, cache: Path, bits: int | str | None) -> WorkerSetup:
    return WorkerSetup(
        model=str(model),
        dataset=str(dataset),
        stage="sft",
        cutoff_len=128,
        max_samples=None,
        val_size=12,
        seed=0,
        dtype="fp32",
        quantization_bit=bits,
        threads=1,
        trust_remote_code=False,
        cache_dir=cache,
    )


def test_a_model_that_is_quantised_already_is_not_quantised_again(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gptq"
    shutil.copytree(tiny_folder, folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"quantization_config": {"quant_method": "gptq"}}))
    monkeypatch.setattr(quantization, "hindered", lambda bits, device: "")
    with pytest.raises(ModelError, match=r"its weights are quantised already \(gptq\)\. Without"):
        settle(4, folder, "tiny")


def test_a_run_on_a_base_of_another_precision_is_refused(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    facts = dataclasses.replace(tiny_base.facts, not_quantized="no kernel for this GPU")
    base = dataclasses.replace(tiny_base, facts=facts)
    with pytest.raises(ConfigError) as error:
        LoraRun(tiny_config(quantization_bit=4), base, tiny_data, tmp_path)
    assert str(error.value) == (
        "quantization_bit is 4, but this worker's base is not quantised: no kernel for this GPU"
    )
    assert adapter_modules(tiny_base.model) == []


# --- where it runs: bitsandbytes does on the CPU


@pytest.fixture(scope="module", params=[4, 8], ids=["4 bits", "8 bits"])
def quantised(tiny_folder: Path, request: pytest.FixtureRequest) -> BaseModel:
    """Return the tiny Llama in fp32 with quantised linear weights."""
    pytest.importorskip("bitsandbytes", reason="it is installed by make test")
    return load_base(tiny_folder, "tiny", "fp32", quantization_bit=request.param)


def config(base: BaseModel, **changes: Any) -> Any:
    bits = base.facts.quantization_bit
    return tiny_config(learning_rate=2e-2, lora_target=("v_proj", "up_proj"), quantization_bit=bits, **changes)


def test_the_linear_weights_are_quantised_and_the_facts_say_so(quantised: BaseModel, tiny_base: BaseModel) -> None:
    bits, facts = quantised.facts.quantization_bit, quantised.facts
    layer = quantised.model.model.layers[0]
    kind = {4: "Linear4bit", 8: "Linear8bitLt"}[int(str(bits))]
    assert {type(module).__name__ for module in (layer.self_attn.q_proj, layer.mlp.down_proj)} == {kind}
    assert type(quantised.model.lm_head).__name__ == "Linear"
    assert layer.input_layernorm.weight.dtype == torch.float32
    assert facts.parameters == tiny_base.facts.parameters
    assert linear_modules(quantised.model) == facts.linear_modules == tiny_base.facts.linear_modules
    assert facts.fingerprint == tiny_base.facts.fingerprint
    assert facts.gradient_checkpointing
    assert not any(p.requires_grad for p in quantised.model.parameters())


def test_four_bits_are_nf4_quantised_twice(quantised: BaseModel) -> None:
    weight = quantised.model.model.layers[0].self_attn.q_proj.weight
    if quantised.facts.quantization_bit == 4:
        assert (weight.quant_state.quant_type, weight.quant_state.nested) == ("nf4", True)
    else:
        assert weight.dtype == torch.int8


def test_a_quantised_base_is_near_the_plain_one(quantised: BaseModel, tiny_base: BaseModel) -> None:
    distance = (logits(quantised.model) - logits(tiny_base.model)).abs().max()
    assert 0 < distance < 0.15


@pytest.mark.parametrize("variant", [{}, {"use_dora": True}, {"loraplus_lr_ratio": 4.0, "use_rslora": True}])
def test_training_lowers_the_loss_and_leaves_the_base_as_it_was(
    quantised: BaseModel, tiny_data: PreparedData, tmp_path: Path, variant: dict[str, Any]
) -> None:
    if variant.get("use_dora") and quantised.facts.quantization_bit == 8:
        pytest.skip("refused")
    before = logits(quantised.model)
    untrained = LoraRun(config(quantised), quantised, tiny_data, tmp_path / "untrained")
    start = untrained.evaluate()
    untrained.close()
    reports = run_to_end(config(quantised, **variant), quantised, tiny_data, tmp_path)
    assert min(report.eval_loss for report in reports) < start - 0.01
    assert torch.equal(logits(quantised.model), before)
    assert adapter_modules(quantised.model) == []


def test_gradients_are_those_of_the_dequantised_weights_also_after_an_evaluation(
    quantised: BaseModel, tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    """bitsandbytes repacks weights in an evaluation on some CPUs, and is then without gradients."""

    def gradients(base: BaseModel, bits: int | None) -> list[torch.Tensor]:
        settings = tiny_config(lora_target=("v_proj", "up_proj"), quantization_bit=bits)
        run = LoraRun(settings, base, tiny_data, tmp_path / str(bits))
        run.evaluate()
        run._optimizer_step = lambda: None  # type: ignore[method-assign]
        pass_together(base, [run])
        found = list(
            run._adapter.named(
                {name: p.grad.clone() for name, p in run._weights.items() if p.grad is not None}
            ).values()
        )
        run.close()
        return found

    plain = gradients(tiny_base, None)
    nearly = gradients(quantised, quantised.facts.quantization_bit)
    assert len(nearly) == len(plain)
    for mine, other in zip(nearly, plain, strict=True):
        if other.norm() > 0:
            assert torch.cosine_similarity(mine.flatten(), other.flatten(), dim=0) > 0.9
            assert math.isclose(float(mine.norm()), float(other.norm()), rel_tol=0.2)


def test_a_resumed_run_is_the_run_that_it_would_have_been(
    quantised: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    settings = config(quantised, warmup_ratio=0.3)
    wanted = run_to_end(settings, quantised, tiny_data, tmp_path / "whole")
    run = LoraRun(settings, quantised, tiny_data, tmp_path / "parts")
    list(itertools.islice(run, 1))
    run.close()
    reports = run_to_end(settings, quantised, tiny_data, tmp_path / "parts")
    assert [measured(report) for report in reports] == [measured(report) for report in wanted]


def test_its_adapter_is_a_plain_one_that_loads_on_the_plain_base(
    quantised: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    reports = run_to_end(config(quantised), quantised, tiny_data, tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(quantised.reference, dtype=torch.float32)
    bare = logits(plain)
    assert not torch.allclose(logits(PeftModel.from_pretrained(plain, tmp_path / ADAPTER)), bare, atol=1e-3)
    found = loaded_loss(quantised, tiny_data.evaluation, tmp_path / ADAPTER)
    assert found == pytest.approx(min(report.eval_loss for report in reports), abs=0.03)


def test_checkpointing_recomputes_the_same_numbers(
    quantised: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    assert quantised.model.is_gradient_checkpointing
    with_it = run_to_end(config(quantised), quantised, tiny_data, tmp_path / "with")
    quantised.model.gradient_checkpointing_disable()
    try:
        without = run_to_end(config(quantised), quantised, tiny_data, tmp_path / "without")
    finally:
        quantised.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert [report.eval_loss for report in with_it] == pytest.approx([r.eval_loss for r in without], abs=1e-6)


def test_a_bf16_base_is_quantised_too(tiny_folder: Path, tiny_data: PreparedData, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="it is installed by make test")
    base = load_base(tiny_folder, "tiny", "bf16", quantization_bit=4)
    assert base.model.model.layers[0].self_attn.q_proj.compute_dtype == torch.bfloat16
    adapter = PeftAdapter(base.model, config(base), "")
    assert {p.dtype for _, p in adapter.trainable().items()} == {torch.float32}
    adapter.remove()
    reports = run_to_end(config(base, lora_alpha=32), base, tiny_data, tmp_path)
    assert reports[-1].eval_loss < reports[0].eval_loss


def test_a_worker_loads_it(tiny_folder: Path, tiny_chats: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="it is installed by make test")
    *_, ready = load(setup(tiny_folder, tiny_chats, tmp_path, 4))
    assert isinstance(ready, Ready)
    assert ready.model.quantization_bit == 4


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (RuntimeError("no kernel image is available\nfor this device"), "no kernel image is available"),
        (AttributeError("no symbol"), "no symbol"),
    ],
)
@pytest.mark.parametrize("bits", [4, 8])
def test_a_device_that_cannot_do_it_is_found_by_trying(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, told: str, bits: int
) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="it is installed by make test")
    assert quantization.hindered(bits, CPU) == ""

    def fail(*_: Any) -> None:
        raise problem

    for kind in (bitsandbytes.nn.Linear4bit, bitsandbytes.nn.Linear8bitLt):
        monkeypatch.setattr(kind, "forward", fail)
    why = quantization.hindered(bits, CPU)
    assert why == f"bitsandbytes {bitsandbytes.__version__} does not run on cpu ({told})"


def test_a_version_that_is_too_old_is_told_with_the_one_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="it is installed by make test")
    monkeypatch.setattr("transformers.utils.is_bitsandbytes_available", lambda: False)
    why = quantization.hindered(4, CPU)
    assert why.startswith(f"bitsandbytes {bitsandbytes.__version__} is too old, 0.")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_auto_quantises_and_trains(tiny_folder: Path, tiny_data: PreparedData, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="it is installed by make test")
    base = load_base(tiny_folder, "tiny", "auto", quantization_bit="auto")
    assert (base.facts.quantization_bit, base.facts.not_quantized) == (4, "")
    reports = run_to_end(config(base, lora_alpha=32), base, tiny_data, tmp_path)
    assert reports[-1].eval_loss < reports[0].eval_loss
