"""A diagnosis in words, as `sweep diagnose` prints it."""

from collections.abc import Sequence

from sweep.progress import format_learning_rate, one_line
from trials.finding import Change, Diagnosis
from trials.logged import LoggedCurve

WIDTH = 14  # of the first column
RATE = "learning_rate"


def words(diagnosis: Diagnosis) -> list[str]:
    """The findings, what to try, why it is no oscillation, and what was odd; a line each."""
    lines = []
    for finding in diagnosis.findings:
        kind = f"{finding.kind}?" if finding.suspected else finding.kind
        guide = f" (guide {finding.rule})" if diagnosis.sick else ""
        lines.append(f"{kind:<{WIDTH}} {finding.evidence}{guide}")
        if finding.remedy:
            lines.append(f"{'  try':<{WIDTH}} {', '.join(map(change_words, finding.remedy))}")
    if diagnosis.calm:
        lines.append(f"{'oscillation':<{WIDTH}} no   {diagnosis.calm}")
    return [*lines, *(f"{'note':<{WIDTH}} {one_line(note)}" for note in diagnosis.notes)]


def change_words(change: Change) -> str:
    """One change: `lora_alpha 32 → 16` where the value is known, `lora_alpha: half` where not."""
    if not change.setting:
        return change.words
    if change.after is None:
        return f"{change.setting}: {change.words}"
    if change.before is None:
        return f"{change.setting}: {change.words}"
    return f"{change.setting} {_value(change.setting, change.before)} → {_value(change.setting, change.after)}"


def heading(name: str, curve: LoggedCurve) -> str:
    """A curve's name and size, over its findings."""
    sets = [f"{len(points)} evaluations{f' of {one_line(name)}' if name else ''}" for name, points in _sets(curve)]
    return f"{name}   {', '.join([f'{len(curve.training)} training losses', *sets])}, {curve.last_step} steps"


def _sets(curve: LoggedCurve) -> Sequence[tuple[str, Sequence[object]]]:
    return list(curve.evaluations.items())


def _value(setting: str, value: float | str) -> str:
    if isinstance(value, str):
        return value
    return format_learning_rate(value) if setting == RATE else f"{value:g}"
