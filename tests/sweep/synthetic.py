"""Whole studies without training: trials whose losses follow a formula, in Optuna's tables and our own."""

import math
import random
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from spaces.parameter import Choice
from sweep.machine import MACHINE, Machine
from sweep.results import machines_table, reports_table, trials_table
from sweep.study import SOURCE, Identity, create_study
from sweep.sweep_storage import SweepStorage
from tests.sweep.fakes import make_plan, make_space
from trials.config import TrialConfig
from trials.report import Report

SPACE = """
stage: sft
fixed: {effective_batch_size: 8, warmup_ratio: 0.0}
search:
  learning_rate: {float: [1e-4, 1e-2], log: true}
  lora_rank: {choice: [4, 8, 16, 32]}
  alpha_ratio: {choice: [1, 2, 4]}
  lora_target: {choice: [qv, attention, all]}
derived: {lora_alpha: lora_rank * alpha_ratio}
"""
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
TARGETS = {"qv": 0.06, "attention": 0.02, "all": 0.0}
WORST = 0.97  # share of the trials that neither fail nor diverge


def synthetic_study(
    storage: SweepStorage, name: str, trials: int, points: int = 30, seed: int = 0, running: int = 0
) -> optuna.Study:
    """A study in which half of the trials are pruned, some fail and one in fifty diverges.

    Args:
        storage: An open database.
        name: The study's.
        trials: How many trials it has.
        points: Evaluations of a whole trial.
        seed: Fixes all.
        running: How many of the last still run.
    """
    space, draw = make_space(SPACE), random.Random(seed)
    plan = make_plan(space)
    study = create_study(storage, name, Identity.of(space, plan.budget, seed, plan.ready), space)
    source = {"space": "demo", "model": "", "dataset": "", "form": "messages", "rows": 80, "dtype": "fp32"}
    study.set_user_attr(SOURCE, source)
    study.set_user_attr(MACHINE, Machine("host", (), 2, 8 << 30, {"torch": "2"}, "fp32").to_dict())
    known: dict[str, BaseDistribution] = {
        parameter.name: CategoricalDistribution(parameter.options)
        if isinstance(parameter, Choice)
        else FloatDistribution(1e-4, 1e-2, log=True)
        for parameter in space.search
    }
    told: list[FrozenTrial] = []
    rows: list[dict[str, Any]] = []
    reports: list[dict[str, Any]] = []
    for number in range(trials):
        params = {
            "learning_rate": 10 ** draw.uniform(-4, -2),
            "lora_rank": draw.choice((4, 8, 16, 32)),
            "alpha_ratio": draw.choice((1, 2, 4)),
            "lora_target": draw.choice(tuple(TARGETS)),
        }
        state = "running" if number >= trials - running else _state(draw)
        losses = _losses(params, points, draw, state)
        rows.append(_row(name, number, state, params, losses, points))
        keys = {"study_name": name, "trial_number": number}
        made = [_report(place, loss, points) for place, loss in enumerate(losses, start=1)]
        reports += [{**asdict(report), **keys} for report in made]
        told.append(_frozen(number, state, params, losses, known))
    study.add_trials(told)
    with storage.engine.begin() as connection:
        connection.execute(trials_table.insert(), rows)
        connection.execute(reports_table.insert(), reports)
        places = [
            {"study_name": name, "trial_number": number, "host": "host", "device": "cpu"} for number in range(trials)
        ]
        connection.execute(machines_table.insert(), places)
        _report_to_optuna(connection, study, reports)
    return study


def _state(draw: random.Random) -> str:
    chance = draw.random()
    return "failed" if chance > WORST else "pruned" if chance > 0.45 else "complete"


def _losses(params: dict[str, Any], points: int, draw: random.Random, state: str) -> list[float]:
    away = math.log10(params["learning_rate"]) + 2.8 + 0.25 * math.log2(params["alpha_ratio"])
    end = 2.0 + 0.15 * away**2 + TARGETS[params["lora_target"]] + 0.02 * abs(math.log2(params["lora_rank"] / 16))
    end += draw.gauss(0, 0.01)
    losses = [end + 1.2 * math.exp(-4 * place / points) + draw.gauss(0, 0.004) for place in range(1, points + 1)]
    if draw.random() < 0.02:
        losses = [loss * 1.08**place for place, loss in enumerate(losses)]
    share = {"pruned": draw.uniform(0.2, 0.7), "failed": 0.1, "running": 0.5}.get(state, 1.0)
    return losses[: max(1, int(share * points))]


def _row(
    study: str, number: int, state: str, params: dict[str, Any], losses: list[float], points: int
) -> dict[str, Any]:
    rank, alpha = params["lora_rank"], params["lora_rank"] * params["alpha_ratio"]
    config = TrialConfig(
        learning_rate=params["learning_rate"], lora_rank=rank, lora_alpha=alpha, lora_target=("q_proj",)
    )
    reasons = {"pruned": "heading for more than the best", "failed": "the worker died"}
    return {
        "study_name": study,
        "trial_number": number,
        "state": state,
        "value": min(losses) if state in ("complete", "pruned") else None,
        "reason": reasons.get(state, ""),
        "lora_rank": rank,
        "lora_alpha": alpha,
        "lora_target": params["lora_target"],
        "learning_rate": params["learning_rate"],
        "effective_batch_size": 8,
        "warmup_ratio": 0.0,
        "num_train_epochs": 1.0,
        "config": config.to_dict(),
        "params": params | {"lora_alpha": alpha, "effective_batch_size": 8},
        "folder": f"{study}/trials/{number:05d}",
        "total_steps": 2 * points,
        "trainable_parameters": rank * {"qv": 1000, "attention": 2000, "all": 5000}[params["lora_target"]],
    }


def _report(place: int, loss: float, points: int) -> Report:
    return Report(
        evaluation=place,
        total_evaluations=points,
        step=2 * place,
        total_steps=2 * points,
        tokens=100 * place,
        epoch=place / points,
        train_loss=loss - 0.1,
        eval_loss=loss,
        learning_rate=1e-3,
        grad_norm=1.0,
        seconds=3.0 * place + loss,
        peak_memory_bytes=int(1e9 + 1e8 * loss),
    )


def _frozen(
    number: int, state: str, params: dict[str, Any], losses: list[float], known: dict[str, BaseDistribution]
) -> FrozenTrial:
    finished = state != "running"
    now = datetime.now(UTC).replace(tzinfo=None)
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=STATES.get(state, TrialState.RUNNING),
        value=min(losses) if state in ("complete", "pruned") else None,
        values=None,
        datetime_start=now,
        datetime_complete=now if finished else None,
        params=params,
        distributions={knob: known[knob] for knob in params},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )


def _report_to_optuna(connection: sa.Connection, study: optuna.Study, reports: list[dict[str, Any]]) -> None:
    """Writes what trials reported in one statement: Optuna takes a transaction for each."""
    ids = {trial.number: trial._trial_id for trial in study.get_trials(deepcopy=False)}
    table = sa.table(
        "trial_intermediate_values",
        *map(sa.column, ("trial_id", "step", "intermediate_value", "intermediate_value_type")),
    )
    lines = [
        {
            "trial_id": ids[report["trial_number"]],
            "step": report["evaluation"],
            "intermediate_value": report["eval_loss"],
            "intermediate_value_type": "FINITE",
        }
        for report in reports
    ]
    connection.execute(table.insert(), lines)
