"""Turns a study's best trial into what other programs read: its adapter, and a training file for the full run.

A format is a function in `sweep/exports/` and a line in `EXPORTS`.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from sweep.errors import SweepError
from sweep.exports.axolotl import export_axolotl
from sweep.exports.llamafactory import export_llamafactory
from sweep.exports.trl import export_trl
from sweep.exports.winner import Winner, find_adapter
from trials.adapter_files import SETTINGS
from trials.folders import ADAPTER

# Each writes its files into a folder, and says what to type next, in lines for people. It is given the winner, the
# base model's folder or hub name, and the folder.
EXPORTS: dict[str, Callable[[Winner, str, Path], list[str]]] = {
    "llamafactory": export_llamafactory,
    "trl": export_trl,
    "axolotl": export_axolotl,
}


def check_format(name: str) -> None:
    """Refuses a format that there is not.

    Raises:
        SweepError: With what is allowed.
    """
    if name not in EXPORTS:
        raise SweepError(f"format is {name!r}; allowed: {', '.join(EXPORTS)}")


def export(winner: Winner, output: Path, folder: Path, form: str = "llamafactory") -> list[str]:
    """Writes the adapter, a training file and what that needs into `folder`.

    Args:
        winner: What is exported.
        output: The sweep's output folder, which holds the adapter.
        folder: Where to; made when it is not there.
        form: A key of `EXPORTS`.

    Returns:
        What was written and what to do with it, in lines for people.

    Raises:
        SweepError: The trial's adapter has been deleted, the data cannot be read, or the folder cannot be written.
    """
    adapter = find_adapter(winner.row, output, " The best trial is exported without --trial")
    base = json.loads((adapter / SETTINGS).read_text(encoding="utf8"))["base_model_name_or_path"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(adapter, folder / ADAPTER, dirs_exist_ok=True)
        written = EXPORTS[form](winner, base, folder)
    except OSError as error:
        raise SweepError(f"cannot write to {folder}: {error.strerror or error}") from error
    return [*written, f"{folder / ADAPTER}   PeftModel.from_pretrained(base, {json.dumps(str(folder / ADAPTER))})"]
