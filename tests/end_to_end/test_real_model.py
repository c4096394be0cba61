"""The default study with few steps: the real model out of its package, real data, search to export."""

import json
import math
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.driver import Driver

pytestmark = pytest.mark.slow

FEW_STEPS = (
    *("run", "--space", "sft_lora", "--n-trials", "2", "--max-steps", "2", "--val-size", "6"),
    *("--pruner", "none", "--set", "cutoff_len=48", "--set", "effective_batch_size=8"),
)


def test_the_default_model_and_data_are_searched_and_exported(driver: Driver, tmp_path: Path) -> None:
    status, output = driver.run(*FEW_STEPS)
    assert status == 0, output
    assert "model  SmolLM2-135M-Instruct (llama, 30 layers, 576 wide, 135M parameters)" in output
    assert "data   chitchat, sft, 16 rows for training, 6 for evaluation" in output
    assert "Best of 2: rank " in output
    rows = driver.query("select state, value, lora_rank, lora_alpha from sweep_trials order by trial_number")
    assert [row[0] for row in rows] == ["complete", "complete"]
    assert rows[0][2:] == (8, 16.0), "the guide's starting point is the first trial"
    # Far below the uniform predictor's ln(49152) = 10.8, and not below what a model of this size can reach.
    assert all(1.5 < value < 5.5 for _, value, *_ in rows)
    assert all(math.isfinite(loss) for curve in driver.curves().values() for point in curve for loss in point)
    database = driver.query("pragma journal_mode")
    assert database == [("wal",)]

    status, output = driver.run("export", "sft_lora")
    assert status == 0, output
    folder = driver.folder / "exports" / "sft_lora"
    training = yaml.safe_load((folder / "train.yaml").read_text(encoding="utf8"))
    assert training["stage"] == "sft"
    assert training["cutoff_len"] == 48
    assert isinstance(training["learning_rate"], float)
    chats = json.loads((folder / "data" / "chitchat.json").read_text(encoding="utf8"))
    assert len(chats) > 3000
    adapter = json.loads((folder / "adapter" / "adapter_config.json").read_text(encoding="utf8"))
    assert adapter["peft_type"] == "LORA"
    assert adapter["base_model_name_or_path"] == training["model_name_or_path"]


def test_the_exported_adapter_gives_the_loss_that_the_study_recorded(driver: Driver) -> None:
    """Loads the winner with PEFT alone, and computes the evaluation loss anew."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from trials.data import DataSpec, prepare_data
    from trials.model import tokenizer_fingerprint

    status, output = driver.run(*FEW_STEPS, "--dtype", "fp32", "--n-trials", "1")
    assert status == 0, output
    assert driver.run("export", "sft_lora")[0] == 0
    adapter = driver.folder / "exports" / "sft_lora" / "adapter"
    base = json.loads((adapter / "adapter_config.json").read_text(encoding="utf8"))["base_model_name_or_path"]
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
    model.eval()
    spec = DataSpec("", "sft", 48, 32, 6, 42)
    rows = prepare_data(spec, tokenizer, tokenizer_fingerprint(tokenizer), driver.folder / "cache").evaluation
    total, labels = 0.0, 0
    with torch.no_grad():
        for index in range(len(rows)):
            ids = torch.tensor(rows.ids(index).astype("int64"))[None]
            wanted = ids.clone()
            wanted[0, ~torch.tensor(rows.is_label(index).astype(bool))] = -100
            count = int((wanted[:, 1:] != -100).sum())
            total += float(model(input_ids=ids, labels=wanted).loss) * count
            labels += count
    (recorded,) = driver.query("select value from sweep_trials")
    assert total / labels == pytest.approx(recorded[0], abs=1e-4)
