"""What machines share of a study's trials by a store: the state of those that run, and the adapters that are kept.

A trial's newest state is sent there after each evaluation; whoever goes on with it fetches it, if the own folder has
none that is as new. A state holds what a folder needs to go on: checkpoint, best adapter and log. It is anybody's who
runs this very trial: its place is named by what the study is of and by the trial's settings, so that all that was ever
sent there is a right state of it, whoever was last to send one.
"""

import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna

from sweep.artifacts import Artifacts
from sweep.file_sets import delete_set, fetch_set, places, put_set, read_set
from sweep.kept import best_rows, unended
from sweep.results import Results
from sweep.store import Store, StoreFault
from sweep.study import IDENTITY
from sweep.trial_files import LOG, study_folder
from sweep.uploads import Uploads
from trials.checkpoint_files import STATE, TENSORS, is_whole
from trials.config import TrialConfig
from trials.folders import ADAPTER, CHECKPOINT

STATES, ADAPTERS = "states", "adapters"
# Attempts to take a checkpoint while the run puts the next one in its place.
_TRIES = 3


class SharedTrials:
    """A study's part of a store. Only `fetch` waits for it; what is sent goes through the uploads."""

    def __init__(
        self, store: Store, uploads: Uploads, study: optuna.Study, results: Results, keep_adapters: int
    ) -> None:
        self._store, self._uploads, self._results, self._keep = store, uploads, results, keep_adapters
        self._study = study_place(study.study_name, study.user_attrs.get(IDENTITY))
        self._adapters: dict[str, Path] = {}
        self._lock = threading.Lock()

    def send(self, folder: Path, config: TrialConfig) -> None:
        """Has a running trial's newest state sent."""
        place = self._place(STATES, folder, config)
        self._uploads.put(place, lambda: self._send(place, folder))

    def fetch(self, folder: Path, config: TrialConfig) -> bool:
        """Gets a trial's state into its folder, if that has none that is as new; whether it did."""
        place = self._place(STATES, folder, config)
        try:
            found = read_set(self._store, place)
            if found is None or found.step <= newest_step(folder):
                return False
            with _emptied(folder / ".fetched") as temporary:
                fetched = temporary / "state"
                if not fetch_set(self._store, place, found, fetched) or not is_whole(fetched / CHECKPOINT):
                    return False
                # The checkpoint last: with it the folder is one to go on in.
                for name in (ADAPTER, LOG, CHECKPOINT):
                    _move(fetched / name, folder / name)
            return True
        except StoreFault as fault:
            self._uploads.fail(str(fault))
            return False

    def tidy(self, study: optuna.Study, folder: Path, config: TrialConfig) -> None:
        """Has the store hold the adapters of the best trials, and the states of those alone that are not over.

        Args:
            study: Optuna's.
            folder: That of a trial that has ended here and is told.
            config: Its settings.
        """
        with self._lock:
            self._adapters[self._place(ADAPTERS, folder, config)] = folder / ADAPTER
        self._uploads.put("tidy", lambda: self._tidy(study))

    def _send(self, place: str, folder: Path) -> None:
        with _emptied(folder / ".sending") as temporary:
            files = _snapshot(folder, temporary / "state")
            if files:
                put_set(self._store, place, files, _step(files[f"{CHECKPOINT}/{STATE}"]))

    def _tidy(self, study: optuna.Study) -> None:
        # What is there is looked at before what should be: what another machine sends in between is not looked at.
        states = places(self._store, f"{STATES}/{self._study}")
        adapters = places(self._store, f"{ADAPTERS}/{self._study}")
        alive = unended(study)
        for place in states:
            if _number(place) not in alive:
                delete_set(self._store, place)
        best = {place_of(ADAPTERS, self._study, row) for row in best_rows(self._results.trials(), self._keep)}
        for place in adapters - best:
            delete_set(self._store, place)
        with self._lock:
            here = {place: folder for place, folder in self._adapters.items() if place in best}
        for place, folder in here.items():
            if place not in adapters:
                put_set(self._store, place, {path.name: path for path in folder.iterdir()}, 0)

    def _place(self, kind: str, folder: Path, config: TrialConfig) -> str:
        return _trial_place(kind, self._study, folder.name, config)


