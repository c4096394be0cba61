"""Exports of every shipped space, schedule, variant and form of data, and what another program should read of them.

Nothing is trained. `python -m tests.exports.cases FOLDER [FORMAT]` writes an export a case into FOLDER, and
`FOLDER/expected.json`: what is meant by each, told by the settings and the reader of the trials.
"""

import dataclasses
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from spaces.load import list_spaces
from sweep.export import export
from sweep.exports.winner import Winner
from sweep.plan import suggest
from tests.exports.data_forms import data_forms
from tests.sweep.fakes import make_plan
from tests.sweep.winners import make_winner
from tests.tiny import make_tiny_model
from trials.config import QUANTIZATION_BITS, SCHEDULERS
from trials.default_data import to_messages
from trials.forms import Chat
from trials.rows import read_rows

VARIANTS: tuple[dict[str, Any], ...] = (
    {"use_rslora": True},
    {"use_dora": True},
    {"pissa_init": True},
    {"loraplus_lr_ratio": 16.0},
    {"pissa_init": True, "use_rslora": True, "loraplus_lr_ratio": 4.0, "lora_dropout": 0.05, "lora_alpha": 12.5},
)
DRAWS = 3  # of each space, beside its starting points
COMMON = ("linear", "constant", "constant_with_warmup")  # schedules that need no trying out beside cosine
ROWS = 1000  # rows that the study is said to have read


@dataclass(frozen=True)
class Case:
    """One export.

    Attributes:
        name: Of its folder.
        dataset: As the user gave it.
        config: Training fields; the others are the defaults.
        params: The space's knobs, where a space gave them.
        train: Whether a few steps of real training are run on it.
    """

    name: str
    dataset: str
    config: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    train: bool = False


def cases(folder: Path) -> Iterator[Case]:
    """All of them; data files are written into `folder/data`."""
    forms = data_forms(folder / "data")
    chats, texts = str(forms["messages"]), str(forms["text"])
    for space in list_spaces():
        plan = make_plan(space)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for point in space.start:
            study.enqueue_trial(dict(point))
        for number in range(len(space.start) + DRAWS):
            trial = study.ask()
            params = space.walk(lambda parameter, trial=trial: suggest(trial, parameter))  # type: ignore[misc]
            config = dataclasses.asdict(plan.config(params))
            yield Case(f"space-{space.name}-{number}", chats if space.stage == "sft" else texts, config, params)
    for name in SCHEDULERS:
        yield Case(f"schedule-{name}", chats, {"lr_scheduler_type": name}, train=name not in COMMON)
    for variant in VARIANTS:
        yield Case(f"variant-{'-'.join(variant)}", chats, dict(variant), train=True)
    for bits in QUANTIZATION_BITS:  # read and not trained: a tiny model has nothing to gain, and it wants bitsandbytes
        yield Case(f"quantization-{bits}", chats, {"quantization_bit": bits})
    for form, file in forms.items():
        stage = "pt" if form in ("text", "content") else "sft"
        yield Case(f"data-{form}", str(file), {"stage": stage}, train=form in ("alpaca", "sharegpt-system", "text"))
    yield Case("default-sft", "chitchat", {"stage": "sft"})
    yield Case("default-pt", "pydoc", {"stage": "pt"})


def make(folder: Path, form: str) -> dict[str, Any]:
    """Writes every export and says what is meant, by case."""
    base = str(make_tiny_model(folder / "tiny"))
    expected = {}
    for case in cases(folder):
        runs, to = folder / "runs", folder / case.name
        winner = make_winner(runs, case.dataset, base=base, dtype="fp32", **case.config)
        winner.row["params"].update(case.params)
        winner = dataclasses.replace(winner, source={**winner.source, "rows": ROWS})
        export(winner, runs, to, form)
        expected[case.name] = {
            "fields": meant(winner, base),
            "rows": _rows(case.dataset, winner),
            "train": case.train,
        }
    return expected


def meant(winner: Winner, base: str) -> dict[str, Any]:
    """The full run's fields, by LLaMA-Factory's names, from the trial's settings."""
    config = winner.config
    same = (
        *("stage", "lora_rank", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "pissa_init"),
        *("learning_rate", "warmup_ratio", "weight_decay", "max_grad_norm", "num_train_epochs", "seed"),
        *("per_device_train_batch_size", "gradient_accumulation_steps"),
    )
    schedules = {"step_decay": "polynomial"}
    return {name: config[name] for name in same} | {
        "model_name_or_path": base,
        "lora_target": list(config["lora_target"]),
        "loraplus_lr_ratio": config["loraplus_lr_ratio"] or None,
        "pissa_convert": config["pissa_init"],
        "lr_scheduler_type": schedules.get(config["lr_scheduler_type"], config["lr_scheduler_type"]),
        "cutoff_len": winner.row["params"].get("cutoff_len", config["cutoff_len"]),
        "max_steps": -1,
        "max_samples": None,
        "val_size": 0.1,
        "quantization_bit": config["quantization_bit"],
    }


def _rows(dataset: str, winner: Winner) -> list[Any]:
    """What the trials read: chats as lists of messages, texts as texts."""
    rows = read_rows(dataset, winner.config["stage"]).rows
    return [to_messages(row) if isinstance(row, Chat) else row.text for row in rows]


def main() -> None:
    folder, form = Path(sys.argv[1]), (sys.argv[2:] or ["llamafactory"])[0]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    expected = make(folder, form)
    (folder / "expected.json").write_text(json.dumps(expected), encoding="utf8")
    print(f"{len(expected)} exports in {folder}")


if __name__ == "__main__":
    main()
