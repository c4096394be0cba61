"""Two stages as the guide has them (4.3): pre-training, then SFT on its best adapter, merged."""

import json
import random
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.driver import Driver
from tests.tiny import WORDS
from trials.merged import read_origin
from trials.model import model_fingerprint

pytestmark = pytest.mark.slow


def _texts(path: Path) -> str:
    generator = random.Random(1)
    rows = [json.dumps({"text": " ".join(generator.choices(WORDS, k=60))}) for _ in range(60)]
    path.write_text("\n".join(rows) + "\n", encoding="utf8")
    return str(path)


def test_pre_training_then_sft(driver: Driver) -> None:
    short = ("--n-trials", "2", "--max-steps", "4", "--pruner", "none")
    texts = ("--space", "pt_lora", "--study", "texts-pt", "--dataset", _texts(driver.folder / "texts.jsonl"))
    fast = ("--set", "learning_rate=1e-2..2e-2", "--set", "lora_target=mlp")
    status, output = driver.run(*driver.sweep_arguments(*texts, *short, *fast))
    assert status == 0, output

    second = driver.sweep_arguments(*short, "--study", "chats", "--from-study", "texts-pt")
    del second[second.index("--model") : second.index("--model") + 2]
    status, output = driver.run(*second, "--n-trials", "1")
    assert status == 0, output
    first = driver.curves("chats")[0]
    ((number, value),) = driver.query(
        "select trial_number, value from sweep_trials where study_name = 'texts-pt' order by value limit 1"
    )
    assert f"load   model + texts-pt trial {number} into 1 worker on cpu, to be merged once\n" in output
    assert f"model  model + texts-pt trial {number} (llama" in output
    assert f"from   study texts-pt, trial {number} (evaluation loss {value:.3f}), merged\n" in output
    (merged,) = (folder for folder in (driver.folder / "runs/texts-pt/merged").iterdir() if folder.is_dir())
    origin = read_origin(merged)
    assert origin is not None
    assert (origin.study, origin.trial, origin.value) == ("texts-pt", number, value)

    identities = driver.query(
        "select study_name, value_json from study_user_attributes join studies using (study_id) where key = 'sweep'"
    )
    models = {name: json.loads(identity)["model"] for name, identity in identities}
    assert models["chats"]["fingerprint"] == model_fingerprint(merged)
    assert models["texts-pt"]["fingerprint"] == origin.base_fingerprint == model_fingerprint(driver.tiny / "model")

    made = merged.stat().st_mtime_ns
    status, output = driver.run(*second)  # the same line, with one trial more
    assert status == 0, output
    assert "1 of 2 done" in output
    assert "to be merged" not in output
    assert merged.stat().st_mtime_ns == made
    assert driver.curves("chats").keys() == {0, 1}
    assert driver.curves("chats")[0] == first

    status, output = driver.run("export", "chats")
    assert status == 0, output
    text = (driver.folder / "exports/chats/train.yaml").read_text(encoding="utf8")
    assert yaml.safe_load(text)["model_name_or_path"] == str(merged)
    assert f"# The base is model with the adapter of trial {number} of the study texts-pt" in text
    adapter = json.loads((driver.folder / "exports/chats/adapter/adapter_config.json").read_text(encoding="utf8"))
    assert adapter["base_model_name_or_path"] == str(merged)
