"""What the curves of a study's own trials show: diagnosed once, when a trial ends, and told over the study."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.diagnosis_words import change_words
from trials.config import TrialConfig
from trials.curve import LearningCurve
from trials.diagnosis import DIAGNOSES, diagnose
from trials.finding import Diagnosis
from trials.logged import LoggedCurve, Settings

# Trials with something to mend that are told of each kind, before it says "and more".
MOST_TOLD = 3


def diagnose_trial(curve: LearningCurve, config: TrialConfig) -> Diagnosis | None:
    """A trial's diagnosis; None when it has no report.

    No loss is too high by itself here: the study's other trials show what its model reaches on its data.
    """
    if not curve.reports:
        return None
    return diagnose(LoggedCurve.of(curve.reports), Settings.of(config), high_loss=math.inf)


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
