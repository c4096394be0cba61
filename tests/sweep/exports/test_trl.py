"""The script that TRL's users get. TRL itself is not installed: the script is read, and its own function is run."""

import ast
from pathlib import Path
from typing import Any

import pytest

from sweep.export import export
from tests.sweep.winners import exported, make_winner, write_rows
from tests.trials.tiny_tokenizer import make_tokenizer
from trials.forms import Chat, Message
from trials.tokenize import tokenize_chat


def script(tmp_path: Path, **winner: Any) -> str:
    return exported(tmp_path, "trl", "train_trl.py", **winner)


def arguments(text: str, function: str) -> dict[str, Any]:
    """The keyword arguments of the script's call of a function; a name, for what is no plain value."""
    (call,) = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function
    ]

    def value(node: ast.expr) -> Any:
        try:
            return ast.literal_eval(node)
        except ValueError:
            return ast.unparse(node)

    return {str(keyword.arg): value(keyword.value) for keyword in call.keywords}


def test_the_settings_are_the_winners(tmp_path: Path) -> None:
    text = script(tmp_path, lora_dropout=0.05, warmup_ratio=0.15)
    assert arguments(text, "LoraConfig") == {
        "r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "target_modules": ["q_proj", "v_proj"],
        "task_type": "CAUSAL_LM",
    }
    assert arguments(text, "SFTConfig") == {
        "output_dir": "OUTPUT",
        "max_length": "CUTOFF_LEN",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 16,
        "num_train_epochs": 2.0,
        "learning_rate": 1e-5,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.15,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": 42,
        "bf16": True,
        "logging_steps": 10,
        "save_steps": 500,
        "eval_strategy": "steps",
        "eval_steps": 100,
        "per_device_eval_batch_size": 1,
    }
    assert "MODEL = '/models/tiny'" in text
    assert "CUTOFF_LEN = 1024 " in text
    assert f"data_files=['{tmp_path / 'runs' / 'chats.jsonl'}']" in text


def test_variants_are_pefts(tmp_path: Path) -> None:
    text = script(tmp_path, use_rslora=True, use_dora=True, pissa_init=True, loraplus_lr_ratio=8.0, weight_decay=0.1)
    told = arguments(text, "LoraConfig")
    assert (told["use_rslora"], told["use_dora"], told["init_lora_weights"]) == (True, True, "pissa_niter_16")
    rates = arguments(text, "create_loraplus_optimizer")
    assert (rates["lr"], rates["loraplus_lr_ratio"], rates["loraplus_weight_decay"]) == (1e-5, 8.0, 0.1)
    assert arguments(text, "SFTTrainer")["optimizers"] == "(optimizer, None)"
    assert "path_initial_model_for_weight_conversion" in text


@pytest.mark.parametrize(("bits", "option"), [(4, "load_in_4bit"), (8, "load_in_8bit")])
def test_a_quantised_base_is_loaded_as_such(tmp_path: Path, bits: int, option: str) -> None:
    winner = make_winner(tmp_path / "runs")
    winner.row["config"]["quantization_bit"] = bits
    export(winner, tmp_path / "runs", tmp_path / "to", "trl")
    text = (tmp_path / "to" / "train_trl.py").read_text()
    assert arguments(text, "BitsAndBytesConfig")[option] is True
    assert "import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig" in text


def test_texts_are_packed_from_their_column(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [{"content": "a text"}])
    text = script(tmp_path, dataset=str(file), stage="pt")
    settings = arguments(text, "SFTConfig")
    assert (settings["dataset_text_field"], settings["packing"]) == ("content", True)
    assert "def tokenize" not in text


def test_other_words_for_roles_are_copied_away(tmp_path: Path) -> None:
    turns = [{"role": "human", "content": "hi"}, {"role": "gpt", "content": "hello"}]
    file = write_rows(tmp_path / "a.jsonl", [{"messages": turns}])
    assert f"data_files=['{tmp_path}/to/data/a.json']" in script(tmp_path, dataset=str(file))


@pytest.mark.parametrize("cutoff_len", [64, 9])
def test_its_loss_counts_the_tokens_that_the_trials_counted(tmp_path: Path, cutoff_len: int) -> None:
    (function,) = [
        node
        for node in ast.parse(script(tmp_path)).body
        if isinstance(node, ast.FunctionDef) and node.name == "tokenize"
    ]
    tokenizer = make_tokenizer()
    names: dict[str, Any] = {"tokenizer": tokenizer, "CUTOFF_LEN": cutoff_len}
    exec(compile(ast.Module([function], []), "train_trl.py", "exec"), names)  # noqa: S102 - the text is our own
    turns = (
        ("system", "be brief"),
        ("user", "say red cat"),
        ("assistant", "red cat"),
        ("user", "more"),
        ("assistant", "no"),
    )
    got = names["tokenize"]({"messages": [{"role": role, "content": content} for role, content in turns]})
    meant = tokenize_chat(tokenizer, Chat(tuple(Message(role, content) for role, content in turns)), cutoff_len)  # type: ignore[arg-type]
    assert got["input_ids"] == meant.ids
    assert [label != -100 for label in got["labels"]] == meant.is_label
    assert any(meant.is_label) or cutoff_len == 9
