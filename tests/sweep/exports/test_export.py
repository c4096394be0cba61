"""Which trial leaves, the adapter that it leaves with, and what the user is told."""

import ast
import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from sweep.commands import export_command
from sweep.errors import SweepError
from sweep.export import EXPORTS, export
from sweep.exports.llamafactory import TRAINING_FILE
from sweep.exports.winner import choose
from tests.sweep.fakes import trial_row
from tests.sweep.winners import WEIGHTS, exported, exported_yaml, make_winner
from tests.tiny import make_tiny_model
from trials.config import TrialConfig
from trials.folders import ADAPTER


def test_the_file_says_what_it_rests_on(tmp_path: Path) -> None:
    winner = dataclasses.replace(make_winner(tmp_path / "runs"), verdicts=("lora_rank 4 against 8: worse",))
    files = {"llamafactory": "train.yaml", "axolotl": "axolotl.yaml", "trl": "train_trl.py"}
    for form in EXPORTS:
        export(winner, tmp_path / "runs", tmp_path / "to", form)
        lines = (tmp_path / "to" / files[form]).read_text().splitlines()
        assert lines[:4] == [
            "# Trial 3 of the study demo, the best of 12 finished trials: evaluation loss 2.5714 nats per token.",
            "# Space sft_lora, model tiny, data chats.jsonl.",
            "# The trial saw 160 rows cut at 1024 tokens; this file is for the full run.",
            "# lora_rank 4 against 8: worse",
        ]


def test_a_name_cannot_break_out_of_its_comment(tmp_path: Path) -> None:
    assert "evil" not in exported_yaml(tmp_path, "llamafactory", TRAINING_FILE, name="chats\nevil: true")
    compile(exported(tmp_path, "trl", "train_trl.py", name="chats\n(evil"), "train_trl.py", "exec")


def test_each_format_says_what_to_type_next(tmp_path: Path) -> None:
    commands = {
        "llamafactory": "llamafactory-cli train {to}/train.yaml",
        "trl": "python {to}/train_trl.py",
        "axolotl": "axolotl train {to}/axolotl.yaml",
    }
    assert set(commands) == set(EXPORTS)
    for form, command in commands.items():
        told = export(make_winner(tmp_path / "runs"), tmp_path / "runs", tmp_path / "to", form)
        assert command.format(to=tmp_path / "to") in told[0]
        assert told[-1] == f'{tmp_path}/to/adapter   PeftModel.from_pretrained(base, "{tmp_path}/to/adapter")'


def test_what_to_type_next_takes_any_folder_as_one_word(tmp_path: Path) -> None:
    to = tmp_path / "a b'$(touch pwned)\"; x"
    for form in EXPORTS:
        told = export(make_winner(tmp_path / "runs"), tmp_path / "runs", to, form)
        assert str(to) in {
            str(Path(word).parent) for word in shlex.split(told[0].removeprefix(str(to)).split("   ")[1])
        }
        call = told[-1].removeprefix(f"{to}/adapter   ")
        assert (
            ast.literal_eval(call.removeprefix("PeftModel.from_pretrained(base, ").removesuffix(")")) == f"{to}/adapter"
        )


def test_an_unknown_format_is_refused_with_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"^format is 'unsloth'; allowed: llamafactory, trl, axolotl$"):
        export_command("demo", str(tmp_path / "none.db"), None, None, tmp_path, "unsloth")


def test_the_adapter_is_copied_and_stays_where_it_was(tmp_path: Path) -> None:
    winner = make_winner(tmp_path / "runs")
    for form in EXPORTS:
        export(winner, tmp_path / "runs", tmp_path / form, form)
        for adapter in (tmp_path / form / ADAPTER, tmp_path / "runs" / winner.row["folder"] / ADAPTER):
            assert (adapter / "adapter_model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("variant", [{}, {"use_rslora": True}, {"use_dora": True}, {"lora_alpha": 12.5}])
def test_the_adapters_settings_are_what_peft_itself_saves(tmp_path: Path, variant: dict[str, Any]) -> None:
    """Byte for byte, against a LoraConfig that is built here and saved by PEFT."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from trials.adapters import PeftAdapter

    base = make_tiny_model(tmp_path / "base")
    target = ("q_proj", "v_proj", "down_proj")
    fields: dict[str, Any] = {"lora_rank": 4, "lora_target": target, "lora_dropout": 0.1, **variant}
    config = TrialConfig(**fields)
    winner = make_winner(tmp_path / "runs", **dataclasses.asdict(config))
    adapter = PeftAdapter(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config, str(base))
    adapter.save(tmp_path / "runs" / winner.row["folder"] / ADAPTER)
    export(winner, tmp_path / "runs", tmp_path / "to")

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    settings = LoraConfig(
        **({"r": 4, "lora_alpha": 16, "lora_dropout": 0.1} | variant),
        target_modules=list(target),
        task_type="CAUSAL_LM",
    )
    get_peft_model(model, settings).save_pretrained(tmp_path / "peft")
    assert json.loads((tmp_path / "peft" / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    assert (tmp_path / "to" / ADAPTER / "adapter_config.json").read_bytes() == (
        tmp_path / "peft" / "adapter_config.json"
    ).read_bytes()


def test_exporting_again_replaces_the_export(tmp_path: Path) -> None:
    winner = make_winner(tmp_path / "runs")
    told = export(winner, tmp_path / "runs", tmp_path / "to")
    assert export(winner, tmp_path / "runs", tmp_path / "to") == told


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


def test_data_that_are_gone_are_told(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"cannot read the data of study 'demo', .*: no such file: /gone.jsonl"):
        export(make_winner(tmp_path, "/gone.jsonl"), tmp_path, tmp_path / "to")


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
