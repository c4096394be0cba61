"""One study's rows from one database into another: Optuna's tables and our own, between any two kinds of database.

Everything is read and written through the two connections that are given, so that what is read is of one moment, and
what is written appears at once or not at all. Optuna's ids are the database's own and change; trials' numbers are kept
unless a mapping says otherwise. A copy runs nowhere: running trials become waiting ones.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from optuna.storages._rdb.models import BaseModel
from optuna.trial import TrialState
from sqlalchemy.engine import Connection

from sweep.bundles.layout import trial_files
from sweep.results import metadata, trials_table

Rewrite = Callable[[str, str], str]
# Optuna's tables of a trial, but for heartbeats: nothing of a copy is alive.
_OF_TRIALS = (
    "trial_user_attributes",
    "trial_system_attributes",
    "trial_params",
    "trial_values",
    "trial_intermediate_values",
)
# What Optuna puts before an artifact's id.
_ARTIFACT = "artifacts:"
_NOTE = re.compile(r"dashboard:(\d+):(note_.*)")
_BROKEN_OFF = "was running when the study was packed: the next run goes on with it"
_CHUNK = 1000


# Names of all of Optuna's tables.
OPTUNAS = tuple(BaseModel.metadata.tables)


def optunas(name: str) -> sa.Table:
    """A table of Optuna's."""
    table: sa.Table = BaseModel.metadata.tables[name]
    return table


def study_id(connection: Connection, name: str) -> int | None:
    """Optuna's id of a study; None when there is none of that name."""
    studies = optunas("studies")
    found = connection.execute(sa.select(studies.c.study_id).where(studies.c.study_name == name)).scalar()
    return None if found is None else int(found)


def trial_rows(connection: Connection, study: int) -> list[dict[str, Any]]:
    """Optuna's rows of a study's trials, by number."""
    trials = optunas("trials")
    query = sa.select(trials).where(trials.c.study_id == study).order_by(trials.c.number)
    return [dict(row) for row in connection.execute(query).mappings()]


def copy_study(source: Connection, target: Connection, name: str, new_name: str, folder: str) -> None:
    """Copies a whole study.

    Args:
        source: A connection in a transaction, or to a database that nobody else uses.
        target: A connection in a transaction.
        name: The study's name there.
        new_name: Its name here; there must be none of it.
        folder: The study's folder here, relative to the output folder.
    """
    old = study_id(source, name)
    assert old is not None
    rows = trial_rows(source, old)
    new = add_study(source, target, old, new_name)
    ids = add_trials(target, new, rows)
    moved = {row["trial_id"]: ids[row["number"]] for row in rows}
    copy_attributes(source, target, old, new, moved)
    copy_trials(source, target, moved)
    copy_own(source, target, name, new_name, {number: number for number in ids}, folder)


def add_study(source: Connection, target: Connection, old: int, name: str) -> int:
    """Makes a study with the directions of another; its id."""
    new = target.execute(sa.insert(optunas("studies")).values(study_name=name)).inserted_primary_key
    assert new is not None
    _copy(source, target, optunas("study_directions"), "study_id", {old: int(new[0])})
    return int(new[0])


def add_trials(target: Connection, study: int, rows: list[dict[str, Any]]) -> dict[int, int]:
    """Makes a study's trials, so that ids rise with numbers; the ids by number.

    Args:
        target: The database.
        study: The study's id there.
        rows: Of Optuna's table `trials`, numbers 0, 1, … in this order.
    """
    trials, ids = optunas("trials"), {}
    insert = sa.insert(trials).returning(trials.c.trial_id, sort_by_parameter_order=True)
    for chunk in _chunks(iter(rows)):
        plain = [{key: value for key, value in row.items() if key != "trial_id"} | {"study_id": study} for row in chunk]
        for row in plain:
            if row["state"] == TrialState.RUNNING:
                row["state"] = TrialState.WAITING
        found = target.execute(insert, plain).scalars().all()
        ids.update({row["number"]: int(trial) for row, trial in zip(plain, found, strict=True)})
    return ids


def copy_attributes(
    source: Connection,
    target: Connection,
    old: int,
    new: int,
    trials: Mapping[int, int],
    rewrite: Rewrite | None = None,
    *,
    notes_alone: bool = False,
) -> None:
    """Copies a study's attributes; the dashboard's notes, whose keys have trials' ids, go with their trials.

    Args:
        source: Where from.
        target: Where to.
        old: The study's id there.
        new: Its id here.
        trials: The new id of each trial, by its old one.
        rewrite: As in `copy_trials`.
        notes_alone: Whether only the notes of these trials are copied.
    """
    if not notes_alone:
        _copy(source, target, optunas("study_user_attributes"), "study_id", {old: new})
    table = optunas("study_system_attributes")
    rows = []
    for row in source.execute(sa.select(table).where(table.c.study_id == old)).mappings():
        note = _NOTE.fullmatch(row["key"])
        if note is None and notes_alone:
            continue
        key, value = row["key"], row["value_json"]
        if note is not None:
            if int(note[1]) not in trials:
                continue
            key = f"dashboard:{trials[int(note[1])]}:{note[2]}"
            value = rewrite(key, value) if rewrite else value
        rows.append({"study_id": new, "key": key, "value_json": value})
    for chunk in _chunks(iter(rows)):
        target.execute(sa.insert(table), chunk)


