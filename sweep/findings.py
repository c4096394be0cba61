"""What a study has found, read once from its database: what `sweep show`, the report and the dashboard tell of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from sweep.advice_words import advice_words
from sweep.audit import audit_words
from sweep.compare_study import ended_trials
from sweep.comparison import Comparison
from sweep.errors import SweepError
from sweep.expanding import expanded_plain, recorded, summarised
from sweep.failure_words import survived, with_failures
from sweep.importance import importance_words, importances
from sweep.observations import Observation, observe
from sweep.results import Breakdown, Results
from sweep.study import IDENTITY, SOURCE, start_loss
from sweep.summary import Fact, found
from sweep.trial_diagnosis import diagnosis_words
from sweep.verdicts import comparisons, lines
from trials.curve import LearningCurve


@dataclass(frozen=True)
class Findings:
    """A study's trials and what they say.

    Attributes:
        identity: What the study is of (`sweep.study.Identity` as plain data).
        source: What it was asked for by; empty for an imported one.
        space: Its space as plain data, as it has grown, with what `sweep.summary` wants to know beside it.
        rows: Rows of `sweep_trials`; a failed trial's reason says what class of failure it was.
        curves: Each trial's curve, by its number.
        diagnoses: What each curve shows (`Diagnosis.to_dict`), by the trial's number.
        breakdowns: Each time that a trial broke.
        runs: Finished trials as comparisons take them.
        comparisons: Of ratio, target set and rank, as far as they varied.
        rows_spent: Training rows seen by ended trials.
        rows_saved: Training rows that pruning saved.
        head: The best trial in a sentence, or that there is none yet.
        facts: What else was found.
    """

    identity: Mapping[str, Any]
    source: Mapping[str, Any]
    space: Mapping[str, Any]
    rows: list[dict[str, Any]]
    curves: dict[int, LearningCurve]
    diagnoses: dict[int, dict[str, Any]]
    breakdowns: list[Breakdown]
    runs: list[Observation]
    comparisons: list[Comparison]
    rows_spent: int
    rows_saved: int
    head: str
    facts: list[Fact]


def read_findings(study: optuna.Study, results: Results) -> Findings:
    """Reads a study.

    Raises:
        SweepError: Another program made it.
    """
    identity = study.user_attrs.get(IDENTITY)
    if identity is None:
        raise SweepError(f"study {study.study_name!r} was not made by this program; `make dashboard` shows it")
    breakdowns = results.breakdowns()
    rows = with_failures(results.trials(), breakdowns)
    spent, saved = results.rows_spent_and_saved()
    source = study.user_attrs.get(SOURCE) or {}  # an imported study has none
    grown = recorded(study)
    space = expanded_plain(identity["space"]["resolved"], grown)
    space |= {"scaled": (identity.get("scaling") or {}).get("told", ""), "grown": summarised(grown)}
    if source:
        space |= {"asked": source.get("space", space["name"]), "expand": source.get("expand", False)}
    curves = results.curves()
    ended = ended_trials(curves, rows, identity["space"]["resolved"], start_loss(study))
    runs = observe(ended)
    compared = comparisons(runs, unused=len(ended) - len(runs))
    told = lines(compared)
    mattered = importance_words(importances(runs))
    if mattered:
        told.append(("importance", f"{mattered} (PED-ANOVA over {len(runs)} trials)"))
    trials, diagnoses = study.get_trials(deepcopy=False), results.diagnoses()
    for label, words in (
        ("curves", diagnosis_words(diagnoses)),
        ("advice", advice_words(trials)),
        ("faults", survived(breakdowns)),
    ):
        if words:
            told.append((label, words))
    head, facts = found(rows, space, spent, saved, told, audit_words(trials))
    return Findings(
        identity=identity,
        source=source,
        space=space,
        rows=rows,
        curves=curves,
        diagnoses=diagnoses,
        breakdowns=breakdowns,
        runs=runs,
        comparisons=compared,
        rows_spent=spent,
        rows_saved=saved,
        head=head,
        facts=facts,
    )
