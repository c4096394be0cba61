"""The training file and the data set's description that LLaMA-Factory gets."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweep.export import export
from sweep.exports.llamafactory import TRAINING_FILE
from tests.sweep.winners import CHATS, exported, exported_yaml, make_winner, write_rows

TURNS = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
TAGS = {"user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}
MESSAGE_TAGS = {"role_tag": "role", "content_tag": "content", **TAGS}


def written(tmp_path: Path, **winner: Any) -> dict[str, Any]:
    """What the training file says when it is loaded."""
    return exported_yaml(tmp_path, "llamafactory", TRAINING_FILE, **winner)


def described(tmp_path: Path, **winner: Any) -> dict[str, Any]:
    """The data set's entry in `dataset_info.json`."""
    dataset = written(tmp_path, **winner)["dataset"]
    info: dict[str, Any] = json.loads((tmp_path / "to" / "data" / "dataset_info.json").read_text(encoding="utf8"))
    assert list(info) == [dataset]
    entry: dict[str, Any] = info[dataset]
    return entry


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
    assert not {"use_rslora", "pissa_init", "pissa_convert"} & set(loaded)


def test_pissa_is_to_end_as_a_plain_adapter_as_the_trials_did(tmp_path: Path) -> None:
    loaded = written(tmp_path, pissa_init=True)
    assert (loaded["pissa_init"], loaded["pissa_convert"]) == (True, True)


def test_quantisation_is_carried_over(tmp_path: Path) -> None:
    winner = make_winner(tmp_path / "runs")
    winner.row["config"]["quantization_bit"] = 4
    export(winner, tmp_path / "runs", tmp_path / "to")
    assert yaml.safe_load((tmp_path / "to" / TRAINING_FILE).read_text())["quantization_bit"] == 4


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


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"instruction": "say", "output": "yes"}, {"prompt": "instruction", "response": "output"}),
        (
            {"instruction": "say", "input": "", "output": "yes", "system": "be brief", "history": [["a", "b"]]},
            {
                "prompt": "instruction",
                "query": "input",
                "response": "output",
                "system": "system",
                "history": "history",
            },
        ),
    ],
    ids=["two columns", "all columns"],
)
def test_every_alpaca_column_is_named_and_no_other(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, str]
) -> None:
    """LLaMA-Factory looks for `input` where none is named, and forgets its own names when some are."""
    file = write_rows(tmp_path / "my chats.jsonl", [{**row, "id": 7}])
    assert described(tmp_path, dataset=str(file)) == {"file_name": str(file), "columns": columns}


def test_sharegpts_system_column_and_words_for_roles_are_named(tmp_path: Path) -> None:
    turns = [{"from": "user", "value": "hi"}, {"from": "assistant", "value": "hello"}]
    file = write_rows(tmp_path / "a.jsonl", [{"conversations": turns, "system": "be brief"}])
    assert described(tmp_path, dataset=str(file)) == {
        "file_name": str(file),
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "system": "system"},
        "tags": {"role_tag": "from", "content_tag": "value", **TAGS},
    }


def test_messages_are_a_sharegpt_with_other_words(tmp_path: Path) -> None:
    entry = described(tmp_path)
    assert (entry["formatting"], entry["columns"]) == ("sharegpt", {"messages": "messages"})
    assert entry["tags"] == MESSAGE_TAGS


@pytest.mark.parametrize("column", ["text", "content"])
def test_the_column_of_texts_is_the_one_that_was_read(tmp_path: Path, column: str) -> None:
    file = write_rows(tmp_path / "a.jsonl", [{column: "a text"}])
    assert described(tmp_path, dataset=str(file), stage="pt") == {"file_name": str(file), "columns": {"prompt": column}}