def copy_trials(
    source: Connection, target: Connection, trials: Mapping[int, int], rewrite: Rewrite | None = None
) -> None:
    """Copies what Optuna has of trials beside their own rows.

    Args:
        source: Where from.
        target: Where to.
        trials: The new id of each trial, by its old one.
        rewrite: Given an attribute's key and its value as JSON text, what it becomes.
    """
    for name in _OF_TRIALS:
        _copy(source, target, optunas(name), "trial_id", trials, rewrite if "attributes" in name else None)


def copy_own(
    source: Connection,
    target: Connection,
    name: str,
    new_name: str,
    numbers: Mapping[int, int],
    folder: str,
    words: Callable[[str], str] | None = None,
) -> None:
    """Copies what our own tables have of trials.

    Args:
        source: Where from.
        target: Where to.
        name: The study's name there.
        new_name: Its name here.
        numbers: The new number of each trial, by its old one; those without are left.
        folder: The study's folder here, relative to the output folder.
        words: Given why a trial ended, what that becomes.
    """
    for table in metadata.sorted_tables:
        query = sa.select(table).where(table.c.study_name == name)
        moments = [column.name for column in table.columns if isinstance(column.type, sa.DateTime)]
        found = source.execute(query.order_by(*table.primary_key.columns)).mappings()
        rows = (dict(row) for row in found if row["trial_number"] in numbers)
        for chunk in _chunks(rows):
            for row in chunk:
                if table is trials_table:
                    _move(row, numbers, folder)
                row |= {column: utc(row[column]) for column in moments}
                row |= {"study_name": new_name, "trial_number": numbers[row["trial_number"]]}
                if words is not None and row.get("reason"):
                    row["reason"] = words(row["reason"])
            target.execute(sa.insert(table), chunk)


def _move(row: dict[str, Any], numbers: Mapping[int, int], folder: str) -> None:
    """Makes a row of `sweep_trials` what it is in the new place."""
    if row["folder"] is not None:
        # A trial that goes on with a lost one's work has that one's folder.
        first = folder_number(row["folder"])
        number = first if first is not None and first in numbers else row["trial_number"]
        row["folder"] = f"{folder}/{trial_files(numbers[number])}"
    if row["state"] == "running":
        row |= {"state": "interrupted", "reason": _BROKEN_OFF}


def folder_number(folder: str | None) -> int | None:
    """The number of the trial whose folder it was at first; None for no trial's folder."""
    last = (folder or "").rsplit("/", 1)[-1]
    return int(last) if re.fullmatch(r"[0-9]{5,9}", last) else None


def utc(moment: datetime | None) -> datetime | None:
    """A moment in UTC: SQLite forgets the zone, PostgreSQL tells it in the server's."""
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@dataclass(frozen=True)
class Left:
    """What a trial has left outside of the database.

    Attributes:
        number: The trial's.
        state: Its state.
        folder: Relative to the output folder; None where it has none.
        artifacts: Ids of the dashboard's files.
    """

    number: int
    state: TrialState
    folder: str | None
    artifacts: tuple[str, ...]


def left_by_trials(connection: Connection, name: str) -> list[Left]:
    """What the trials of a study have left outside of the database, by number."""
    study = study_id(connection, name)
    assert study is not None
    table, attributes = trials_table, optunas("trial_system_attributes")
    query = sa.select(table.c.trial_number, table.c.folder).where(table.c.study_name == name)
    folders = {row.trial_number: row.folder for row in connection.execute(query).all()}
    query = sa.select(attributes.c.trial_id, attributes.c.key).where(attributes.c.key.startswith(_ARTIFACT))
    artifacts: dict[int, list[str]] = {}
    for trial, key in connection.execute(query).all():
        artifacts.setdefault(trial, []).append(key.removeprefix(_ARTIFACT))
    return [
        Left(row["number"], row["state"], folders.get(row["number"]), tuple(artifacts.get(row["trial_id"], ())))
        for row in trial_rows(connection, study)
    ]


def _copy(
    source: Connection,
    target: Connection,
    table: sa.Table,
    key: str,
    ids: Mapping[int, int],
    rewrite: Rewrite | None = None,
) -> None:
    """Copies the rows that belong to `ids`, in their order, under new ids of their own."""
    own = next(iter(table.primary_key.columns)).name
    old = sorted(ids)
    for first in range(0, len(old), _CHUNK):
        query = sa.select(table).where(table.c[key].in_(old[first : first + _CHUNK])).order_by(table.c[own])
        for chunk in _chunks(dict(row) for row in source.execute(query).mappings()):
            for row in chunk:
                del row[own]
                row[key] = ids[row[key]]
                if rewrite is not None:
                    row["value_json"] = rewrite(row["key"], row["value_json"])
            target.execute(sa.insert(table), chunk)


def _chunks(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
