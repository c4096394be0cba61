"""A Python script that trains with TRL and PEFT: short, to be read and changed."""

import shlex
from pathlib import Path
from typing import Any

from sweep.exports.data import PLAIN_ROLES, Data, place
from sweep.exports.full_run import (
    EVAL_STEPS,
    LOGGING_STEPS,
    PISSA_INIT,
    SAVE_STEPS,
    VAL_SIZE,
    quantization_bit,
    schedule,
)
from sweep.exports.winner import Winner
from sweep.exports.yaml_text import comment_lines

SCRIPT = "train_trl.py"
FORMS = ("messages", "text")
NEEDS = "trl>=1.0, transformers>=5.0, peft>=0.18, datasets"

# The rows as tokens: TRL's own loss on the assistant's turns works for the few chat templates that it knows.
_TOKENIZE = '''
def tokenize(row):
    """A chat as the trial read it: the loss counts what the assistant says and the marks that end its turns."""
    chat = row["messages"]
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    spans = []
    for i, turn in enumerate(chat):
        if turn["role"] == "assistant":
            start = len(tokenizer.apply_chat_template(chat[:i], tokenize=False, add_generation_prompt=True))
            spans.append((start, len(tokenizer.apply_chat_template(chat[: i + 1], tokenize=False).rstrip())))
    encoded = tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, truncation=True, max_length=CUTOFF_LEN
    )
    labels = [
        token if any(start < last and first < end for start, end in spans) else -100
        for token, (first, last) in zip(encoded["input_ids"], encoded["offset_mapping"])
    ]
    return {"input_ids": encoded["input_ids"], "labels": labels}


rows = rows.map(tokenize, remove_columns=rows.column_names)
rows = rows.filter(lambda row: any(label != -100 for label in row["labels"]))
'''


def export_trl(winner: Winner, base: str, folder: Path) -> list[str]:
    """Writes `train_trl.py`; what to type next, in lines."""
    data = place(winner, folder, FORMS, PLAIN_ROLES if winner.config["stage"] == "sft" else None)
    file = folder / SCRIPT
    file.write_text(script(winner, base, data, folder), encoding="utf8")
    return [
        f"{file}   python {shlex.quote(str(file))}   (pip install '{NEEDS.replace(', ', chr(39) + ' ' + chr(39))}')"
    ]


def script(winner: Winner, base: str, data: Data, folder: Path) -> str:
    """The script's text.

    Args:
        winner: What is exported.
        base: The base model's folder or hub name.
        data: The data set.
        folder: Where the script goes; the run's output is beside it.
    """
    config, rates = winner.config, schedule(winner)
    sft = config["stage"] == "sft"
    batch = f"Effective batch size {winner.row['effective_batch_size']} on one device."
    parts = [
        comment_lines([*winner.evidence(), *data.notes, f"Needs {NEEDS}."]),
        _imports(winner),
        f"MODEL = {base!r}\nOUTPUT = {str(folder / 'output')!r}\nCUTOFF_LEN = {winner.cutoff_len}  # tokens",
        "tokenizer = AutoTokenizer.from_pretrained(MODEL)\n" + _load_model(winner),
        _load_rows(data, sft),
        *([_TOKENIZE] if sft else []),
        f"rows = rows.train_test_split(test_size={VAL_SIZE}, seed={config['seed']})",
        _call("lora = LoraConfig", _lora(winner)) + _peft(winner),
        comment_lines([batch, *rates.notes]) + _call("settings = SFTConfig", _settings(winner, data)),
        _train(winner),
    ]
    return "\n\n".join(part.strip("\n") for part in parts).replace("\n\ndef ", "\n\n\ndef ") + "\n"


def _imports(winner: Winner) -> str:
    peft, transformers = ["LoraConfig", "get_peft_model"], ["AutoModelForCausalLM", "AutoTokenizer"]
    if quantization_bit(winner):
        peft.append("prepare_model_for_kbit_training")
        transformers.append("BitsAndBytesConfig")
    lines = [
        "import torch",
        "from datasets import load_dataset",
        f"from peft import {', '.join(peft)}",
        "from peft.optimizers import create_loraplus_optimizer" if winner.config.get("loraplus_lr_ratio") else "",
        f"from transformers import {', '.join(transformers)}",
        "from trl import SFTConfig, SFTTrainer",
    ]
    return "\n".join(line for line in lines if line)


