"""What machines share of a study's trials: two folders stand for two machines."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState

from sweep.errors import SweepError
from sweep.fetching import bring_adapter
from sweep.file_sets import MANIFEST, put_set, read_set
from sweep.results import Results
from sweep.shared import ADAPTERS, STATES, SharedTrials, newest_step, study_place
from sweep.store import Store, StoreFault, open_store
from sweep.study import IDENTITY
from sweep.trial_files import LOG, trial_folder
from sweep.uploads import Uploads
from tests.sweep.fakes import new_storage
from tests.sweep.s3 import s3, s3_endpoint
from trials.adapter_files import check_adapter, save_adapter
from trials.checkpoint import load_checkpoint, save_checkpoint
from trials.config import TrialConfig
from trials.folders import ADAPTER, CHECKPOINT

__all__ = ["s3", "s3_endpoint"]

CONFIG = TrialConfig()


def write_adapter(folder: Path, content: int) -> None:
    def write(to: Path) -> None:
        header = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
        (to / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes([content]))
        (to / "adapter_config.json").write_text('{"base_model_name_or_path": "/models/base"}')

    save_adapter(folder, write)


def train_to(folder: Path, step: int) -> None:
    """What a worker leaves in a trial's folder at an evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    write_adapter(folder, step)
    save_checkpoint(folder, {"weights": torch.full((50, 10), float(step))}, {"step": step, "config": "…"})
    with (folder / LOG).open("a") as file:
        file.write(f'{{"current_steps": {step}, "loss": 1.0, "lr": 1e-3}}\n')


class Machine:
    """One machine's folder on a study that all share."""

    def __init__(self, output: Path, store: Store, study: optuna.Study, results: Results) -> None:
        self.output, self.study, self.told = output, study, list[str]()
        self.uploads = Uploads(self.told.append)
        self.shared = SharedTrials(store, self.uploads, study, results, keep_adapters=1)

    def folder(self, number: int) -> Path:
        folder = trial_folder(self.output, "demo", number)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def train(self, number: int, *steps: int) -> None:
        for step in steps:
            train_to(self.folder(number), step)
            self.shared.send(self.folder(number), CONFIG)
        self.uploads.finish()

    def fetch(self, number: int) -> bool:
        return self.shared.fetch(self.folder(number), CONFIG)

    def step(self, number: int) -> int | None:
        """The step that a worker would go on from; its tensors and the adapter must be of it."""
        checkpoint = load_checkpoint(self.folder(number))
        if checkpoint is None:
            return None
        step = int(checkpoint.values["step"])
        assert torch.equal(checkpoint.tensors["weights"], torch.full((50, 10), float(step)))
        check_adapter(self.folder(number) / ADAPTER)
        assert (self.folder(number) / ADAPTER / "adapter_model.safetensors").read_bytes()[-1] == step
        return step

    def tidy(self, number: int) -> None:
        self.shared.tidy(self.study, self.folder(number), CONFIG)
        self.uploads.finish()


class Shared:
    """A study, its store and its machines."""

    def __init__(self, tmp_path: Path, address: str) -> None:
        self.tmp_path, self.address = tmp_path, address
        self.store = open_store(address, tmp_path)
        storage = new_storage(tmp_path / "sweep.db")
        self.study = optuna.create_study(storage=storage, study_name="demo")
        self.study.set_user_attr(IDENTITY, {"seed": 7})
        self.results = Results(storage.engine, "demo")
        self.place = study_place("demo", {"seed": 7})

    def machine(self, name: str) -> Machine:
        return Machine(self.tmp_path / name, self.store, self.study, self.results)

    def begin(self) -> optuna.Trial:
        trial = self.study.ask()
        folder = trial_folder(Path(), "demo", trial.number).as_posix()
        self.results.start_trial(trial.number, CONFIG, {}, folder, 10)
        return trial

    def end(self, trial: optuna.Trial, value: float) -> None:
        self.results.end_trial(trial.number, "complete", value=value)
        self.study.tell(trial, value)

    def there(self, kind: str) -> list[int]:
        """The numbers of the trials of which something is in the store."""
        names = {Path(key).parent.name for key in self.store.sizes(f"{kind}/{self.place}")}
        return sorted(int(name.split("-")[0]) for name in names)

    def key(self, name: str) -> str:
        """The only file of that name's place in the states."""
        (found,) = (key for key in self.store.sizes(STATES) if name in key)
        return found


