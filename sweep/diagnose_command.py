"""`sweep diagnose`: reads logs of fine-tuning runs, says what their curves show, and draws them."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from sweep.diagnose_study import trials_named
from sweep.diagnosis_words import WIDTH, heading, words
from sweep.errors import SweepError
from sweep.progress import one_line
from sweep.say import say
from sweep.trial_files import read_config
from trials.diagnosis import diagnose
from trials.finding import Diagnosis
from trials.log_records import NotALog
from trials.log_settings import settings_beside
from trials.logged import LoggedCurve, Settings
from trials.logs import find_logs, read_log
from trials.symptoms_level import HIGH_LOSS


@dataclass(frozen=True)
class _Read:
    """One run of a log, or a study's trial by its name, and what was found; or why the file is no log."""

    path: Path
    run: int = 1
    runs: int = 1
    curve: LoggedCurve | None = None
    diagnosis: Diagnosis | None = None
    why_not: str = ""
    name: str = ""


def diagnose_command(
    files: Sequence[Path], as_json: bool, picture: bool, to: Path | None, storage: str, output: Path
) -> None:
    """Diagnoses logs, folders of logs and trials; a file that is none is said to be that, and the others go on.

    Args:
        files: Paths; or, where there is no such path, a study's name or one of its trials like "sft_lora/7".
        as_json: Print JSON, for programs.
        picture: Whether curves are drawn.
        to: The pictures' folder; None for each beside its log.
        storage: Where the studies are.
        output: The folder of their logs.

    Raises:
        SweepError: There is neither such a path nor such a trial, or no file was a log.
    """
    read = []
    for file in files:
        read += _read_all(file) if file.exists() else _read_trials(file, storage, output)
    console, many = Console(), len(read) > 1
    pictures = [_draw(one, to) if picture else "" for one in read]
    if as_json:
        print(json.dumps([_plain(one, drawn) for one, drawn in zip(read, pictures, strict=True)], indent=2))
    else:
        for place, (one, drawn) in enumerate(zip(read, pictures, strict=True)):
            say(console, ([""] if place else []) + _lines(one, drawn, many), indent=WIDTH + 1)
    if all(one.why_not for one in read):
        raise SweepError(
            "none of these is a log with losses: nothing was diagnosed"
            if many
            else "this is no log with losses: nothing was diagnosed"
        )


def _read_trials(file: Path, storage: str, output: Path) -> list[_Read]:
    allowed = "a trainer_log.jsonl, a trainer_state.json, a folder of them, or a study's trial like sft_lora/7"
    if file.is_absolute() or file.suffix in (".json", ".jsonl"):
        raise SweepError(f"{_shown(file)} does not exist; allowed: {allowed}")
    try:
        trials = trials_named(file.as_posix(), storage, output)
    except SweepError as error:
        raise SweepError(f"{_shown(file)} is no file or folder; allowed: {allowed}\n(as a study: {error})") from error
    return [_Read(one.log, curve=one.curve, diagnosis=one.diagnosis, name=one.name) for one in trials]


def _read_all(file: Path) -> list[_Read]:
    try:
        logs = find_logs(file) if file.is_dir() else [file]
    except NotALog as error:
        return [_Read(file, why_not=str(error))]
    return [one for log in logs for one in _read_one(log)]


def _read_one(log: Path) -> list[_Read]:
    try:
        curves = read_log(log)
    except NotALog as error:
        return [_Read(log, why_not=str(error))]
    own = read_config(log.parent)
    settings = settings_beside(log) if own is None else Settings.of(own)
    # What a trial's model can reach, its study's other trials show.
    high_loss = HIGH_LOSS if own is None else math.inf
    return [
        _Read(log, number, len(curves), curve, diagnose(curve, settings, high_loss=high_loss))
        for number, curve in enumerate(curves, start=1)
    ]


def _draw(one: _Read, to: Path | None) -> str:
    """Draws a curve; returns the picture's path, or why there is none."""
    if one.curve is None or one.diagnosis is None:
        return ""
    from sweep.diagnosis_plots import diagnosis_picture, place, source

    if to is None and not one.path.parent.is_dir():
        return "not drawn: the trial's folder is not on this machine (--to FOLDER puts it elsewhere)"
    try:
        path = place(one.path, one.run, one.runs, to)
        diagnosis_picture(path, one.curve, one.diagnosis, _name(one), source(one.path, one.run))
    except OSError as error:
        return f"not drawn: {error.strerror or error} (--to FOLDER puts it elsewhere, --no-picture does without)"
    return _shown(path)


def _lines(one: _Read, drawn: str, many: bool) -> list[str]:
    if one.curve is None or one.diagnosis is None:
        return [f"{_name(one)}   {one.why_not}"]
    lines = [heading(_name(one), one.curve)] if many else []
    return [*lines, *words(one.diagnosis), *([f"{'picture':<{WIDTH}} {drawn}"] if drawn else [])]


def _plain(one: _Read, drawn: str) -> dict[str, Any]:
    said: dict[str, Any] = {"file": str(one.path), "run": one.run, "runs": one.runs}
    if one.name:
        said["trial"] = one.name
    if one.curve is None or one.diagnosis is None:
        return said | {"not_a_log": one.why_not}
    return said | {
        "training_losses": len(one.curve.training),
        "evaluations": {name: len(points) for name, points in one.curve.evaluations.items()},
        "last_step": one.curve.last_step,
        "total_steps": one.curve.total_steps,
        **one.diagnosis.to_dict(),
        "picture": drawn or None,
    }


def _name(one: _Read) -> str:
    if one.name:
        return one_line(one.name)
    return _shown(one.path) + (f", run {one.run} of {one.runs}" if one.runs > 1 else "")


def _shown(path: Path) -> str:
    """A path as a person would type it from here."""
    near = os.path.relpath(path)
    return one_line(near if len(near) <= len(str(path)) else str(path))
