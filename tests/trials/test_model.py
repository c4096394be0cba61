"""Finding, checking and loading a base model."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
)
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

import trials.model
from trials.errors import ModelError
from trials.model import BaseModel, find_model, linear_modules, load_base, model_fingerprint, pick_dtype

WEIGHTS = "model.safetensors"


def complaint(model: str | Path, cache: Path = Path("unused")) -> str:
    with pytest.raises(ModelError) as error:
        find_model(str(model), cache)
    return str(error.value)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny model that a test may damage."""
    return shutil.copytree(tiny_folder, tmp_path / "copy")


# --- finding


def test_a_folder_is_found_with_its_name(tiny_folder: Path, no_hub: None) -> None:
    assert find_model(str(tiny_folder), Path("unused")) == (tiny_folder, "tiny")


def test_a_folder_here_has_a_name_too(copy: Path, monkeypatch: pytest.MonkeyPatch, no_hub: None) -> None:
    monkeypatch.chdir(copy)
    assert find_model(".", Path("unused")) == (Path("."), "copy")


@pytest.mark.parametrize("model", ["", "SmolLM2-135M-Instruct"])
def test_no_name_is_the_default_model(model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trials.model, "default_model", lambda cache: cache / "models")
    assert find_model(model, tmp_path) == (tmp_path / "models", "SmolLM2-135M-Instruct")


@pytest.mark.parametrize("model", ["./no", "/no/such", "~/no", "~nobody-of-that-name/no", "some/where/else"])
def test_a_path_that_is_not_there(model: str, no_hub: None) -> None:
    wanted = f"no model folder {model!r}: give a folder with config.json and safetensors, or a hub name"
    assert complaint(model) == wanted


def test_a_file_is_no_model(tmp_path: Path, no_hub: None) -> None:
    (tmp_path / "model.gguf").write_text("")
    assert complaint(tmp_path / "model.gguf").startswith("no model folder")


def test_a_folder_without_settings(tmp_path: Path) -> None:
    assert complaint(tmp_path) == f"the model folder {str(tmp_path)!r} has no config.json"


def test_a_folder_without_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert complaint(tmp_path) == f"the model {str(tmp_path)!r} has no *.safetensors weights"


def test_pickled_weights_are_refused_by_name(tmp_path: Path) -> None:
    for name in ("config.json", "pytorch_model.bin", "extra.pt"):
        (tmp_path / name).write_text("{}")
    told = complaint(tmp_path).splitlines()
    assert len(told) == 2
    assert told[0].endswith("it has extra.pt, pytorch_model.bin, a pickle, which can hold code and is not loaded.")


def test_pickled_weights_become_a_model_by_the_command_that_is_told(tiny_folder: Path, copy: Path) -> None:
    weights = load_file(copy / WEIGHTS)
    (copy / WEIGHTS).unlink()
    torch.save(weights, copy / "pytorch_model.bin")
    python, option, code = shlex.split(complaint(copy).splitlines()[1].split(": ", 1)[1])
    subprocess.run([sys.executable, option, code], check=True, capture_output=True)
    assert python == "python"
    folder, _ = find_model(f"{copy}-safe", Path("/nowhere"))
    converted = load_file(folder / WEIGHTS)
    assert converted.keys() == weights.keys()
    assert all(torch.equal(converted[name], weights[name]) for name in weights)
    before, after = load_base(tiny_folder, "tiny", "fp32"), load_base(folder, "safe", "fp32")
    assert after.tokenizer_fingerprint == before.tokenizer_fingerprint


@pytest.mark.parametrize("trusted", [False, True])
def test_a_models_own_code_runs_only_when_it_is_trusted(copy: Path, tmp_path: Path, trusted: bool) -> None:
    ran = tmp_path / "ran"
    (copy / "configuration_own.py").write_text(f"open({str(ran)!r}, 'w')\nraise ValueError('it ran')\n")
    change_settings(model_type="own", auto_map={"AutoConfig": "configuration_own.OwnConfig"})(copy)
    with pytest.raises(ModelError) as error:
        load_base(copy, "copy", "fp32", trusted)
    assert ran.exists() == trusted
    assert len(str(error.value).splitlines()) == 1


# --- the hub


