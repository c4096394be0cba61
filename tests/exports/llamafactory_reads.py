"""Whether LLaMA-Factory reads the exports as they are meant; run by its own Python (`make check-exports`).

Its argument parser reads every training file, its data loader every data set, and its trainer makes two steps where
the case says so. Nothing of this repository is imported.
"""

import importlib.machinery
import json
import os
import sys
import types
from itertools import zip_longest
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "LLAMAFACTORY_VERBOSITY": "ERROR", "DISABLE_VERSION_CHECK": "0"}
try:
    import torchaudio  # noqa: F401
except (ImportError, OSError):
    # LLaMA-Factory imports it for speech; its wheels need CUDA's libraries, which a build of torch for the CPU has not.
    sys.modules["torchaudio"] = stand_in = types.ModuleType("torchaudio")
    stand_in.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)

STEPS = 2


def parse(file: Path) -> tuple[Any, ...]:
    """The file as `llamafactory-cli train FILE` parses it."""
    from llamafactory.hparams import get_train_args

    sys.argv = ["llamafactory-cli", str(file)]
    return tuple(get_train_args())


def differing(parsed: tuple[Any, ...], fields: dict[str, Any]) -> list[str]:
    """Fields that were parsed as something else than was meant."""
    found = []
    for name, meant in fields.items():
        value: Any = next((getattr(part, name) for part in parsed if hasattr(part, name)), None)
        value = getattr(value, "value", value)
        if name == "warmup_ratio" and value is None:  # transformers 5 keeps a share as a step count below 1
            value = parsed[2].warmup_steps
        alike = abs(value - meant) <= 1e-5 * abs(meant) if isinstance(meant, float) else value == meant
        if not alike:
            found.append(f"{name} is {value!r}, meant was {meant!r}")
    return found


def read_data(parsed: tuple[Any, ...]) -> list[Any]:
    """The rows of the data set as chats or texts, as LLaMA-Factory's converters see them."""
    from llamafactory.data.loader import _load_single_dataset
    from llamafactory.data.parser import get_dataset_list

    model_args, data_args, training_args, finetuning_args, _ = parsed
    (attributes,) = get_dataset_list(data_args.dataset, data_args.dataset_dir)
    rows = _load_single_dataset(attributes, model_args, data_args, training_args)
    found = []
    for row in rows:
        if finetuning_args.stage == "pt":
            found.append(row["_prompt"][0]["content"])
            continue
        system = [{"role": "system", "content": row["_system"]}] if row["_system"] else []
        found.append([*system, *row["_prompt"], *row["_response"]])
    return found


def train(file: Path, fields: dict[str, Any]) -> list[str]:
    """Two steps of real training; what is wrong with the adapter that it saves."""
    import yaml
    from llamafactory.train.tuner import run_exp

    settings = yaml.safe_load(file.read_text(encoding="utf8"))
    output = Path(settings["output_dir"])
    short = {"max_steps": STEPS, "eval_steps": STEPS, "report_to": "none", "plot_loss": False, "save_strategy": "no"}
    run_exp({**settings, **short})
    # PiSSA's plain adapter holds what training changed: the end less the beginning, so twice the rank.
    adapter, rank = (output / "pissa_converted", 2) if fields["pissa_init"] else (output, 1)
    rank *= fields["lora_rank"]
    saved = json.loads((adapter / "adapter_config.json").read_text(encoding="utf8"))
    found = [] if saved["r"] == rank else [f"the adapter's rank is {saved['r']}, meant was {rank}"]
    state = json.loads((output / "trainer_state.json").read_text(encoding="utf8"))
    if state["global_step"] != STEPS:
        found.append(f"{state['global_step']} steps were made, not {STEPS}")
    return found


def complaints(file: Path, case: dict[str, Any]) -> list[str]:
    """What LLaMA-Factory has against an export."""
    try:
        parsed = parse(file)
        found = differing(parsed, case["fields"])
        # A folder's files are read in the order that the file system has them in.
        rows, meant_rows = sorted(read_data(parsed), key=str), sorted(case["rows"], key=str)
        if rows != meant_rows:
            pairs = zip_longest(rows, meant_rows)
            read, meant = next(pair for pair in pairs if pair[0] != pair[1])
            found.append(f"the data are read as {read!r}, meant was {meant!r}")
        return found + (train(file, case["fields"]) if case["train"] else [])
    except Exception as error:  # noqa: BLE001 - whatever it is, the report goes on with the next file
        return [f"{type(error).__name__}: {error}"]


def main() -> int:
    folder = Path(sys.argv[1])
    expected = json.loads((folder / "expected.json").read_text(encoding="utf8"))
    wrong = 0
    for name, case in expected.items():
        file = folder / name / "train.yaml"
        found = complaints(file, case)
        wrong += bool(found)
        for complaint in found:
            print(f"{file}: {complaint}", file=sys.stderr)
    trained = sum(case["train"] for case in expected.values())
    print(f"{len(expected)} exports read by LLaMA-Factory, {trained} of them trained for {STEPS} steps: {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
