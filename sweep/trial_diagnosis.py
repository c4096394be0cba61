"""What the curves of a study's own trials show: diagnosed once, when a trial ends, and told over the study."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweep.diagnosis_words import change_words
from sweep.trial_files import LOG
from trials.config import TrialConfig
from trials.curve import LearningCurve
from trials.diagnosis import DIAGNOSES, diagnose
from trials.finding import Diagnosis, Finding
from trials.log_records import NotALog
from trials.logged import LoggedCurve, Settings
from trials.logs import read_log
from trials.remedies import remedy

# Trials with something to mend that are told of each kind, before it says "and more".
MOST_TOLD = 3


def logged_curve(folder: Path, curve: LearningCurve) -> LoggedCurve:
    """A trial's points: of every step from its log; of every evaluation where its steps were logged elsewhere.

    Args:
        folder: The trial's.
        curve: Its evaluations.
    """
    try:
        (logged,) = read_log(folder / LOG)
    except (NotALog, ValueError):  # no log; or one of several runs, which is none of this program's making
        return LoggedCurve.of(curve.reports)
    # Between two evaluations there is a step at least.
    return logged if len(logged.training) >= len(curve.reports) else LoggedCurve.of(curve.reports)


def diagnose_trial(
    curve: LearningCurve, config: TrialConfig, usual_rate: float | None, logged: LoggedCurve
) -> Diagnosis | None:
    """A trial's diagnosis; None when it has no report.

    No loss is too high by itself here: the study's other trials show what its model reaches on its data. What a trial
    was stopped for is part of its diagnosis, also where its curve alone is too short to tell.

    Args:
        curve: Its evaluations.
        config: Its settings.
        usual_rate: The highest learning rate that is usual for its model; None when not known.
        logged: The same run's points, as `logged_curve` reads them.
    """
    if not curve.reports:
        return None
    settings = replace(Settings.of(config), usual_learning_rate=usual_rate)
    diagnosis = diagnose(logged, settings, high_loss=math.inf)
    stopped = _stopped_for(curve)
    if stopped is None or diagnosis.sick:
        return diagnosis
    return replace(diagnosis, findings=(replace(stopped, remedy=remedy(stopped, settings)),), calm="")


def _stopped_for(curve: LearningCurve) -> Finding | None:
    """The state for which a trial is stopped at its last report, whatever other trials do."""
    for kind, words, rule in (
        ("divergence", curve.divergence(), "1.2, 2.1"),
        ("over-fitting", curve.sustained_rise(), "1.2, 2.3"),
    ):
        if words is not None:
            best = curve.best
            start = curve.reports[-1].step if kind == "divergence" or best is None else best.step
            return Finding(kind, words.split(": ", 1)[1], rule, start)
    return None


def note_lines(diagnosis: Diagnosis) -> list[str]:
    """A diagnosis in Markdown, as the dashboard's note of its trial has it."""
    lines = []
    for finding in diagnosis.findings:
        guide = f" (guide {finding.rule})" if diagnosis.sick else ""
        lines.append(f"Diagnosis: **{finding.kind}**{'?' if finding.suspected else ''}: {finding.evidence}{guide}.")
        if finding.remedy:
            lines.append(f"To try: {', '.join(map(change_words, finding.remedy))}.")
    return [line for text in lines for line in ("", text)]


def diagnosis_words(diagnoses: Mapping[int, Mapping[str, Any]]) -> str:
    """How many trials show what, and which of them have something to mend; empty without any.

    Args:
        diagnoses: `Diagnosis.to_dict` by the trial's number.
    """
    trials: dict[str, list[int]] = {}
    for number, diagnosis in sorted(diagnoses.items()):
        for finding in diagnosis["findings"]:
            trials.setdefault(finding["kind"], []).append(number)
    order = ["healthy", *DIAGNOSES, "too short to tell"]
    return ", ".join(
        f"{len(trials[kind])} {kind}" + (f" ({_numbers(trials[kind])})" if kind in DIAGNOSES else "")
        for kind in order
        if kind in trials
    )


def _numbers(numbers: Sequence[int]) -> str:
    more = ", …" if len(numbers) > MOST_TOLD else ""
    return f"trial{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers[:MOST_TOLD]))}{more}"
