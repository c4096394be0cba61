"""Unpacks a study into a database and an output folder, where the same `sweep run` line goes on with it."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from sqlalchemy.exc import IntegrityError

from sweep.bundles.archive import extract
from sweep.bundles.database import opened_database
from sweep.bundles.layout import DATABASE, TRIALS
from sweep.bundles.manifest import Manifest
from sweep.bundles.rows import copy_study
from sweep.bundles.temporary import nearest, temporary
from sweep.confirm import CONFIRMS
from sweep.errors import SweepError
from sweep.machine import this_machine
from sweep.storage import open_storage, parse_url
from sweep.store import FOLDER as ARTIFACTS
from sweep.study import FROM, SOURCE, load_study
from sweep.trial_files import study_folder

# In a study's folder while its rows are not in the database yet: says which database that is.
MARKER = ".unpacking"


@dataclass(frozen=True)
class Unpacked:
    """What came of unpacking.

    Attributes:
        study: The study's name here.
        manifest: What was in the bundle.
        differences: What differs on this machine, in words.
        needs: Other studies that this one refers to and that are not here.
    """

    study: str
    manifest: Manifest
    differences: tuple[str, ...]
    needs: tuple[str, ...]


def unpack(bundle: Path, storage_url: str, output: Path, name: str = "") -> Unpacked:
    """Unpacks a bundle. Nothing appears in database or output folder before all of it is known to be good.

    Args:
        bundle: The file.
        storage_url: Where the study goes: a SQLite file or a database's address.
        output: Where its files go.
        name: The study's name here; empty for the one that it had.

    Raises:
        SweepError: The bundle is not good, or there is a study of that name.
    """
    with temporary(nearest(output), "unpacking", also=nearest(output.absolute().parent)) as folder:
        manifest = extract(bundle, folder)
        name = name or manifest.study
        with opened_database(folder / DATABASE, manifest.study, bundle) as source:
            storage = open_storage(storage_url, create=True)
            try:
                names = optuna.get_all_study_names(storage)
                if name in names:
                    raise _taken(name)
                _clear_leftover(study_folder(output, name), storage_url)
                _install(source, storage, manifest.study, name, folder, output, storage_url)
                needs = _needs(load_study(storage, name), names)
            finally:
                storage.engine.dispose()
    return Unpacked(name, manifest, tuple(this_machine().differences(manifest.machine)), needs)


def _install(
    source: RDBStorage, storage: RDBStorage, old: str, name: str, folder: Path, output: Path, storage_url: str
) -> None:
    """Puts files and rows in their places: the files last before the one commit that makes the study appear."""
    target = study_folder(output, name)
    relative = target.relative_to(output).as_posix()
    try:
        with source.engine.connect() as reading, storage.engine.connect() as writing:
            copy_study(reading, writing, old, name, relative)
            with _placed(folder, target, output / ARTIFACTS, storage_url):
                # Within `_placed`, so that a commit that fails takes the files back.
                writing.commit()
    except IntegrityError as error:
        raise _taken(name) from error
    (target / MARKER).unlink()


@contextmanager
def _placed(folder: Path, target: Path, artifacts: Path, storage_url: str) -> Iterator[None]:
    """Moves a study's files into their places, and back out of them when what follows fails."""
    study = folder / "study"
    study.mkdir()
    if (folder / TRIALS).exists():
        os.replace(folder / TRIALS, study / TRIALS)
    found = sorted((folder / ARTIFACTS).iterdir()) if (folder / ARTIFACTS).exists() else []
    # One that is there is the same: their names are drawn by chance once.
    new = [file.name for file in found if not (artifacts / file.name).exists()]
    (study / MARKER).write_text(json.dumps({"storage": _digest(storage_url), "artifacts": new}), encoding="utf8")
    artifacts.mkdir(parents=True, exist_ok=True)
    os.rename(study, target)
    try:
        for artifact in new:
            os.replace(folder / ARTIFACTS / artifact, artifacts / artifact)
        yield
    except BaseException:
        _remove(target, artifacts, new)
        raise


def _clear_leftover(target: Path, storage_url: str) -> None:
    """Clears away what an unpack that was killed in the middle left of a study that is not in the database.

    Raises:
        SweepError: There is a folder that no such unpack left.
    """
    if not target.exists() and not target.is_symlink():
        return
    try:
        marked = json.loads((target / MARKER).read_text(encoding="utf8"))
        mine, artifacts = marked["storage"] == _digest(storage_url), marked["artifacts"]
    except (OSError, ValueError, KeyError, TypeError):
        mine, artifacts = False, []
    if not mine:
        raise SweepError(
            f"the folder {target} is there already, of a study that is not in this database. Give this one another "
            "name with --study NAME, or another --output"
        )
    _remove(target, target.parent / ARTIFACTS, artifacts)


def _remove(target: Path, artifacts: Path, names: list[str]) -> None:
    for name in names:
        with contextlib.suppress(OSError):
            (artifacts / Path(name).name).unlink()
    shutil.rmtree(target, ignore_errors=True)


def _taken(name: str) -> SweepError:
    return SweepError(
        f"there is a study named {name!r} already; give this one another name: --study {name}-2\n"
        "To have the trials of both in one, pack that one too and merge the two: sweep merge A.tar B.tar"
    )


def _digest(storage_url: str) -> str:
    """Tells databases apart without a word of their addresses; a password has no part in it."""
    url = parse_url(storage_url)
    place = os.path.abspath(url.database) if url.get_backend_name() == "sqlite" and url.database else url.database
    return hashlib.sha256(f"{url.get_backend_name()} {url.host} {url.port} {place}".encode()).hexdigest()


def _needs(study: optuna.Study, present: list[str]) -> tuple[str, ...]:
    """Studies that this one begins from or confirms, and that are not there."""
    begun = (study.user_attrs.get(SOURCE) or {}).get(FROM) or {}
    confirmed = study.user_attrs.get(CONFIRMS) or {}
    named = (begun.get("study"), confirmed.get("study"))
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str) and name not in present))
