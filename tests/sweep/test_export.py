"""The training file, the data set's description and the adapter that a winner leaves with."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweep.errors import SweepError
from sweep.export import TRAINING_FILE, Winner, choose, export
from tests.sweep.fakes import trial_row
from trials.config import TrialConfig
from trials.folders import ADAPTER

MESSAGE_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}


def make_winner(
    output: Path, dataset: str = "org/chats", form: str = "alpaca", name: str = "org/chats", **config: Any
) -> Winner:
    """A winner whose adapter lies in `output`."""
    settings = TrialConfig(**({"learning_rate": 1e-5, "lora_alpha": 16, "max_rows": 160} | config))
    row = trial_row(3, 2.5714, learning_rate=settings.learning_rate, config=settings.to_dict())
    adapter = output / row["folder"] / ADAPTER
    adapter.mkdir(parents=True)
    base = {"base_model_name_or_path": "/models/tiny"}
    (adapter / "adapter_config.json").write_text(json.dumps(base), encoding="utf8")
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    identity = {"space": {"name": "sft_lora"}, "model": {"name": "tiny"}, "data": {"name": name}}
    source = {"model": "", "dataset": dataset, "form": form, "dtype": "bf16"}
    return Winner("demo", row, identity, source, ended=12)


def written(tmp_path: Path, **winner: Any) -> dict[str, Any]:
    """What the training file says when it is loaded."""
    export(make_winner(tmp_path / "runs", **winner), tmp_path / "runs", tmp_path / "to")
    loaded: dict[str, Any] = yaml.safe_load((tmp_path / "to" / TRAINING_FILE).read_text(encoding="utf8"))
    return loaded


def described(tmp_path: Path, **winner: Any) -> dict[str, Any]:
    """What `dataset_info.json` says."""
    written(tmp_path, **winner)
    info: dict[str, Any] = json.loads((tmp_path / "to" / "data" / "dataset_info.json").read_text(encoding="utf8"))
    return info


@pytest.mark.parametrize("rate", [1e-5, 1e-4, 1.5e-5, 7.123456e-4, 0.001, 1e-10])
def test_a_learning_rate_is_loaded_as_the_number_that_it_is(tmp_path: Path, rate: float) -> None:
    loaded = written(tmp_path, learning_rate=rate)["learning_rate"]
    assert isinstance(loaded, float)
    assert loaded == pytest.approx(rate, rel=1e-5)


def test_every_setting_is_loaded_with_its_type(tmp_path: Path) -> None:
    loaded = written(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=8, lora_dropout=0.05)
    assert loaded == {
        "model_name_or_path": "/models/tiny",
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "lora_target": "q_proj,v_proj",
        "dataset": "chats",
        "dataset_dir": str(tmp_path / "to" / "data"),
        "cutoff_len": 1024,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 8,
        "learning_rate": 1e-5,
        "num_train_epochs": 2.0,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.1,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": 42,
        "bf16": True,
        "val_size": 0.1,
        "eval_strategy": "steps",
        "eval_steps": 100,
        "per_device_eval_batch_size": 1,
        "output_dir": str(tmp_path / "to" / "output"),
        "logging_steps": 10,
        "save_steps": 500,
        "plot_loss": True,
    }


def test_variants_are_said_where_they_are_on(tmp_path: Path) -> None:
    loaded = written(tmp_path, use_dora=True, loraplus_lr_ratio=16.0)
    assert (loaded["use_dora"], loaded["loraplus_lr_ratio"]) == (True, 16.0)
    assert not {"use_rslora", "pissa_init"} & set(loaded)


def test_schedules_are_said_as_transformers_takes_them(tmp_path: Path) -> None:
    loaded = written(tmp_path / "a", lr_scheduler_type="step_decay", learning_rate=1e-3)
    assert loaded["lr_scheduler_type"] == "polynomial"
    assert loaded["lr_scheduler_kwargs"] == {"lr_end": pytest.approx(1e-3 * 0.9**10, rel=1e-2), "power": 1.0}
    winner = make_winner(tmp_path / "b", lr_scheduler_type="warmup_stable_decay", num_train_epochs=3.0)
    for source, decay in ((dict(winner.source), 6), ({**winner.source, "rows": 20_000}, 675)):
        # three epochs of the 160 rows that the trial saw are 30 steps, of 18,000 rows 3,375
        export(dataclasses.replace(winner, source=source), tmp_path / "b", tmp_path / "to")
        loaded = yaml.safe_load((tmp_path / "to" / TRAINING_FILE).read_text())
        assert loaded["lr_scheduler_kwargs"] == {"num_decay_steps": decay, "decay_type": "1-sqrt"}


def test_the_trials_own_cut_is_not_carried_over(tmp_path: Path) -> None:
    winner = make_winner(tmp_path, cutoff_len=128)
    winner.row["params"]["cutoff_len"] = 2048
    export(winner, tmp_path, tmp_path / "to")
    assert yaml.safe_load((tmp_path / "to" / TRAINING_FILE).read_text())["cutoff_len"] == 2048


def test_the_file_says_what_it_rests_on(tmp_path: Path) -> None:
    written(tmp_path)
    comments = [line for line in (tmp_path / "to" / TRAINING_FILE).read_text().splitlines() if line.startswith("#")]
    assert comments[:3] == [
        "# Trial 3 of the study demo, the best of 12 finished trials: evaluation loss 2.5714 nats per token.",
        "# Space sft_lora, model tiny, data org/chats.",
        "# The trial saw 160 rows cut at 1024 tokens; this file is for the full run.",
    ]


def test_a_name_cannot_break_out_of_its_comment(tmp_path: Path) -> None:
    assert "evil" not in written(tmp_path, name="chats\nevil: true")


@pytest.mark.parametrize(
    ("form", "columns"),
    [
        ("alpaca", {}),
        ("sharegpt", {"formatting": "sharegpt", "columns": {"messages": "conversations"}}),
        ("messages", {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": MESSAGE_TAGS}),
        ("text", {"columns": {"prompt": "text"}}),
    ],
)
def test_a_file_is_described_by_its_form(tmp_path: Path, form: str, columns: dict[str, Any]) -> None:
    file = tmp_path / "my chats.jsonl"
    file.touch()
    info = described(tmp_path, dataset=str(file), form=form, name=file.name)
    assert info == {"my chats": {**columns, "file_name": str(file)}}


def test_a_hub_data_set_is_named_by_its_address(tmp_path: Path) -> None:
    info = described(tmp_path)
    assert info == {"chats": {"hf_hub_url": "org/chats"}}


def test_the_training_file_uses_the_name_of_the_description(tmp_path: Path) -> None:
    assert written(tmp_path)["dataset"] == "chats"


def test_the_default_chats_are_written_as_messages(tmp_path: Path) -> None:
    info = described(tmp_path, dataset="", form="messages", name="chitchat")
    assert info["chitchat"] | {"file_name": "chitchat.json"} == info["chitchat"]
    rows = json.loads((tmp_path / "to" / "data" / "chitchat.json").read_text(encoding="utf8"))
    assert len(rows) > 1000
    assert {turn["role"] for row in rows for turn in row["messages"]} <= {"system", "user", "assistant"}
    assert info["chitchat"]["tags"] == MESSAGE_TAGS


def test_the_default_texts_are_written_as_texts(tmp_path: Path) -> None:
    info = described(tmp_path, dataset="pydoc", form="text", name="pydoc", stage="pt")
    assert info == {"pydoc": {"columns": {"prompt": "text"}, "file_name": "pydoc.json"}}
    rows = json.loads((tmp_path / "to" / "data" / "pydoc.json").read_text(encoding="utf8"))
    assert all(row["text"] for row in rows)


def test_the_adapter_is_copied_and_stays_where_it_was(tmp_path: Path) -> None:
    winner = make_winner(tmp_path / "runs")
    export(winner, tmp_path / "runs", tmp_path / "to")
    for adapter in (tmp_path / "to" / ADAPTER, tmp_path / "runs" / winner.row["folder"] / ADAPTER):
        assert (adapter / "adapter_model.safetensors").read_bytes() == b"weights"


def test_exporting_again_replaces_the_export(tmp_path: Path) -> None:
    winner = make_winner(tmp_path / "runs")
    told = export(winner, tmp_path / "runs", tmp_path / "to")
    assert export(winner, tmp_path / "runs", tmp_path / "to") == told
    assert str(tmp_path / "to" / TRAINING_FILE) in told[0]


def test_a_deleted_adapter_is_told_with_the_reason(tmp_path: Path) -> None:
    winner = make_winner(tmp_path)
    (tmp_path / winner.row["folder"] / ADAPTER / "adapter_config.json").unlink()
    with pytest.raises(SweepError, match=r"trial 3 has no adapter at .*: only the best are kept"):
        export(winner, tmp_path, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    winner = make_winner(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SweepError, match=r"cannot write to .*file/to: Not a directory"):
        export(winner, tmp_path, tmp_path / "file" / "to")


def test_the_best_complete_trial_is_chosen() -> None:
    rows = [trial_row(0, 2.5), trial_row(1, 2.4), trial_row(2, 2.3, state="pruned")]
    assert choose("demo", rows, None)["trial_number"] == 1


def test_a_trial_can_be_chosen_by_its_number() -> None:
    assert choose("demo", [trial_row(0, 2.5), trial_row(2, 2.4)], 2)["trial_number"] == 2


def test_without_a_complete_trial_there_is_nothing_to_export() -> None:
    with pytest.raises(SweepError, match="no complete trial yet; nothing to export"):
        choose("demo", [trial_row(0, 2.3, state="pruned")], None)


@pytest.mark.parametrize(
    ("rows", "message"), [([], "it has none yet"), ([trial_row(0, 2.5), trial_row(4, 2.4)], "it has 2, the last is 4")]
)
def test_a_number_that_no_trial_has_is_refused(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(SweepError, match=f"study 'demo' has no trial 9; {message}"):
        choose("demo", rows, 9)
