"""Our own tables beside Optuna's: every trial's settings and its whole curve, for SQL.

`sweep_trials` has a row a trial, `sweep_reports` a row an evaluation, `sweep_diagnoses` a row a trial whose curve was
diagnosed, `sweep_failures` a row for each time that a trial broke, `sweep_machines` a row for each machine that a trial
ran on; all are keyed by the study's name and the trial's number. Optuna's tables stay the authority for what runs next;
these say what a dashboard does not.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from trials.config import TrialConfig
from trials.curve import LearningCurve
from trials.finding import Diagnosis
from trials.report import Report

metadata = sa.MetaData()

trials_table = sa.Table(
    "sweep_trials",
    metadata,
    sa.Column("study_name", sa.String(512), primary_key=True),
    sa.Column("trial_number", sa.Integer, primary_key=True),
    sa.Column("state", sa.String(16), nullable=False, comment="running, parked, complete, pruned, failed, interrupted"),
    sa.Column("value", sa.Double, comment="best evaluation loss, nats per token"),
    sa.Column("reason", sa.Text, comment="why it ended, in words"),
    sa.Column("lora_rank", sa.Integer),
    sa.Column("lora_alpha", sa.Double),
    sa.Column("lora_target", sa.String(512), comment="the named set, or the modules"),
    sa.Column("learning_rate", sa.Double),
    sa.Column("effective_batch_size", sa.Integer),
    sa.Column("warmup_ratio", sa.Double),
    sa.Column("num_train_epochs", sa.Double),
    sa.Column("config", sa.JSON(none_as_null=True), comment="every training field"),
    sa.Column("params", sa.JSON(none_as_null=True), comment="what the space gave: searched, fixed and derived knobs"),
    sa.Column("folder", sa.Text, comment="relative to the output folder"),
    sa.Column("total_steps", sa.Integer),
    sa.Column("trainable_parameters", sa.BigInteger),
    sa.Column("started", sa.DateTime(timezone=True)),
    sa.Column("ended", sa.DateTime(timezone=True)),
)

# The columns that are knobs of a run, as far as one that was made elsewhere tells them.
_KNOB_COLUMNS = (
    "lora_rank",
    "lora_alpha",
    "lora_target",
    "learning_rate",
    "effective_batch_size",
    "warmup_ratio",
    "num_train_epochs",
)
_REPORT_TYPES = {int: sa.BigInteger, float: sa.Double}
reports_table = sa.Table(
    "sweep_reports",
    metadata,
    sa.Column("study_name", sa.String(512), primary_key=True),
    sa.Column("trial_number", sa.Integer, primary_key=True),
    sa.Column("evaluation", sa.Integer, primary_key=True),
    *(
        sa.Column(field.name, _REPORT_TYPES[field.type])  # type: ignore[index]
        for field in dataclasses.fields(Report)
        if field.name != "evaluation"
    ),
)

diagnoses_table = sa.Table(
    "sweep_diagnoses",
    metadata,
    sa.Column("study_name", sa.String(512), primary_key=True),
    sa.Column("trial_number", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False, comment="the gravest state that the curve is in"),
    sa.Column("diagnosis", sa.JSON, nullable=False, comment="all that was found, with evidence and remedies"),
)

failures_table = sa.Table(
    "sweep_failures",
    metadata,
    sa.Column("study_name", sa.String(512), primary_key=True),
    sa.Column("trial_number", sa.Integer, primary_key=True),
    sa.Column("failure_number", sa.Integer, primary_key=True, comment="counts a trial's failures, from 0"),
    sa.Column("failure", sa.String(32), nullable=False, comment="the class: out of memory, preempted, unknown, …"),
    sa.Column("outcome", sa.String(16), nullable=False, comment="what was done: continued, failed, pruned, stopped"),
    sa.Column("reason", sa.Text, comment="what broke, in words"),
    sa.Column("log", sa.Text, comment="the end of the traceback or of the worker's log"),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
)

machines_table = sa.Table(
    "sweep_machines",
    metadata,
    sa.Column("study_name", sa.String(512), primary_key=True),
    sa.Column("trial_number", sa.Integer, primary_key=True),
    sa.Column("host", sa.String(255), primary_key=True, comment="a machine that the trial ran on"),
    sa.Column("device", sa.String(255), primary_key=True, comment="and what kind of device there"),
)


@dataclasses.dataclass(frozen=True)
class Breakdown:
    """One time that a trial broke; the fields are those of `sweep_failures`."""

    trial_number: int
    failure: str
    outcome: str
    reason: str
    log: str


class Results:
    """Reads and writes one study's rows. Safe to use from several threads."""

    def __init__(self, engine: Engine, study_name: str) -> None:
        self._engine, self._study = engine, study_name

    def start_trial(
        self, number: int, config: TrialConfig, params: Mapping[str, Any], folder: str, total_steps: int
    ) -> None:
        """Records that a trial runs, anew when it is continued."""
        row = {
            "state": "running",
            "lora_rank": config.lora_rank,
            "lora_alpha": config.lora_alpha,
            "lora_target": target_name(params, config),
            "learning_rate": config.learning_rate,
            "effective_batch_size": config.effective_batch_size,
            "warmup_ratio": config.warmup_ratio,
            "num_train_epochs": config.num_train_epochs,
            "config": config.to_dict(),
            "params": dict(params),
            "folder": folder,
            "total_steps": total_steps,
        }
        with self._engine.begin() as connection:
            if connection.execute(self._update(number).values(row)).rowcount == 0:
                keys = {"study_name": self._study, "trial_number": number}
                connection.execute(trials_table.insert().values(**keys, **row, started=_now()))

    def ran_on(self, number: int, host: str, device: str, lost: Sequence[int] = ()) -> None:
        """Records on what machine a trial runs; those of the lost trials that it goes on with are its own too."""
        table = machines_table
        keys = {"study_name": self._study, "trial_number": number}
        query = sa.select(table.c.trial_number, table.c.host, table.c.device).where(
            table.c.study_name == self._study, table.c.trial_number.in_([number, *lost])
        )
        with self._engine.begin() as connection:
            before = {tuple(row) for row in connection.execute(query).all()}
            machines = {(host, device), *((its_host, its_device) for _, its_host, its_device in before)}
            for its_host, its_device in sorted(machines):
                if (number, its_host, its_device) not in before:
                    connection.execute(table.insert().values(**keys, host=its_host, device=its_device))

    def machines(self) -> dict[int, str | None]:
        """The machine and device that each trial ran on, in words; None for several. Unknown ones are left out."""
        table = machines_table
        query = sa.select(table.c.trial_number, table.c.host, table.c.device).where(table.c.study_name == self._study)
        found: dict[int, str | None] = {}
        with self._engine.connect() as connection:
            for number, host, device in connection.execute(query).all():
                found[number] = None if number in found else f"{host}, {device}"
        return found

    def add_report(self, number: int, report: Report) -> None:
        """Records an evaluation; one that is there already, from before a resume, is left."""
        values = {**dataclasses.asdict(report), "study_name": self._study, "trial_number": number}
        where = self._report_where(number) & (reports_table.c.evaluation == report.evaluation)
        with self._engine.begin() as connection:
            if connection.execute(sa.select(reports_table.c.step).where(where)).first() is None:
                connection.execute(reports_table.insert().values(values))

    def end_trial(
        self,
        number: int,
        state: str,
        *,
        value: float | None = None,
        reason: str = "",
        trainable_parameters: int | None = None,
    ) -> None:
        """Records how a trial ended."""
        row = {"state": state, "value": value, "reason": reason, "ended": _now()}
        if trainable_parameters is not None:
            row["trainable_parameters"] = trainable_parameters
        with self._engine.begin() as connection:
            connection.execute(self._update(number).values(row))

    def broke(self, number: int, failure: str, outcome: str, reason: str, log: str = "") -> None:
        """Records that a trial broke, and what was done about it."""
        table, keys = failures_table, {"study_name": self._study, "trial_number": number}
        mine = sa.and_(table.c.study_name == self._study, table.c.trial_number == number)
        row = {"failure": failure, "outcome": outcome, "reason": reason, "log": log, "at": _now()}
        with self._engine.begin() as connection:
            before = connection.execute(sa.select(sa.func.count()).select_from(table).where(mine)).scalar_one()
            connection.execute(table.insert().values(**keys, failure_number=before, **row))

    def breakdowns(self) -> list[Breakdown]:
        """Each time that a trial broke, by trial and time."""
        table = failures_table
        columns = [table.c[field.name] for field in dataclasses.fields(Breakdown)]
        query = sa.select(*columns).where(table.c.study_name == self._study)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(table.c.trial_number, table.c.failure_number)).all()
        return [Breakdown(*row) for row in rows]

    def diagnosed(self, number: int, diagnosis: Diagnosis) -> None:
        """Records what a trial's curve shows, anew when it is there already."""
        table, keys = diagnoses_table, {"study_name": self._study, "trial_number": number}
        row = {"kind": diagnosis.kinds[0], "diagnosis": diagnosis.to_dict()}
        where = sa.and_(table.c.study_name == self._study, table.c.trial_number == number)
        with self._engine.begin() as connection:
            if connection.execute(sa.update(table).where(where).values(row)).rowcount == 0:
                connection.execute(table.insert().values(**keys, **row))

    def diagnoses(self) -> dict[int, dict[str, Any]]:
        """What the study's curves show (`Diagnosis.to_dict`), by trial."""
        table = diagnoses_table
        query = sa.select(table.c.trial_number, table.c.diagnosis).where(table.c.study_name == self._study)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(table.c.trial_number)).all()
        return {row.trial_number: row.diagnosis for row in rows}

    def close_failed(self, numbers: Iterable[int]) -> None:
        """Marks trials as failed that failed while nothing could be written here: a full disk, say."""
        table = trials_table
        for number in numbers:
            broken_off = self._update(number).where(table.c.state.in_(("running", "parked", "interrupted")))
            with self._engine.begin() as connection:
                connection.execute(broken_off.values(state="failed", reason="broke off with its session", ended=_now()))

    def add_imported(self, knobs: Sequence[Mapping[str, Any]], losses: Sequence[float], reasons: Sequence[str]) -> None:
        """Records runs that were made elsewhere as complete trials 0, 1, …; what a table does not tell stays empty."""
        rows = []
        for number, (params, loss, reason) in enumerate(zip(knobs, losses, reasons, strict=True)):
            told = {name: params.get(name) for name in _KNOB_COLUMNS}
            if told["lora_alpha"] is None and told["lora_rank"] is not None and "alpha_ratio" in params:
                told["lora_alpha"] = told["lora_rank"] * params["alpha_ratio"]
            if told["effective_batch_size"] is None and "per_device_train_batch_size" in params:
                steps = params.get("gradient_accumulation_steps", 1)
                told["effective_batch_size"] = params["per_device_train_batch_size"] * steps
            if told["lora_target"] is not None:
                told["lora_target"] = str(told["lora_target"])
            keys = {"study_name": self._study, "trial_number": number, "state": "complete", "value": loss}
            rows.append({**keys, **told, "reason": reason, "params": dict(params), "ended": _now()})
        with self._engine.begin() as connection:
            connection.execute(trials_table.insert(), rows)

    def trials(self) -> list[dict[str, Any]]:
        """Every trial's row, by number."""
        query = sa.select(trials_table).where(trials_table.c.study_name == self._study)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(trials_table.c.trial_number)).mappings()
            return [dict(row) for row in rows]

    def curve(self, number: int) -> LearningCurve:
        """A trial's whole curve."""
        query = sa.select(reports_table).where(self._report_where(number)).order_by(reports_table.c.evaluation)
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return LearningCurve([_report(row) for row in rows])

    def curves(self) -> dict[int, LearningCurve]:
        """Every trial's whole curve, by its number; those without a report are left out."""
        table = reports_table
        query = sa.select(table).where(table.c.study_name == self._study)
        found: dict[int, LearningCurve] = {}
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(table.c.trial_number, table.c.evaluation)).mappings()
            for row in rows:
                found.setdefault(row["trial_number"], LearningCurve()).append(_report(row))
        return found

    def rows_spent_and_saved(self) -> tuple[int, int]:
        """Training rows that complete and pruned trials saw, and those that pruning saved; batches differ in rows."""
        last = (
            sa.select(reports_table.c.trial_number, sa.func.max(reports_table.c.step).label("step"))
            .where(reports_table.c.study_name == self._study)
            .group_by(reports_table.c.trial_number)
            .subquery()
        )
        joined = trials_table.join(last, trials_table.c.trial_number == last.c.trial_number)
        batch = trials_table.c.effective_batch_size
        seen, whole = last.c.step * batch, trials_table.c.total_steps * batch
        query = (
            sa.select(trials_table.c.state, whole, seen)
            .select_from(joined)
            .where(trials_table.c.study_name == self._study)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        spent = sum(seen for state, _, seen in rows if state in ("complete", "pruned"))
        saved = sum(whole - seen for state, whole, seen in rows if state == "pruned")
        return spent, saved

    def _update(self, number: int) -> sa.Update:
        table = trials_table
        return sa.update(table).where(table.c.study_name == self._study, table.c.trial_number == number)

    def _report_where(self, number: int) -> sa.ColumnElement[bool]:
        table = reports_table
        return sa.and_(table.c.study_name == self._study, table.c.trial_number == number)


def target_name(params: Mapping[str, Any], config: TrialConfig) -> str:
    """How people call a trial's target set: as the space does, else its modules."""
    target = params.get("lora_target", config.lora_target)
    return target if isinstance(target, str) else ",".join(target)


def _report(row: Mapping[Any, Any]) -> Report:
    """A row of `sweep_reports` as a report. SQLite keeps a NaN as NULL; nothing else in a report may be NULL."""
    values: dict[str, Any] = {field.name: row[field.name] for field in dataclasses.fields(Report)}
    values.update({name: math.nan for name, value in values.items() if value is None})
    return Report(**values)


def _now() -> datetime:
    return datetime.now(UTC)