@pytest.fixture(params=["folder", "s3"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Shared:
    address = str(tmp_path / "shared") if request.param == "folder" else request.getfixturevalue("s3")
    return Shared(tmp_path, address)


@pytest.fixture
def folder(tmp_path: Path) -> Shared:
    return Shared(tmp_path, str(tmp_path / "shared"))


# --- states of running trials


def test_a_trial_goes_on_elsewhere_from_its_newest_state(shared: Shared) -> None:
    shared.begin()
    first, second = shared.machine("first"), shared.machine("second")
    first.train(0, 2, 4)
    assert second.fetch(0)
    assert second.step(0) == 4
    assert len((second.folder(0) / LOG).read_text().splitlines()) == 2
    assert sorted(path.name for path in second.folder(0).iterdir()) == sorted([ADAPTER, CHECKPOINT, LOG])
    second.train(0, 6)
    assert first.fetch(0)  # its own is older by now
    assert first.step(0) == 6
    assert not first.fetch(0)


def test_nothing_is_fetched_where_nothing_was_sent(shared: Shared) -> None:
    machine = shared.machine("first")
    assert not machine.fetch(0)
    assert list(machine.folder(0).iterdir()) == []


def test_the_store_holds_one_state_and_no_more(shared: Shared) -> None:
    shared.begin()
    shared.machine("first").train(0, 2, 4, 6)
    # Two of the checkpoint, three of the adapter, the log and the manifest.
    assert len(shared.store.sizes(STATES)) == 7


@pytest.mark.parametrize("kind", ["another study", "other settings"])
def test_what_is_of_something_else_is_not_taken(folder: Shared, kind: str) -> None:
    folder.begin()
    folder.machine("first").train(0, 2)
    second = folder.machine("second")
    if kind == "another study":
        folder.study.set_user_attr(IDENTITY, {"seed": 8})
        assert not folder.machine("second").fetch(0)
    else:
        assert not second.shared.fetch(second.folder(0), TrialConfig(lora_rank=4))


@pytest.mark.parametrize("harm", ["cut off", "flipped", "gone", "manifest cut off", "manifest gone", "manifest odd"])
def test_a_damaged_state_is_not_taken(folder: Shared, harm: str) -> None:
    folder.begin()
    folder.machine("first").train(0, 2)
    sizes = folder.store.sizes(STATES)
    key = folder.key(MANIFEST) if "manifest" in harm else max(sizes, key=lambda key: sizes[key])
    file = Path(folder.address) / key
    if "gone" in harm:
        file.unlink()
    else:
        data = file.read_bytes()
        file.write_bytes(
            {"c": data[:-3], "f": data[:-1] + b"\xff", "o": b'{"step": 9, "files": 7}'}[harm.split()[-1][0]]
        )
    second = folder.machine("second")
    assert not second.fetch(0)
    assert list(second.folder(0).iterdir()) == []


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "a/../../escaped", ".hidden", "a//b", "a\\b", ""])
def test_no_name_in_a_manifest_leads_out_of_the_folder(folder: Shared, name: str) -> None:
    folder.begin()
    folder.machine("first").train(0, 2)
    file = Path(folder.address) / folder.key(MANIFEST)
    read = json.loads(file.read_text())
    read["files"][name] = next(iter(read["files"].values()))
    file.write_text(json.dumps(read))
    assert not folder.machine("second").fetch(0)


