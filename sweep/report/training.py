"""The winner's training file as text, to copy from a report."""

import json
import tempfile
from pathlib import Path

import optuna

from sweep.confirm import CONFIRMS
from sweep.errors import SweepError
from sweep.exports.data import place
from sweep.exports.llamafactory import FORMS, training_file
from sweep.exports.winner import Winner, choose, find_adapter
from sweep.findings import Findings
from sweep.study import IMPORTED
from sweep.trial_files import study_folder
from sweep.verdicts import lines
from trials.adapter_files import SETTINGS
from trials.errors import TrialsError


def training_text(study: optuna.Study, read: Findings, output: Path) -> tuple[str, str]:
    """LLaMA-Factory's file for the best trial, as `sweep export` writes it to `exports/`; or why there is none.

    Args:
        study: The study.
        read: What it found.
        output: The sweep's output folder: the adapter there knows its base model.
    """
    name = study.study_name
    if IMPORTED in read.identity:
        return "", "The trials were imported: there is no adapter, and no training file of theirs."
    if CONFIRMS in study.user_attrs:
        return "", "This study confirms another one: sweep export writes the setting to use."
    try:
        winner = Winner(
            study=name,
            row=choose(name, read.rows, None),
            identity=read.identity,
            source=read.source,
            ended=sum(row["state"] in ("complete", "pruned") for row in read.rows),
            verdicts=tuple(f"{label}: {text}" for label, text in lines(read.comparisons)),
        )
        with tempfile.TemporaryDirectory() as scratch:
            data = place(winner, Path(scratch), FORMS)
            text = training_file(winner, _base(winner, output), data, study_folder(Path("exports"), name))
    except (SweepError, TrialsError) as error:
        return "", f"There is no training file: {error}"
    except (OSError, KeyError) as error:
        return "", f"There is no training file: {type(error).__name__}: {error}"
    return text.replace(scratch, str(study_folder(Path("exports"), name))), ""


def _base(winner: Winner, output: Path) -> str:
    """The base model's folder or hub name."""
    try:
        adapter = find_adapter(winner.row, output)
        return str(json.loads((adapter / SETTINGS).read_text(encoding="utf8"))["base_model_name_or_path"])
    except (SweepError, TrialsError, OSError, ValueError, KeyError):
        return str(winner.source.get("model") or winner.identity["model"]["name"])
