"""Studies to pack, with everything that a study can have, and all that is told of one, to compare."""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from optuna_dashboard import get_note

from sweep.artist import Picture
from sweep.bundles.pack import Packed, pack
from sweep.bundles.rows import utc
from sweep.errors import TrialFailed, TrialInterrupted
from sweep.results import Results
from sweep.storage import open_storage
from sweep.store import open_store
from sweep.study import load_study
from tests.sweep.fakes import Event, FakeSweep, curve, moved
from trials.checkpoint_files import CHECKSUM, STATE, TENSORS
from trials.folders import ADAPTER, CHECKPOINT


def write_checkpoint(folder: Path, content: str = "tensors", name: str = CHECKPOINT) -> None:
    """A checkpoint as far as its files tell; no worker could load its tensors."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / TENSORS).write_text(content)
    digest = hashlib.sha256(content.encode()).hexdigest()
    (folder / name / STATE).write_text(json.dumps({CHECKSUM: digest}))


class QuickArtist:
    """Draws at once, and nothing to look at: a process that really draws takes seconds to start."""

    def draw(self, picture: Picture) -> None:
        picture.path.write_bytes(f"picture of {picture.settings['title']}".encode())
        open_store(picture.store, picture.output).put(picture.copy, picture.path)

    def finish(self) -> tuple[str, str]:
        return "", ""


def sweep_in(folder: Path, *plays: Sequence[Event]) -> FakeSweep:
    """A study that prunes nothing by itself and draws quickly."""
    folder.mkdir(parents=True, exist_ok=True)
    sweep = FakeSweep(folder, *plays, pruner="none")
    sweep.session.artifacts._artist = QuickArtist()  # type: ignore[assignment]
    return sweep


def play_all(folder: Path) -> FakeSweep:
    """A sweep with two complete trials, a failed, a pruned, a running and a waiting one."""
    breaks: list[Event] = [moved(1), *curve(3.0), TrialFailed("it broke", "Traceback …")]
    sweep = sweep_in(
        folder,
        [moved(1), *curve(3.0, 2.5, 2.4, 2.3, 2.2)],
        [moved(1), *curve(3.1, 2.6, 2.5, 2.4, 2.3)],
        *[breaks] * 3,  # it is tried twice more
        [moved(1), *curve(3.0, 9.0, 9.5, 9.8, 9.9)],
        [moved(1), *curve(2.9, 2.4), TrialInterrupted()],
    )
    for _ in range(4):
        sweep.run(1)
    with pytest.raises(TrialInterrupted):
        sweep.run(1)
    write_checkpoint(sweep.folder(4))
    sweep.study.enqueue_trial({"learning_rate": 0.004, "lora_rank": 16}, user_attrs={"advice": None})
    for number in (0, 1, 4):
        (sweep.folder(number) / ADAPTER / "adapter_model.safetensors").write_text(f"weights {number}")
    return sweep


def packed(sweep: FakeSweep, bundle: Path) -> Packed:
    return pack(sweep.storage, "demo", sweep.output, bundle)


def go_on(folder: Path, *plays: Sequence[Event], name: str = "demo") -> FakeSweep:
    """The study that was unpacked into `folder`, going on as a sweep would."""
    sweep = sweep_in(Path(tempfile.mkdtemp(dir=folder)), *plays)
    sweep.output = sweep.session.output = folder / "runs"
    sweep.storage = open_storage(str(folder / "sweep.db"), create=False)
    sweep.study = optuna.load_study(study_name=name, storage=sweep.storage, sampler=sweep.study.sampler)
    sweep.study.pruner = optuna.pruners.NopPruner()
    sweep.results = sweep.session.results = Results(sweep.storage.engine, name)
    return sweep


@dataclass
class Told:
    """All that is told of a study, by no id of a database."""

    study: dict[str, Any]
    trials: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    curves: list[list[Any]]
    diagnoses: dict[int, Any]
    machines: dict[int, str | None]


def told(storage: RDBStorage, name: str = "demo") -> Told:
    study, results = load_study(storage, name), Results(storage.engine, name)
    trials = []
    for trial in study.get_trials():
        told = {key.lstrip("_"): value for key, value in vars(trial).items() if key != "_trial_id"}
        told["note"] = get_note(optuna.Trial(study, trial._trial_id))
        trials.append(told)
    rows = []
    for row in results.trials():
        rows.append(row | {"study_name": "", "started": utc(row["started"]), "ended": utc(row["ended"])})
    attributes = {"user": study.user_attrs, "directions": study.directions, "metric": study.metric_names}
    curves = [list(results.curve(row["trial_number"]).reports) for row in rows]
    return Told(attributes, trials, rows, curves, results.diagnoses(), results.machines())


def at_rest(told: Told) -> Told:
    """The same, once nothing runs: as it is after it was copied."""
    for trial in told.trials:
        if trial["state"] == TrialState.RUNNING:
            trial["state"] = TrialState.WAITING
    for row in told.rows:
        if row["state"] == "running":
            row |= {
                "state": "interrupted",
                "reason": "was running when the study was packed: the next run goes on with it",
            }
    return told


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
