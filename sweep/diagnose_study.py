"""A study's trials as `sweep diagnose` reads them: from their logs where these are here, else from the database."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.errors import SweepError
from sweep.results import Results
from sweep.storage import open_storage
from sweep.study import SOURCE, load_study
from sweep.trial_diagnosis import diagnose_trial, logged_curve
from sweep.trial_files import LOG
from trials.config import TrialConfig
from trials.finding import Diagnosis
from trials.logged import LoggedCurve


@dataclass(frozen=True)
class StudyTrial:
    """One trial of a study.

    Attributes:
        name: As a user asks for it: "sft_lora/7".
        log: Where its log is, or would be.
        curve: Its points: of every step, or of every evaluation where its log is not on this machine.
        diagnosis: What it shows.
    """

    name: str
    log: Path
    curve: LoggedCurve
    diagnosis: Diagnosis


def trials_named(name: str, storage: str, output: Path) -> list[StudyTrial]:
    """The trials that a name means: STUDY is all that have been evaluated, STUDY/7 is one.

    Raises:
        SweepError: There is no such database, study or trial, or the trial has no evaluation.
    """
    opened = open_storage(storage, create=False)
    study_name, number = name, None
    if "/" in name and name.rsplit("/", 1)[1].isdecimal():
        study_name, number = name.rsplit("/", 1)[0], int(name.rsplit("/", 1)[1])
    study = load_study(opened, study_name)
    results = Results(opened.engine, study_name)
    rows = [row for row in results.trials() if row["config"] is not None and number in (None, row["trial_number"])]
    usual = study.user_attrs.get(SOURCE, {}).get("usual_learning_rate")
    found = [trial for row in rows if (trial := _trial(results, study_name, row, usual, output)) is not None]
    if not found:
        raise SweepError(_nothing(results, study_name, number))
    return found


def _trial(
    results: Results, study_name: str, row: dict[str, Any], usual: float | None, output: Path
) -> StudyTrial | None:
    reports = results.curve(row["trial_number"])
    log = output / row["folder"] / LOG
    curve = logged_curve(log.parent, reports)
    diagnosis = diagnose_trial(reports, TrialConfig.from_dict(row["config"]), usual, curve)
    return None if diagnosis is None else StudyTrial(f"{study_name}/{row['trial_number']}", log, curve, diagnosis)


def _nothing(results: Results, study_name: str, number: int | None) -> str:
    numbers = [row["trial_number"] for row in results.trials()]
    if number is None:
        return f"study {study_name!r} has no trial with an evaluation yet"
    if number not in numbers:
        there = f"0 to {numbers[-1]}" if numbers else "none yet"
        return f"study {study_name!r} has no trial {number}; there are {there}"
    return f"trial {number} of study {study_name!r} has no evaluation yet: there is nothing to diagnose"
