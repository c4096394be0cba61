"""Merges two bundles of one study that ran on two machines apart into one bundle."""

import functools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.engine import Connection

from sweep.bundles.archive import extract
from sweep.bundles.database import identity_of, new_database, opened_database
from sweep.bundles.joining import Joined, Run, join
from sweep.bundles.layout import DATABASE, trial_files
from sweep.bundles.manifest import Manifest
from sweep.bundles.pack import Packed, check_target, describe, seal
from sweep.bundles.renumbering import renumber, renumber_words
from sweep.bundles.rows import (
    add_study,
    add_trials,
    copy_attributes,
    copy_own,
    copy_trials,
    folder_number,
    left_by_trials,
    optunas,
    study_id,
    trial_rows,
    utc,
)
from sweep.bundles.temporary import temporary
from sweep.errors import SweepError
from sweep.expanding import EXPANSIONS, PROBES
from sweep.memory import MEMORY
from sweep.results import Results, trials_table
from sweep.store import FOLDER as ARTIFACTS
from sweep.study import IDENTITY, load_study
from sweep.trial_files import study_folder


@dataclass(frozen=True)
class Part:
    """One of the two bundles, unpacked.

    Attributes:
        bundle: The file.
        folder: Where it is unpacked.
        manifest: What is in it.
        database: Its database.
        study: Its study.
    """

    bundle: Path
    folder: Path
    manifest: Manifest
    database: RDBStorage
    study: optuna.Study

    def runs(self) -> list[Run]:
        """Its trials, by number."""
        rows = Results(self.database.engine, self.manifest.study).trials()
        begun = {row["trial_number"]: utc(row["started"]) for row in rows}
        return [Run(trial, begun.get(trial.number)) for trial in self.study.get_trials(deepcopy=False)]


@dataclass(frozen=True)
class Merged:
    """What came of merging: the new bundle, and what was done with the trials."""

    packed: Packed
    joined: Joined


def merge(first: Path, second: Path, bundle: Path) -> Merged:
    """Merges two bundles into a new one; neither is changed.

    Raises:
        SweepError: One of them is not good, they are not of one study, or the file cannot be written.
    """
    check_target(bundle)
    with temporary(bundle.absolute().parent, "merging") as folder:
        places = [folder / "first", folder / "second", folder / "merged"]
        for place in places:
            place.mkdir()
        manifests = [extract(file, place) for file, place in zip((first, second), places, strict=False)]
        with (
            opened_database(places[0] / DATABASE, manifests[0].study, first) as one,
            opened_database(places[1] / DATABASE, manifests[1].study, second) as other,
        ):
            ours = Part(first, places[0], manifests[0], one, load_study(one, manifests[0].study))
            theirs = Part(second, places[1], manifests[1], other, load_study(other, manifests[1].study))
            check_same(ours, theirs)
            joined = join(ours.runs(), theirs.runs())
            _join_rows(ours, theirs, joined, places[2] / DATABASE)
            for part, numbers in ((theirs, joined.second), (ours, joined.first)):
                _join_files(part, numbers, places[2])
        with opened_database(places[2] / DATABASE, manifests[0].study, bundle) as database:
            manifest = describe(load_study(database, manifests[0].study), places[2])
        size = seal(manifest, places[2], bundle)
    return Merged(Packed(bundle, manifest, size, ()), joined)


def check_same(ours: Part, theirs: Part) -> None:
    """Refuses to merge studies of different things.

    Raises:
        SweepError: They are; all differences are named.
    """
    before, now = ours.study.user_attrs[IDENTITY], identity_of(theirs.study)
    if before == theirs.study.user_attrs[IDENTITY]:
        return
    found = now.differences(before) if now is not None and identity_of(ours.study) is not None else []
    told = ", ".join(found) or "something else"
    raise SweepError(
        f"{ours.bundle} and {theirs.bundle} are not of one study: the second was made with {told}.\n"
        "Their losses would not compare. Unpack each under a name of its own: sweep unpack FILE --study NAME"
    )