def test_a_state_that_is_cut_off_while_it_is_sent_leaves_the_one_before(
    folder: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.begin()
    first = folder.machine("first")
    first.train(0, 2)
    put, puts = Store.put, list[str]()

    def cut(store: Store, key: str, content: Path | bytes) -> None:
        puts.append(key)
        if len(puts) == 3:
            raise StoreFault("connection cut")
        put(store, key, content)

    monkeypatch.setattr(Store, "put", cut)
    first.train(0, 4)
    assert first.told == ["connection cut"]
    second = folder.machine("second")
    assert second.fetch(0)
    assert second.step(0) == 2


def test_a_file_that_was_cut_off_in_the_store_is_sent_again(folder: Shared) -> None:
    folder.begin()
    first, second = folder.machine("first"), folder.machine("second")
    first.train(0, 2)
    sizes = folder.store.sizes(STATES)
    largest = Path(folder.address) / max(sizes, key=lambda key: sizes[key])
    largest.write_bytes(largest.read_bytes()[:-9])
    first.shared.send(first.folder(0), CONFIG)
    first.uploads.finish()
    assert second.fetch(0)
    assert second.step(0) == 2


def test_a_checkpoint_that_is_not_whole_is_not_sent(folder: Shared) -> None:
    folder.begin()
    first = folder.machine("first")
    first.train(0, 2)
    train_to(first.folder(0), 4)
    (first.folder(0) / CHECKPOINT / "tensors.safetensors").write_bytes(b"half")
    first.shared.send(first.folder(0), CONFIG)
    first.uploads.finish()
    second = folder.machine("second")
    assert second.fetch(0)
    assert second.step(0) == 2


# --- what is kept


def test_of_ended_trials_the_best_adapter_is_kept_and_no_state(shared: Shared) -> None:
    machine = shared.machine("first")
    trials = [shared.begin() for _ in range(3)]
    for trial in trials:
        machine.train(trial.number, 2)
    assert shared.there(STATES) == [0, 1, 2]
    for trial, value in zip(trials[:2], (2.0, 3.0), strict=True):
        shared.end(trial, value)
        machine.tidy(trial.number)
    assert shared.there(STATES) == [2]
    assert shared.there(ADAPTERS) == [0]
    shared.end(trials[2], 1.0)
    machine.tidy(2)
    assert shared.there(STATES) == []
    assert shared.there(ADAPTERS) == [2]


def test_what_another_machine_needs_is_left(folder: Shared) -> None:
    first, second = folder.machine("first"), folder.machine("second")
    mine, other = folder.begin(), folder.begin()
    first.train(0, 2)
    second.train(1, 2)
    folder.study._storage.set_trial_state_values(other._trial_id, TrialState.WAITING)  # parked, or interrupted
    folder.end(mine, 2.0)
    first.tidy(0)
    assert folder.there(STATES) == [1]


def test_the_state_of_a_lost_machines_trial_is_left_for_the_one_that_goes_on(folder: Shared) -> None:
    first = folder.machine("first")
    lost, mine = folder.begin(), folder.begin()
    first.train(0, 2)
    first.train(1, 2)
    folder.study.tell(lost, state=TrialState.FAIL)
    optuna.storages.RetryHeartbeatStaleTrialCallback()(folder.study, folder.study.trials[0])
    folder.end(mine, 2.0)
    first.tidy(1)
    assert folder.there(STATES) == [0]


def test_the_adapter_that_a_machine_has_of_a_trial_that_ended_elsewhere_is_not_sent(folder: Shared) -> None:
    first, second = folder.machine("first"), folder.machine("second")
    trial = folder.begin()
    first.train(0, 2)
    assert second.fetch(0)
    second.train(0, 4)
    folder.end(trial, 2.0)
    second.tidy(0)
    other = folder.begin()
    folder.end(other, 3.0)
    first.tidy(1)
    row = folder.results.trials()[0]
    bring_adapter(row, folder.study, first.output, folder.address)  # in the place of its own, which is older
    assert (first.folder(0) / ADAPTER / "adapter_model.safetensors").read_bytes()[-1] == 4


def test_an_adapter_is_brought_to_a_machine_that_has_no_folder(shared: Shared) -> None:
    trial, first = shared.begin(), shared.machine("first")
    first.train(0, 2)
    shared.end(trial, 2.0)
    first.tidy(0)
    output = shared.tmp_path / "new"
    bring_adapter(shared.results.trials()[0], shared.study, output, shared.address)
    check_adapter(trial_folder(output, "demo", 0) / ADAPTER)


def test_an_adapter_that_cannot_be_brought_is_told_in_a_line(folder: Shared) -> None:
    trial, first = folder.begin(), folder.machine("first")
    first.train(0, 2)
    folder.end(trial, 2.0)
    first.tidy(0)
    (folder.tmp_path / "file").touch()
    with pytest.raises(SweepError, match=r"cannot write to .*/file/demo/trials/00000: Not a directory"):
        bring_adapter(folder.results.trials()[0], folder.study, folder.tmp_path / "file", folder.address)


# --- a store that fails


def test_a_store_that_fails_is_told_once_and_stops_nothing(folder: Shared) -> None:
    folder.begin()
    first = folder.machine("first")
    Path(folder.address).write_text("a file where the folder was")
    first.train(0, 2, 4)
    assert not first.fetch(0)
    first.tidy(0)
    assert len(first.told) == 1
    assert first.step(0) == 4


def test_a_store_that_comes_back_is_used_again(folder: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.uploads.PAUSE_SECONDS", 0.0)
    folder.begin()
    first, second = folder.machine("first"), folder.machine("second")
    Path(folder.address).write_text("")
    first.train(0, 2)
    Path(folder.address).unlink()
    first.train(0, 4)
    assert second.fetch(0)
    assert second.step(0) == 4


def test_training_does_not_wait_for_the_store(folder: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    folder.begin()
    first, go = folder.machine("first"), threading.Event()
    put: Callable[..., Any] = Store.put

    def slow(*arguments: Any) -> None:
        assert go.wait(60)
        put(*arguments)

    monkeypatch.setattr(Store, "put", slow)
    for step in (2, 4, 6):
        train_to(first.folder(0), step)
        first.shared.send(first.folder(0), CONFIG)  # returns though nothing can be written
    go.set()
    first.uploads.finish()
    assert newest_step(first.folder(0)) == 6
    second = folder.machine("second")
    assert second.fetch(0)
    assert second.step(0) == 6


def test_a_set_of_a_place_replaces_the_one_before(folder: Shared, tmp_path: Path) -> None:
    for step, text in ((1, "one"), (2, "two")):
        (tmp_path / "file").write_text(text)
        put_set(folder.store, "states/x", {"file": tmp_path / "file"}, step)
    found = read_set(folder.store, "states/x")
    assert found is not None
    assert found.step == 2
    assert len(folder.store.sizes("states/x")) == 2
    shutil.rmtree(folder.address)
    assert read_set(folder.store, "states/x") is None