def test_a_hub_model_is_found_without_asking_for_pickles(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(tiny_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert find_model("someone/tiny", Path("unused")) == (tiny_folder, "someone/tiny")
    ((name, patterns),) = asked
    assert name == "someone/tiny"
    assert not [pattern for pattern in patterns if pattern.endswith((".bin", ".pt", ".pth", "*"))]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (LocalEntryNotFoundError("no network\nand no cache"), "no network"),
        (HFValidationError("Repo id must be"), "Repo id must be"),
        (HTTPError("403 Forbidden"), "403 Forbidden"),
        (OSError(), "OSError"),
    ],
)
def test_a_hub_model_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str) -> None:
    def download(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    wanted = f"no model 'no/such': it is no local folder, and the hub gave none of that name ({reason})"
    assert complaint("no/such") == wanted


# --- loading


def test_a_loaded_base_is_frozen_and_tells_its_facts(tiny_base: BaseModel, tiny_folder: Path) -> None:
    facts = tiny_base.facts
    assert (facts.name, facts.model_type, facts.layers, facts.hidden_size) == ("tiny", "llama", 2, 32)
    assert (facts.vocab_size, facts.dtype) == (len(tiny_base.tokenizer), "fp32")
    assert facts.parameters == sum(p.numel() for p in tiny_base.model.parameters())
    assert facts.fingerprint == model_fingerprint(tiny_folder)
    assert tiny_base.reference == str(tiny_folder.resolve())
    assert not any(p.requires_grad for p in tiny_base.model.parameters())


def test_an_adapter_refers_to_a_hub_model_by_its_name(tiny_folder: Path) -> None:
    assert load_base(tiny_folder, "someone/tiny", "fp32").reference == "someone/tiny"


@pytest.mark.parametrize(("dtype", "wanted"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_weights_have_the_type_that_is_asked_for(tiny_folder: Path, dtype: str, wanted: torch.dtype) -> None:
    base = load_base(tiny_folder, "tiny", dtype)
    assert base.facts.dtype == dtype
    assert {p.dtype for p in base.model.parameters()} == {wanted}


def test_auto_is_the_devices_own_type(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_dtype() in {"bf16", "fp32"}
    monkeypatch.setattr(trials.model, "pick_dtype", lambda: "bf16")
    assert load_base(tiny_folder, "tiny", "auto").facts.dtype == "bf16"


def test_the_device_has_memory_of_which_some_is_free(tiny_base: BaseModel) -> None:
    facts = tiny_base.device_facts()
    assert facts.name
    assert 0 < facts.free_bytes <= facts.memory_bytes


def test_a_tokenizer_without_any_end_still_has_something_to_pad_with(copy: Path) -> None:
    path = copy / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["eos_token"], settings["pad_token"]
    path.write_text(json.dumps(settings))
    assert load_base(copy, "copy", "fp32").pad_id == 0


def change_settings(**changes: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda folder: os.truncate(folder / WEIGHTS, 50_000), "cannot be loaded: .*incomplete"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), "cannot be loaded: .*header"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded: .*not a valid JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "cannot be loaded: "),
        (lambda folder: (folder / "tokenizer.json").unlink(), "cannot be loaded: "),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "cannot be loaded: "),
        (change_settings(model_type="nonesuch"), "cannot be loaded: .*nonesuch"),
        (change_settings(num_attention_heads="many"), "cannot be loaded: .*num_attention_heads"),
        (change_settings(hidden_size=64), "cannot be loaded: "),
        (change_settings(num_hidden_layers=3), r"lacks 9 of its weights, model\.layers\.2\.\S+ among them$"),
    ],
)
def test_a_damaged_model_is_refused_in_one_line(copy: Path, harm: Callable[[Path], object], reason: str) -> None:
    harm(copy)
    with pytest.raises(ModelError, match=f"the model 'copy' {reason}") as error:
        load_base(copy, "copy", "fp32")
    assert len(str(error.value).splitlines()) == 1


# --- linear modules


def test_the_linear_modules_of_a_llama(tiny_base: BaseModel) -> None:
    wanted = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
    assert linear_modules(tiny_base.model) == wanted


def test_the_linear_modules_of_a_gpt2() -> None:
    settings = GPT2Config(vocab_size=64, n_positions=32, n_embd=16, n_layer=1, n_head=2)
    assert linear_modules(GPT2LMHeadModel(settings)) == ("c_attn", "c_fc", "c_proj")


# --- fingerprints


def test_a_copied_folder_has_the_same_fingerprint(tiny_folder: Path, copy: Path) -> None:
    assert model_fingerprint(copy) == model_fingerprint(tiny_folder)


def test_where_and_with_what_it_was_saved_does_not_matter(tiny_folder: Path, copy: Path) -> None:
    change_settings(_name_or_path="elsewhere", transformers_version="0")(copy)
    assert model_fingerprint(copy) == model_fingerprint(tiny_folder)


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.norm.weight"])
def test_a_changed_weight_changes_the_fingerprint(tiny_folder: Path, copy: Path, name: str) -> None:
    weights = load_file(copy / WEIGHTS)
    weights[name].view(-1)[-1] += 1e-3
    save_file(weights, copy / WEIGHTS, {"format": "pt"})
    assert model_fingerprint(copy) != model_fingerprint(tiny_folder)


def test_a_changed_setting_changes_the_fingerprint(tiny_folder: Path, copy: Path) -> None:
    change_settings(rms_norm_eps=1e-3)(copy)
    assert model_fingerprint(copy) != model_fingerprint(tiny_folder)


def test_the_tokenizers_fingerprint_follows_its_chat_template(tiny_base: BaseModel, copy: Path) -> None:
    assert load_base(copy, "copy", "fp32").tokenizer_fingerprint == tiny_base.tokenizer_fingerprint
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    assert load_base(copy, "copy", "fp32").tokenizer_fingerprint != tiny_base.tokenizer_fingerprint
