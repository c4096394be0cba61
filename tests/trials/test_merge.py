"""A merged model: the base with its adapter on, a name and a fingerprint of its own, and whole or not there."""

import dataclasses
import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.tiny import make_tiny_model
from tests.trials.tiny_runs import run_to_end, tiny_config
from trials.adapters import PeftAdapter
from trials.data import PreparedData
from trials.errors import ModelError
from trials.folders import ADAPTER
from trials.merge import make_merged
from trials.merged import RECORD, Merge, Origin, adapter_sha256, read_origin
from trials.model import SAMPLE_BYTES, BaseModel, find_model, load_base, model_fingerprint
from trials.run import LoraRun

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "pissa": {"pissa_init": True},
    "all": {"use_rslora": True, "use_dora": True, "pissa_init": True, "loraplus_lr_ratio": 4},
}
IDS = torch.arange(3, 43).reshape(2, 20)
NOWHERE = Path("unused")
WEIGHTS = "model.safetensors"


def logits(model: Any) -> torch.Tensor:
    """Return a model's logits [2, 20, vocab] on fixed token ids."""
    model.eval()
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits.float()
    return found


def merge_of(base: Path, adapter: Path, folder: Path, **changes: Any) -> Merge:
    settings: dict[str, Any] = {
        "name": "tiny + first trial 7",
        "study": "first",
        "trial": 7,
        "value": 2.5,
        "base_name": "tiny",
        "base_fingerprint": model_fingerprint(base),
        "adapter_sha256": adapter_sha256(adapter),
        "dtype": "fp32",
    }
    return Merge(str(base), adapter, folder, Origin(**{**settings, **changes}))


def changed_adapter(base: BaseModel, folder: Path, seed: int = 1, **config: Any) -> Path:
    """Save an adapter whose weights are as if it had been trained."""
    adapter = PeftAdapter(base.model, tiny_config(**config), base.reference)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in adapter.trainable().items():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    adapter.save(folder)
    adapter.remove()
    return folder