def _join_rows(ours: Part, theirs: Part, joined: Joined, path: Path) -> None:
    """Makes the merged database."""
    name = ours.manifest.study
    folder = study_folder(Path(), name).as_posix()
    with (
        ours.database.engine.connect() as one,
        theirs.database.engine.connect() as other,
        new_database(path) as target,
    ):
        old = _id(one, name), _id(other, theirs.manifest.study)
        rows = trial_rows(one, old[0]), trial_rows(other, old[1])
        numbered = {joined.first[row["number"]]: row for row in rows[0] if row["number"] in joined.first}
        numbered |= {joined.second[row["number"]]: row for row in rows[1] if row["number"] in joined.second}
        study = add_study(one, target, old[0], name)
        ids = add_trials(target, study, [numbered[number] | {"number": number} for number in sorted(numbered)])
        # What refers to a trial that both have means the one that is kept of it.
        for source, part, which, numbers in ((one, ours, 0, joined.first), (other, theirs, 1, joined.second)):
            rewrite = functools.partial(renumber, joined.places) if which else None
            words = functools.partial(renumber_words, joined.places) if which else None
            moved = {row["trial_id"]: ids[numbers[row["number"]]] for row in rows[which] if row["number"] in numbers}
            copy_attributes(source, target, old[which], study, moved, rewrite, notes_alone=bool(which))
            copy_trials(source, target, moved, rewrite)
            copy_own(source, target, part.manifest.study, name, numbers, folder, words)
        _supersede(target, name, joined, ids)
        _join_attributes(target, study, ours, theirs, joined)


def _id(connection: Connection, name: str) -> int:
    found = study_id(connection, name)
    assert found is not None
    return found


def _supersede(target: Connection, name: str, joined: Joined, ids: Mapping[int, int]) -> None:
    """Lets lost runs of a trial count no more: the other machine's run of it does."""
    trials, table = optunas("trials"), trials_table
    for number in joined.superseded:
        where = trials.c.trial_id == ids[number]
        target.execute(sa.update(trials).where(where).values(state=TrialState.FAIL))
        own = sa.and_(table.c.study_name == name, table.c.trial_number == number)
        reason = "the other machine finished the trial that it went on with"
        target.execute(sa.update(table).where(own).values(state="failed", reason=reason))


def _join_attributes(target: Connection, study: int, ours: Part, theirs: Part, joined: Joined) -> None:
    """Joins what both studies have learnt: of devices' memory, and how far ranges have grown."""
    one, other = ours.study.user_attrs, theirs.study.user_attrs
    known: dict[str, Any] = {MEMORY: {**other.get(MEMORY, {}), **one.get(MEMORY, {})}}
    grown = one.get(EXPANSIONS, []), other.get(EXPANSIONS, [])
    # Growths build on each other: the longer row of them is taken as a whole.
    if len(grown[1]) > len(grown[0]):
        new = joined.places
        known[EXPANSIONS] = [
            growth | {"trials": [new.get(number, number) for number in growth["trials"]]} for growth in grown[1]
        ]
    probes = one.get(PROBES, [])
    known[PROBES] = [*probes, *(probe for probe in other.get(PROBES, []) if probe not in probes)]
    table = optunas("study_user_attributes")
    for key, value in known.items():
        if value:
            target.execute(sa.delete(table).where(table.c.study_id == study, table.c.key == key))
            target.execute(sa.insert(table).values(study_id=study, key=key, value_json=json.dumps(value)))


def _join_files(part: Part, numbers: Mapping[int, int], to: Path) -> None:
    """Moves the files of the trials that are taken from a bundle."""
    with part.database.engine.connect() as connection:
        trials = left_by_trials(connection, part.manifest.study)
    for left in trials:
        if left.number not in numbers:
            continue
        number = folder_number(left.folder)
        if number is not None and number in numbers:
            _move(part.folder / trial_files(number), to / trial_files(numbers[number]))
        for artifact in left.artifacts:
            _move(part.folder / ARTIFACTS / artifact, to / ARTIFACTS / artifact)


def _move(source: Path, target: Path) -> None:
    """Moves what is there, once: a trial and the one that goes on with its work have one folder."""
    if source.exists() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