def test_rows_that_the_trials_mended_are_copied_as_they_were_read(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a,b.jsonl", [{"conversations": [TURNS[0], *TURNS]}])
    entry = described(tmp_path, dataset=str(file))
    assert (entry["file_name"], entry["tags"]) == ("a-b.json", MESSAGE_TAGS)
    rows = json.loads((tmp_path / "to" / "data" / "a-b.json").read_text(encoding="utf8"))
    assert rows == [{"messages": [{"role": "user", "content": "hi\nhi"}, {"role": "assistant", "content": "hello"}]}]
    assert "# data/a-b.json is the study's data because" in (tmp_path / "to" / TRAINING_FILE).read_text()


def test_a_csv_is_copied_because_its_numbers_are_to_stay_texts(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("instruction,output\ncount,42\n")
    assert described(tmp_path, dataset=str(file))["file_name"] == "a.json"


@pytest.mark.parametrize("extra", ["README.md", None])
def test_a_folder_is_named_when_it_holds_nothing_else(tmp_path: Path, extra: str | None) -> None:
    folder = tmp_path / "rows"
    write_rows(folder / "a.jsonl", CHATS)
    write_rows(folder / "b.jsonl", CHATS)
    if extra:
        (folder / extra).touch()
    assert described(tmp_path, dataset=str(folder))["file_name"] == ("rows.json" if extra else str(folder))


def test_rows_that_llama_factory_leaves_out_are_counted(tmp_path: Path) -> None:
    system = {"role": "system", "content": "be brief"}
    file = write_rows(
        tmp_path / "a.jsonl", [*CHATS, {"messages": [*CHATS[0]["messages"], system, *CHATS[0]["messages"]]}]
    )
    text = exported(tmp_path, "llamafactory", TRAINING_FILE, dataset=str(file))
    assert "# LLaMA-Factory leaves out 1 rows whose turns do not alternate" in text


def test_a_hub_data_set_is_named_by_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Rows:
        def to_list(self) -> list[dict[str, Any]]:
            return [{"instruction": "say", "output": "yes"}]

    monkeypatch.setattr("trials.rows.load_hub", lambda _: Rows())
    entry = described(tmp_path, dataset="org/chats")
    assert entry == {"hf_hub_url": "org/chats", "columns": {"prompt": "instruction", "response": "output"}}
    assert written(tmp_path, dataset="org/chats")["dataset"] == "chats"


def test_the_default_chats_are_written_as_messages(tmp_path: Path) -> None:
    entry = described(tmp_path, dataset="chitchat")
    assert (entry["file_name"], entry["tags"]) == ("chitchat.json", MESSAGE_TAGS)
    rows = json.loads((tmp_path / "to" / "data" / "chitchat.json").read_text(encoding="utf8"))
    assert len(rows) > 1000
    assert {turn["role"] for row in rows for turn in row["messages"]} <= {"system", "user", "assistant"}


def test_the_default_texts_are_written_as_texts(tmp_path: Path) -> None:
    entry = described(tmp_path, dataset="pydoc", stage="pt")
    assert entry == {"file_name": "pydoc.json", "columns": {"prompt": "text"}}
    rows = json.loads((tmp_path / "to" / "data" / "pydoc.json").read_text(encoding="utf8"))
    assert all(row["text"] for row in rows)


@pytest.mark.parametrize(
    ("chat_template", "name"),
    [
        ("{% for m in messages %}<|im_start|>{{ m.role }}{{ m.content }}<|im_end|>{% endfor %}", None),
        ("{{ bos_token }}<|start_header_id|>{{ role }}", "llama3"),
        ("{{ raise_exception('System role not supported') }}<start_of_turn>", "gemma"),
        ("[INST] {{ content }} [/INST]", "mistral"),
        ("[INST] <<SYS>> {{ content }} [/INST]", "llama2"),
    ],
)
@pytest.mark.parametrize("file", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_template_is_named_where_the_tokenizers_own_would_break(
    tmp_path: Path, chat_template: str, name: str | None, file: str
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    text = chat_template if file.endswith("jinja") else json.dumps({"chat_template": chat_template})
    (base / file).write_text(text, encoding="utf8")
    assert written(tmp_path, base=str(base)).get("template") == name


def test_texts_need_no_template(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "chat_template.jinja").write_text("<|start_header_id|>", encoding="utf8")
    file = write_rows(tmp_path / "a.jsonl", [{"text": "a text"}])
    assert "template" not in written(tmp_path, base=str(base), dataset=str(file), stage="pt")
