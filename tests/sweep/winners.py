"""Winners to export, whose adapters and data lie in a test's folder."""

import json
from pathlib import Path
from typing import Any

import yaml

from sweep.export import export
from sweep.exports.winner import Winner
from tests.sweep.fakes import trial_row
from trials.adapter_files import SETTINGS
from trials.config import TrialConfig
from trials.folders import ADAPTER

CHATS = [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}]


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes rows as JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")
    return file


# A safetensors file without a tensor.
WEIGHTS = (2).to_bytes(8, "little") + b"{}"


def make_winner(
    output: Path, dataset: str = "", name: str = "", base: str = "/models/tiny", dtype: str = "bf16", **config: Any
) -> Winner:
    """A winner whose adapter lies in `output`; without a data set, its data are a chat in a file there."""
    settings = TrialConfig(**({"learning_rate": 1e-5, "lora_alpha": 16, "max_rows": 160} | config))
    row = trial_row(3, 2.5714, learning_rate=settings.learning_rate, config=settings.to_dict())
    adapter = output / row["folder"] / ADAPTER
    adapter.mkdir(parents=True, exist_ok=True)
    (adapter / SETTINGS).write_text(json.dumps({"base_model_name_or_path": base}), encoding="utf8")
    (adapter / "adapter_model.safetensors").write_bytes(WEIGHTS)
    dataset = dataset or str(write_rows(output / "chats.jsonl", CHATS))
    name = name or Path(dataset).name
    identity = {"space": {"name": "sft_lora"}, "model": {"name": "tiny"}, "data": {"name": name}}
    return Winner("demo", row, identity, {"model": "", "dataset": dataset, "dtype": dtype}, ended=12)


def exported(tmp_path: Path, form: str, file: str, **winner: Any) -> str:
    """What an export's file holds; the export lies in `tmp_path/to`."""
    export(make_winner(tmp_path / "runs", **winner), tmp_path / "runs", tmp_path / "to", form)
    return (tmp_path / "to" / file).read_text(encoding="utf8")


def exported_yaml(tmp_path: Path, form: str, file: str, **winner: Any) -> dict[str, Any]:
    """The same, loaded."""
    loaded: dict[str, Any] = yaml.safe_load(exported(tmp_path, form, file, **winner))
    return loaded
