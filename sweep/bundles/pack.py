"""Packs a study, also while its trials run, into one file."""

import os
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from sweep.bundles.archive import manifest_of, write_archive
from sweep.bundles.database import opened_database, take
from sweep.bundles.gather import gather_artifact, gather_trial
from sweep.bundles.layout import DATABASE, is_allowed
from sweep.bundles.manifest import Manifest, file_facts
from sweep.bundles.rows import Left, folder_number
from sweep.bundles.temporary import temporary
from sweep.errors import SweepError
from sweep.machine import kept_machine, this_machine
from sweep.store import FOLDER as ARTIFACTS
from sweep.study import IDENTITY, load_study

# Times that files of trials which ended or began meanwhile are copied again, before what there is is taken.
ROUNDS = 5
UNFINISHED = (TrialState.RUNNING, TrialState.WAITING)


@dataclass(frozen=True)
class Packed:
    """What came of packing.

    Attributes:
        bundle: The file.
        manifest: What is in it.
        size: Its size in bytes.
        notes: What should be known besides.
    """

    bundle: Path
    manifest: Manifest
    size: int
    notes: tuple[str, ...]


def pack(storage: RDBStorage, name: str, output: Path, bundle: Path) -> Packed:
    """Packs one study: its rows, curves, logs, adapters, checkpoints of unfinished trials, and the dashboard's files.

    The database is copied after the files and compared with what it was before them: trials that changed their state
    meanwhile are copied again, so that rows and files are of one time.

    Args:
        storage: The study's database, which may be in use.
        name: The study's name.
        output: The sweep's output folder.
        bundle: The file to write; a bundle that is there is replaced.

    Raises:
        SweepError: There is no such study, it was made by another program, or the file cannot be written.
    """
    study = load_study(storage, name)
    if study.user_attrs.get(IDENTITY) is None:
        raise SweepError(f"study {name!r} was not made by this program; nothing can go on with it elsewhere")
    check_target(bundle)
    with temporary(bundle.absolute().parent, "packing") as folder:
        notes = _gather(storage, name, output, folder)
        with opened_database(folder / DATABASE, name, bundle) as database:
            manifest = describe(load_study(database, name), folder)
        size = seal(manifest, folder, bundle)
    return Packed(bundle, manifest, size, notes)


def check_target(bundle: Path) -> None:
    """Refuses to write over anything but a bundle.

    Raises:
        SweepError: There is something else, or no folder.
    """
    if not bundle.absolute().parent.is_dir():
        raise SweepError(f"no folder {bundle.parent}; give another file with --to")
    if bundle.exists():
        try:
            manifest_of(bundle)
        except SweepError as error:
            raise SweepError(f"{bundle} is there already and is no bundle; give another file with --to") from error


def describe(study: optuna.Study, folder: Path) -> Manifest:
    """The manifest of what lies in a folder."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = {name: file_facts(folder / name) for name in names if is_allowed(name)}
    return Manifest(
        study=study.study_name,
        packed=datetime.now(UTC).isoformat(timespec="seconds"),
        identity=study.user_attrs[IDENTITY],
        trials=Counter(trial.state.name.lower() for trial in study.get_trials(deepcopy=False)),
        machine=kept_machine(study) or this_machine(),
        files=files,
    )


def seal(manifest: Manifest, folder: Path, bundle: Path) -> int:
    """Writes a folder's files as a bundle, which appears under its name once it is whole; its size in bytes."""
    writing = folder / "bundle"
    write_archive(manifest, folder, writing)
    size = writing.stat().st_size
    os.replace(writing, bundle)
    return size


def _gather(storage: RDBStorage, name: str, output: Path, folder: Path) -> tuple[str, ...]:
    """Copies database and files into `folder`; what should be known of them."""
    copied: dict[int, TrialState] = {}
    notes: dict[int, str] = {}
    for _ in range(ROUNDS):
        changed = [left for left in take(storage, name, folder / DATABASE) if copied.get(left.number) != left.state]
        if not changed:
            break
        for left in changed:
            notes[left.number] = _gather_one(left, output, folder)
            copied[left.number] = left.state
    return tuple(note for note in notes.values() if note)


def _gather_one(left: Left, output: Path, folder: Path) -> str:
    for artifact in left.artifacts:
        name = f"{ARTIFACTS}/{artifact}"
        gather_artifact(output / name, name, folder)
    number = folder_number(left.folder)
    if left.folder is None or number is None:  # it has not begun, or was imported
        return ""
    return gather_trial(output / left.folder, number, folder, unfinished=left.state in UNFINISHED)