@pytest.fixture(scope="module")
def adapter(tiny_base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an adapter of the tiny model."""
    return changed_adapter(tiny_base, tmp_path_factory.mktemp("adapter"))


# --- the weights


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_merged_model_is_the_base_with_its_adapter(
    tiny_base: BaseModel, tiny_data: PreparedData, tiny_folder: Path, tmp_path: Path, variant: dict[str, Any]
) -> None:
    config = tiny_config(learning_rate=2e-2, lora_target=("v_proj", "up_proj"), **variant)
    best = min(report.eval_loss for report in run_to_end(config, tiny_base, tiny_data, tmp_path))
    make_merged(merge_of(tiny_folder, tmp_path / ADAPTER, tmp_path / "merged"), NOWHERE)
    merged = load_base(*find_model(str(tmp_path / "merged"), NOWHERE), "fp32")
    fresh = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    untrained = logits(fresh)
    wanted = logits(PeftModel.from_pretrained(fresh, tmp_path / ADAPTER))
    assert torch.allclose(logits(merged.model), wanted, atol=1e-5)
    assert not torch.allclose(untrained, wanted, atol=0.05)
    judge = LoraRun(tiny_config(), merged, tiny_data, tmp_path / "judge")  # its own adapter is nothing yet
    assert judge.evaluate() == pytest.approx(best, abs=2e-6)


@pytest.mark.parametrize("variant", [{}, {"use_dora": True}], ids=["plain", "dora"])
def test_in_bf16_the_sum_is_rounded_once(
    tiny_base: BaseModel, tiny_folder: Path, tmp_path: Path, variant: dict[str, Any]
) -> None:
    """The wanted weights are the sum in fp32 of what the base is in bf16."""
    adapter = changed_adapter(tiny_base, tmp_path / "adapter", **variant)
    make_merged(merge_of(tiny_folder, adapter, tmp_path / "merged", dtype="bf16"), NOWHERE)
    found = load_file(tmp_path / "merged" / WEIGHTS)
    base = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.bfloat16)
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    wanted = PeftModel.from_pretrained(base.float(), adapter).merge_and_unload().bfloat16().state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in found)
    assert sum(not torch.equal(found[name], before[name]) for name in found) == 4


def test_a_merged_model_can_be_merged_into(tiny_base: BaseModel, tiny_folder: Path, tmp_path: Path) -> None:
    """A third stage, whose base is made first when it is not there."""
    first = merge_of(tiny_folder, changed_adapter(tiny_base, tmp_path / "one"), tmp_path / "first")
    make_merged(first, NOWHERE)
    fingerprint = model_fingerprint(tmp_path / "first")
    second_base = load_base(*find_model(str(tmp_path / "first"), NOWHERE), "fp32")
    second = merge_of(tmp_path / "first", changed_adapter(second_base, tmp_path / "two", 2), tmp_path / "second")
    wanted = logits(PeftModel.from_pretrained(second_base.model, tmp_path / "two"))
    shutil.rmtree(tmp_path / "first")
    make_merged(dataclasses.replace(second, before=first), NOWHERE)
    assert model_fingerprint(tmp_path / "first") == fingerprint
    assert torch.allclose(
        logits(load_base(*find_model(str(tmp_path / "second"), NOWHERE), "fp32").model), wanted, atol=1e-5
    )


# --- what goes with them


def test_a_merged_model_has_the_bases_tokenizer_and_settings(
    tiny_base: BaseModel, tiny_folder: Path, adapter: Path, tmp_path: Path
) -> None:
    make_merged(merge_of(tiny_folder, adapter, tmp_path / "merged"), NOWHERE)
    merged = load_base(*find_model(str(tmp_path / "merged"), NOWHERE), "fp32")
    assert merged.tokenizer_fingerprint == tiny_base.tokenizer_fingerprint
    before, now = (json.loads((folder / "config.json").read_text()) for folder in (tiny_folder, tmp_path / "merged"))
    assert now == before
    for file in tiny_folder.iterdir():
        assert (tmp_path / "merged" / file.name).is_file()


def test_a_merged_model_has_its_own_name_and_lies_in_a_folder(tiny_folder: Path, adapter: Path, tmp_path: Path) -> None:
    """Also when the base came from the hub, whose name has a slash."""
    merge = merge_of(tiny_folder, adapter, tmp_path / "merged", name="someone/tiny + first trial 7")
    make_merged(merge, NOWHERE)
    assert read_origin(tmp_path / "merged") == merge.origin
    base = load_base(*find_model(str(tmp_path / "merged"), NOWHERE), "fp32")
    assert base.facts.name == "someone/tiny + first trial 7"
    assert base.reference == str(tmp_path / "merged")


def test_a_damaged_record_is_told(tiny_folder: Path, adapter: Path, tmp_path: Path) -> None:
    make_merged(merge_of(tiny_folder, adapter, tmp_path / "merged"), NOWHERE)
    (tmp_path / "merged" / RECORD).write_text("{")
    with pytest.raises(ModelError, match=f"{RECORD} is damaged .*: delete its folder, and it is made again"):
        find_model(str(tmp_path / "merged"), NOWHERE)


# --- fingerprints


def test_two_adapters_between_the_sampled_ends_have_two_fingerprints(tmp_path: Path) -> None:
    """Weights are hashed at both ends of their file, where the embedding and the last layers lie."""
    folder = make_tiny_model(tmp_path / "model", hidden_size=64, layers=3)
    base = load_base(folder, "tiny", "fp32")
    prints, ends = {model_fingerprint(folder)}, set()
    for seed in (1, 2):
        where = tmp_path / str(seed)
        changed = changed_adapter(base, where / "adapter", seed, lora_target=("gate_proj",))
        content = make_merged(merge_of(folder, changed, where / "merged"), NOWHERE) / WEIGHTS
        header = 8 + int.from_bytes(content.read_bytes()[:8], "little")
        ends.add((content.read_bytes()[: header + SAMPLE_BYTES], content.read_bytes()[-SAMPLE_BYTES:]))
        prints.add(model_fingerprint(where / "merged"))
    assert len(ends) == 1, "the test needs weights that the samples do not reach"
    assert len(prints) == 3


def test_the_same_adapter_has_the_same_fingerprint_wherever_it_lies(
    tiny_folder: Path, adapter: Path, tmp_path: Path
) -> None:
    copy, base = shutil.copytree(adapter, tmp_path / "copy"), shutil.copytree(tiny_folder, tmp_path / "base")
    settings = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": str(base)}))
    merged = [
        make_merged(merge_of(where, what, tmp_path / name, study=name), NOWHERE)
        for where, what, name in ((tiny_folder, adapter, "a"), (base, copy, "b"))
    ]
    assert model_fingerprint(merged[0]) == model_fingerprint(merged[1])


def test_an_adapters_digest_covers_its_settings(adapter: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(adapter, tmp_path / "copy")
    settings = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**settings, "lora_alpha": 99}))
    assert adapter_sha256(copy) != adapter_sha256(adapter)


# --- what cannot be


def complaint(merge: Merge) -> str:
    with pytest.raises(ModelError) as error:
        make_merged(merge, NOWHERE)
    assert [path for path in merge.folder.parent.iterdir() if path.is_dir()] == [], "something is half-made"
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_a_base_that_has_changed_since(tiny_folder: Path, adapter: Path, tmp_path: Path) -> None:
    told = complaint(merge_of(tiny_folder, adapter, tmp_path / "in" / "merged", base_fingerprint="another"))
    assert "is not the model that study 'first' was trained on (tiny)" in told


def test_a_base_that_is_gone(tiny_folder: Path, adapter: Path, tmp_path: Path) -> None:
    merge = merge_of(tiny_folder, adapter, tmp_path / "in" / "merged")
    assert complaint(dataclasses.replace(merge, base="./gone")).startswith("no model folder './gone'")


def test_an_adapter_of_another_shape(adapter: Path, tmp_path: Path) -> None:
    wide = make_tiny_model(tmp_path / "wide", hidden_size=64)
    told = complaint(merge_of(wide, adapter, tmp_path / "in" / "merged"))
    assert told.startswith(f"the adapter {adapter} cannot be put on tiny: ")


def test_a_disk_that_is_too_small(
    tiny_folder: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    weights = (tiny_folder / WEIGHTS).stat().st_size - 8 - 10_000  # but for its header
    merge = merge_of(tiny_folder, adapter, tmp_path / "in" / "merged")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, weights // 2))
    told = complaint(merge)
    assert told.startswith("the merged model needs 0.0 GB, and 0.0 GB are free in")
    assert told.endswith("make room there, or name another folder with --output")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 2 * weights))
    assert make_merged(merge, NOWHERE).is_dir()


def test_a_disk_that_fills_up(
    tiny_folder: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy", full)
    told = complaint(merge_of(tiny_folder, adapter, tmp_path / "in" / "merged"))
    assert told.startswith("cannot write the merged model to")
    assert "No space left on device" in told