def _load_model(winner: Winner) -> str:
    bits = quantization_bit(winner)
    dtype = "torch.bfloat16" if winner.source["dtype"] == "bf16" else "torch.float32"
    if not bits:
        return f"model = AutoModelForCausalLM.from_pretrained(MODEL, dtype={dtype})"
    options = "load_in_8bit=True"
    if bits == 4:  # as QLoRA has it: 4-bit NormalFloat, its constants quantised too (arXiv 2305.14314)
        options = (
            "load_in_4bit=True, bnb_4bit_quant_type='nf4', bnb_4bit_use_double_quant=True, "
            f"bnb_4bit_compute_dtype={dtype}"
        )
    return (
        f"quantised = BitsAndBytesConfig({options})\n"
        f"model = AutoModelForCausalLM.from_pretrained(MODEL, dtype={dtype}, quantization_config=quantised)\n"
        "model = prepare_model_for_kbit_training(model)"
    )


def _load_rows(data: Data, sft: bool) -> str:
    if data.hub:
        source = f"load_dataset({data.hub!r}, split='train')"
    else:
        source = f"load_dataset({data.kind!r}, data_files={[str(file) for file in data.files]!r}, split='train')"
    column = "messages" if sft else next(iter(data.columns))
    return f"rows = {source}.select_columns([{column!r}])"


def _lora(winner: Winner) -> dict[str, Any]:
    config = winner.config
    variants = {
        "use_rslora": config.get("use_rslora"),
        "use_dora": config.get("use_dora"),
        "init_lora_weights": PISSA_INIT if config.get("pissa_init") else None,
    }
    return {
        "r": config["lora_rank"],
        "lora_alpha": config["lora_alpha"],
        "lora_dropout": config["lora_dropout"],
        "target_modules": list(config["lora_target"]),
        "task_type": "CAUSAL_LM",
        **{name: value for name, value in variants.items() if value},
    }


def _peft(winner: Winner) -> str:
    lines = ["model = get_peft_model(model, lora)"]
    if winner.config.get("pissa_init"):
        lines += [
            "# Where PiSSA began, so that the end can be saved as a plain adapter, which loads on the base as it is.",
            "lora.init_lora_weights = True",
            "model.save_pretrained(f'{OUTPUT}/initial')",
        ]
    return "\n".join(lines)


def _settings(winner: Winner, data: Data) -> dict[str, Any]:
    config, rates = winner.config, schedule(winner)
    own: dict[str, Any] = {"max_length": _Name("CUTOFF_LEN")}
    if config["stage"] == "pt":  # texts one after the other, in rows of the same length
        own |= {"dataset_text_field": next(iter(data.columns)), "packing": True, "packing_strategy": "wrapped"}
    return {
        "output_dir": _Name("OUTPUT"),
        **own,
        "per_device_train_batch_size": config["per_device_train_batch_size"],
        "gradient_accumulation_steps": config["gradient_accumulation_steps"],
        "num_train_epochs": config["num_train_epochs"],
        "learning_rate": config["learning_rate"],
        "lr_scheduler_type": rates.name,
        **({"lr_scheduler_kwargs": dict(rates.kwargs)} if rates.kwargs else {}),
        "warmup_steps": config["warmup_ratio"],  # below 1 a share of all steps, since transformers 5
        "weight_decay": config["weight_decay"],
        "max_grad_norm": config["max_grad_norm"],
        "seed": config["seed"],
        "bf16": winner.source["dtype"] == "bf16",
        "logging_steps": LOGGING_STEPS,
        "save_steps": SAVE_STEPS,
        "eval_strategy": "steps",
        "eval_steps": EVAL_STEPS,
        "per_device_eval_batch_size": 1,
    }


def _train(winner: Winner) -> str:
    config, ratio = winner.config, winner.config.get("loraplus_lr_ratio")
    arguments: dict[str, Any] = {
        "model": _Name("model"),
        "args": _Name("settings"),
        "train_dataset": _Name("rows['train']"),
        "eval_dataset": _Name("rows['test']"),
        "processing_class": _Name("tokenizer"),
    }
    optimizer = ""
    if ratio:
        rates = {
            "model": _Name("model"),
            "optimizer_cls": _Name("torch.optim.AdamW"),
            "lr": config["learning_rate"],
            "loraplus_lr_ratio": ratio,
            "loraplus_weight_decay": config["weight_decay"],
        }
        optimizer = _call("optimizer = create_loraplus_optimizer", rates)
        arguments["optimizers"] = _Name("(optimizer, None)")
    save = "trainer.save_model()"
    if config.get("pissa_init"):
        save = "model.save_pretrained(OUTPUT, path_initial_model_for_weight_conversion=f'{OUTPUT}/initial')"
    return f"{optimizer}{_call('trainer = SFTTrainer', arguments)}trainer.train()\n{save}"


class _Name(str):
    """A name in the script, where a value would stand."""

    def __repr__(self) -> str:
        return str(self)


def _call(start: str, arguments: dict[str, Any]) -> str:
    lines = "".join(f"    {name}={value!r},\n" for name, value in arguments.items())
    return f"{start}(\n{lines})\n"