def share(artifacts: Artifacts, study: optuna.Study, results: Results, keep_adapters: int) -> SharedTrials | None:
    """A study's part of the store that its artifacts go to; None where that is just the folder beside the studies."""
    if not artifacts.store.shared:
        return None
    return SharedTrials(artifacts.store, artifacts.uploads, study, results, keep_adapters)


def study_place(name: str, identity: Mapping[str, Any] | None) -> str:
    """A study's part of a store: no two studies of one name share one, unless they are of the same."""
    text = json.dumps(identity, sort_keys=True)
    return f"{study_folder(Path(), name)}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def place_of(kind: str, study: str, row: Mapping[str, Any]) -> str:
    """The place of a trial.

    Args:
        kind: `STATES` or `ADAPTERS`.
        study: As `study_place` gave it.
        row: The trial's row of `sweep_trials`.
    """
    return _trial_place(kind, study, Path(row["folder"]).name, TrialConfig.from_dict(row["config"]))


def fetch_adapter(store: Store, study: str, row: Mapping[str, Any], folder: Path) -> bool:
    """Gets a trial's adapter into its folder, unless that holds the same one; whether there is one in the store.

    Args:
        store: Where from.
        study: As `study_place` gave it.
        row: The trial's row of `sweep_trials`.
        folder: The trial's folder.

    Raises:
        StoreFault: The store failed.
        OSError: The folder cannot be written.
    """
    place = place_of(ADAPTERS, study, row)
    found = read_set(store, place)
    if found is None:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    with _emptied(folder / ".fetched") as temporary:
        fetched = temporary / ADAPTER
        if not fetch_set(store, place, found, fetched):
            return False
        _move(fetched, folder / ADAPTER)
    return True


def newest_step(folder: Path) -> int:
    """The optimizer step of a folder's newest whole checkpoint; -1 when it has none."""
    checkpoint = folder / CHECKPOINT
    return _step(checkpoint / STATE) if is_whole(checkpoint) else -1


def _trial_place(kind: str, study: str, folder: str, config: TrialConfig) -> str:
    return f"{kind}/{study}/{folder}-{config.fingerprint()}"


def _number(place: str) -> int:
    """The number in a place's name; -1 in one that is none of ours."""
    digits = place.rsplit("/", 1)[-1].split("-")[0]
    return int(digits) if digits.isdecimal() else -1


def _step(state: Path) -> int:
    try:
        return int(json.loads(state.read_text(encoding="utf8"))["step"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return -1


def _snapshot(folder: Path, to: Path) -> dict[str, Path]:
    """The files of a run's state as they are now, by name; none where it has no whole checkpoint.

    A run never writes into the files of a checkpoint or an adapter, but puts others in their place: links keep these.
    """
    for _ in range(_TRIES):
        shutil.rmtree(to, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            files = _links(folder / CHECKPOINT, to / CHECKPOINT, [TENSORS, STATE])
            if not is_whole(to / CHECKPOINT):
                continue
            if (folder / ADAPTER).is_dir():
                files |= _links(folder / ADAPTER, to / ADAPTER, os.listdir(folder / ADAPTER))
            if (folder / LOG).is_file():
                shutil.copyfile(folder / LOG, to / LOG)
                files[LOG] = to / LOG
            return files
    return {}


def _links(source: Path, to: Path, names: list[str]) -> dict[str, Path]:
    to.mkdir(parents=True)
    for name in names:
        try:
            os.link(source / name, to / name)
        except FileNotFoundError:
            raise
        except OSError:  # a file system without links
            shutil.copyfile(source / name, to / name)
    return {f"{to.name}/{name}": to / name for name in names}


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """A folder for a while, without what a process that was killed left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    """Puts a file or folder in the place of another; does nothing when there is none."""
    if not source.exists():
        return
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(source, target)
