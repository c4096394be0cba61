"""What a report says, as plain data: every form of it shows the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from sweep.advice_words import advice_words
from sweep.compare_study import HEADING, level_cells
from sweep.comparison import Comparison
from sweep.confirm import CONFIRMS
from sweep.confirm_words import lines as confirmation
from sweep.figures.all_plots import all_plots
from sweep.figures.plot import Plot
from sweep.findings import Findings, read_findings
from sweep.report.answer import answer
from sweep.report.training import training_text
from sweep.report.words import asked, environment, knobs, plain_value, status
from sweep.results import Results
from sweep.storage import shown
from sweep.summary import Fact
from sweep.sweep_storage import SweepStorage
from sweep.table import COLUMNS, ranked, table_cells

Cells = tuple[str, ...]


@dataclass(frozen=True)
class Sheet:
    """A table: its caption, its heading, its lines, and what to know of it."""

    caption: str
    heading: Cells
    lines: list[Cells]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Content:
    """A study's report.

    Attributes:
        study: The study's name.
        status: How far it is, and when that was.
        answer: The answer's sentences.
        asked: What was asked for.
        knobs: What was searched, and where.
        ranking: All trials, from best to worst.
        facts: What was found.
        plots: The study in pictures.
        comparisons: Ratio, target set and rank, as far as they varied.
        confirmed: What a confirmation of its leaders found, as lines of text.
        diagnoses: Trials whose curves are sick.
        advice: Whether the remedies that were tried helped, as lines of text.
        pruning: What pruning saved.
        failures: Each time that a trial broke.
        environment: What it ran with, to repeat it.
        training: The training file of the winner; empty where there is none to be written.
        no_training: Why there is none.
    """

    study: str
    status: str
    answer: list[str]
    asked: list[Fact]
    knobs: Sheet
    ranking: Sheet
    facts: list[Fact]
    plots: list[Plot]
    comparisons: list[Sheet]
    confirmed: list[str]
    diagnoses: Sheet
    advice: list[str]
    pruning: str
    failures: Sheet
    environment: list[Fact]
    training: str
    no_training: str


def read_content(opened: SweepStorage, study: optuna.Study, storage: str, output: Path) -> Content:
    """Reads all that a report says; also of a study that still runs.

    Args:
        opened: The database.
        study: The study in it.
        storage: The database's address, as it was given.
        output: The sweep's output folder, where the winner's adapter may be.

    Raises:
        SweepError: Another program made the study.
    """
    results = Results(opened.engine, study.study_name)
    read = read_findings(study, results)
    confirmed = _confirmation(opened, study, results, read)
    plots = all_plots(read.rows, read.curves, results.machines(), read.comparisons)
    training, no_training = training_text(study, read, output)
    advice = advice_words(study.get_trials(deepcopy=False))
    return Content(
        study=study.study_name,
        status=status(read),
        answer=answer(study.study_name, read.rows, read.facts, read.comparisons, confirmed[-2:]),
        asked=asked(read, shown(storage)),
        knobs=Sheet("What was searched", ("knob", "values"), list(knobs(read.space))),
        ranking=Sheet("All trials, from best to worst", COLUMNS, table_cells(ranked(read.rows))),
        facts=read.facts,
        plots=plots,
        comparisons=[_comparison(comparison) for comparison in read.comparisons],
        confirmed=confirmed,
        diagnoses=_diagnoses(read.diagnoses),
        advice=advice.split("\n") if advice else [],
        pruning=_pruning(read),
        failures=_failures(read),
        environment=environment(study, read),
        training=training,
        no_training=no_training,
    )


def _comparison(comparison: Comparison) -> Sheet:
    held = ", ".join(comparison.held) or "nothing else varied"
    caption = f"By {comparison.by}, against {comparison.reference}; held fixed: {held}"
    lines = [level_cells(level, comparison.method) for level in comparison.levels]
    return Sheet(caption, HEADING, lines, comparison.notes)


def _diagnoses(diagnoses: Mapping[int, Mapping[str, Any]]) -> Sheet:
    lines: list[Cells] = []
    for trial, diagnosis in diagnoses.items():
        for finding in diagnosis["findings"]:
            remedy = ", ".join(map(_change, finding.get("remedy", ())))
            if remedy:
                lines.append((str(trial), str(finding["kind"]), str(finding["evidence"]), remedy))
    return Sheet("Trials with something to mend", ("trial", "state", "evidence", "to try"), lines)


def _change(change: Mapping[str, Any]) -> str:
    if change.get("setting") and change.get("before") is not None and change.get("after") is not None:
        return f"{change['setting']} {plain_value(change['before'])} → {plain_value(change['after'])}"
    return ": ".join(str(part) for part in (change.get("setting"), change.get("words")) if part)


def _pruning(read: Findings) -> str:
    pruned = sum(row["state"] == "pruned" for row in read.rows)
    whole = read.rows_spent + read.rows_saved
    if not pruned or not whole:
        return "No trial was pruned."
    share = 100 * read.rows_saved / whole
    return (
        f"{pruned:,} trials were pruned, which saved {read.rows_saved:,} of {whole:,} training rows, {share:.0f} %; "
        f"{read.rows_spent:,} were spent."
    )


def _failures(read: Findings) -> Sheet:
    lines: list[Cells] = [
        (str(broke.trial_number), broke.failure, broke.outcome, broke.reason or "") for broke in read.breakdowns
    ]
    known = {broke.trial_number for broke in read.breakdowns}
    for row in read.rows:
        if row["state"] == "failed" and row["trial_number"] not in known:
            lines.append((str(row["trial_number"]), "-", "failed", str(row["reason"] or "")))
    return Sheet("Each time that a trial broke", ("trial", "failure", "what was done", "reason"), lines)


def _confirmation(opened: SweepStorage, study: optuna.Study, results: Results, read: Findings) -> list[str]:
    """What the newest confirmation of this study found, or this one if it is a confirmation."""
    own = study.user_attrs.get(CONFIRMS)
    if own is not None:
        return confirmation(results, read.rows, own)
    found: list[str] = []
    for summary in optuna.get_all_study_summaries(opened, include_best_trial=False):
        confirms: Mapping[str, Any] = summary.user_attrs.get(CONFIRMS) or {}
        if confirms.get("study") == study.study_name:
            theirs = Results(opened.engine, summary.study_name)
            found = confirmation(theirs, theirs.trials(), confirms)
    return found


def sheets(content: Content) -> Sequence[Sheet]:
    """All tables with something in them."""
    found = [content.knobs, content.ranking, *content.comparisons, content.diagnoses, content.failures]
    return [sheet for sheet in found if sheet.lines]
