"""What is packed comes out as it was, elsewhere, and goes on."""

import json
import shutil
import tarfile
import threading
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from sweep.bundles import gather
from sweep.bundles import pack as packing
from sweep.bundles.archive import manifest_of
from sweep.bundles.layout import is_allowed
from sweep.bundles.pack import pack
from sweep.bundles.rows import Left
from sweep.bundles.unpack import unpack
from sweep.errors import SweepError
from sweep.storage import open_storage
from sweep.study import SOURCE
from tests.sweep.bundles.studies import at_rest, files_below, go_on, packed, sweep_in, told, write_checkpoint
from tests.sweep.fakes import FakeSweep, curve
from trials.folders import ADAPTER, CHECKPOINT, CHECKPOINT_BEFORE


def storage_at(folder: Path) -> str:
    return str(folder / "sweep.db")


def test_a_study_comes_out_as_it_was(played: FakeSweep, bundle: Path, tmp_path: Path) -> None:
    unpacked = unpack(bundle, storage_at(tmp_path), tmp_path / "runs")
    assert (unpacked.study, unpacked.differences, unpacked.needs) == ("demo", (), ())
    here = open_storage(storage_at(tmp_path), create=False)
    assert told(here) == at_rest(told(played.storage))
    assert told(here).diagnoses, "nothing is compared that is not there"


def test_its_files_come_out_as_they_were(played: FakeSweep, bundle: Path, tmp_path: Path) -> None:
    unpack(bundle, storage_at(tmp_path), tmp_path / "runs")
    before, after = files_below(played.output), files_below(tmp_path / "runs")
    finished_checkpoints = {name for name in before if "/checkpoint/" in name and "00004" not in name}
    assert after == {name: content for name, content in before.items() if name not in finished_checkpoints}
    assert "demo/trials/00004/checkpoint/state.json" in after
    assert any(name.startswith("artifacts/") for name in after)


def test_a_trial_that_ran_goes_on_under_its_number(bundle: Path, tmp_path: Path) -> None:
    unpack(bundle, storage_at(tmp_path), tmp_path / "runs")
    sweep = go_on(tmp_path, curve(2.9, 2.4, 2.3, 2.25, 2.0))
    sweep.run(1)
    assert (sweep.trial(4).state, sweep.trial(4).value) == (TrialState.COMPLETE, 2.0)
    assert [point.eval_loss for point in sweep.results.curve(4).reports] == [2.9, 2.4, 2.3, 2.25, 2.0]
    assert sweep.launcher.started[0][1] == tmp_path / "runs" / "demo" / "trials" / "00004"


def test_under_another_name_beside_the_first(bundle: Path, tmp_path: Path) -> None:
    unpack(bundle, storage_at(tmp_path), tmp_path / "runs")
    unpack(bundle, storage_at(tmp_path), tmp_path / "runs", "../other <b>'; drop table trials; --")
    here = open_storage(storage_at(tmp_path), create=False)
    one, other = told(here), told(here, "../other <b>'; drop table trials; --")
    assert [row.pop("folder") for row in other.rows] != [row.pop("folder") for row in one.rows]
    assert one == other
    assert not (tmp_path / "other").exists()
    folders = {path.name for path in (tmp_path / "runs").iterdir()}
    assert len(folders) == 3
    assert "demo" in folders


def test_a_name_that_is_taken_is_refused_with_what_to_do(bundle: Path, tmp_path: Path) -> None:
    unpack(bundle, storage_at(tmp_path), tmp_path / "runs")
    before = files_below(tmp_path / "runs")
    with pytest.raises(SweepError, match=r"there is a study named 'demo' already; .*--study demo-2\n.*sweep merge"):
        unpack(bundle, storage_at(tmp_path), tmp_path / "runs")
    assert files_below(tmp_path / "runs") == before


def test_a_folder_of_another_databases_study_is_not_touched(bundle: Path, tmp_path: Path) -> None:
    unpack(bundle, storage_at(tmp_path), tmp_path / "runs")
    before = files_below(tmp_path / "runs")
    with pytest.raises(SweepError, match="is there already, of a study that is not in this database"):
        unpack(bundle, str(tmp_path / "another.db"), tmp_path / "runs")
    assert files_below(tmp_path / "runs") == before
    assert optuna.get_all_study_names(open_storage(str(tmp_path / "another.db"), create=False)) == []


def test_only_that_study_is_packed(bundle: Path, tmp_path: Path) -> None:
    unpack(bundle, storage_at(tmp_path), tmp_path / "runs")
    unpack(bundle, storage_at(tmp_path), tmp_path / "runs", "secret plan")
    here = open_storage(storage_at(tmp_path), create=False)
    pack(here, "demo", tmp_path / "runs", tmp_path / "demo.tar")
    assert b"secret plan" not in (tmp_path / "demo.tar").read_bytes()
    unpack(tmp_path / "demo.tar", str(tmp_path / "third.db"), tmp_path / "third")
    third = open_storage(str(tmp_path / "third.db"), create=False)
    assert optuna.get_all_study_names(third) == ["demo"]
    assert told(third) == told(here), "a copy of a copy"


def test_the_manifest_tells_what_it_is_of(played: FakeSweep, bundle: Path) -> None:
    manifest = manifest_of(bundle)
    assert manifest.study == "demo"
    assert manifest.trials == {"complete": 2, "fail": 1, "pruned": 1, "waiting": 2}
    assert manifest.identity["model"]["fingerprint"] == "tiny-fingerprint"
    assert set(manifest.machine.versions) == {"lora-sweep", "torch", "transformers", "peft", "optuna"}
    assert all(manifest.machine.versions.values())


def test_a_bundle_is_replaced_and_nothing_else_is(played: FakeSweep, tmp_path: Path) -> None:
    target = tmp_path / "demo.tar"
    packed(played, target)
    packed(played, target)
    target.write_text("my thesis")
    with pytest.raises(SweepError, match="is there already and is no bundle"):
        packed(played, target)
    assert target.read_text() == "my thesis"
    with pytest.raises(SweepError, match="no folder"):
        packed(played, tmp_path / "nowhere" / "demo.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["demo.tar"]


def test_a_study_of_another_program_is_refused(played: FakeSweep, tmp_path: Path) -> None:
    storage = open_storage(storage_at(tmp_path), create=True)
    optuna.create_study(storage=storage, study_name="theirs")
    with pytest.raises(SweepError, match="was not made by this program"):
        pack(storage, "theirs", tmp_path, tmp_path / "theirs.tar")
    with pytest.raises(SweepError, match=r"no study named 'thiers'\. Did you mean theirs"):
        pack(storage, "thiers", tmp_path, tmp_path / "theirs.tar")


def test_a_second_stage_says_which_study_it_needs(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path)
    sweep.study.set_user_attr(SOURCE, {"from": {"study": "first"}})
    packed(sweep, tmp_path / "demo.tar")
    assert unpack(tmp_path / "demo.tar", str(tmp_path / "there.db"), tmp_path / "there").needs == ("first",)


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_trial_that_ended_while_files_were_copied_is_copied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_in(tmp_path, curve(3.0, 2.5, 2.4, 2.3, 2.2))
    sweep.study.ask()  # trial 0 runs
    gather_one = packing._gather_one
    rounds: list[tuple[int, TrialState]] = []

    def end_it(left: Left, output: Path, folder: Path) -> str:
        if not rounds:
            sweep.run(1)
        rounds.append((left.number, left.state))
        return gather_one(left, output, folder)

    monkeypatch.setattr(packing, "_gather_one", end_it)
    packed(sweep, tmp_path / "demo.tar")
    assert rounds == [(0, TrialState.RUNNING), (1, TrialState.COMPLETE)]
    assert "trials/00001/adapter/adapter_config.json" in manifest_of(tmp_path / "demo.tar").files


def test_the_checkpoint_before_is_taken_where_the_newest_is_torn(tmp_path: Path) -> None:
    trial = tmp_path / "trial"
    write_checkpoint(trial, "before", CHECKPOINT_BEFORE)
    write_checkpoint(trial)
    (trial / CHECKPOINT / "tensors.safetensors").write_text("half")
    assert gather.gather_trial(trial, 3, tmp_path / "to", unfinished=True) == ""
    assert set(files_below(tmp_path / "to" / "trials" / "00003")) == {
        "checkpoint.before/state.json",
        "checkpoint.before/tensors.safetensors",
    }


def test_without_a_whole_checkpoint_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "PAUSE", 0.0)
    trial = tmp_path / "trial"
    write_checkpoint(trial)
    (trial / CHECKPOINT / "tensors.safetensors").write_text("half")
    told = gather.gather_trial(trial, 3, tmp_path / "to", unfinished=True)
    assert told == "trial 3 has no whole checkpoint: it will begin again"
    assert not files_below(tmp_path / "to")


def test_a_checkpoint_that_is_replaced_meanwhile_is_copied_whole(tmp_path: Path) -> None:
    trial, over = tmp_path / "trial", threading.Event()
    write_checkpoint(trial, "0")

    def write() -> None:
        number = 0
        while not over.is_set():
            number += 1
            write_checkpoint(trial / "new", str(number))
            shutil.rmtree(trial / CHECKPOINT_BEFORE, ignore_errors=True)
            (trial / CHECKPOINT).rename(trial / CHECKPOINT_BEFORE)
            (trial / "new" / CHECKPOINT).rename(trial / CHECKPOINT)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(30):
            assert gather.gather_trial(trial, 0, tmp_path / "to", unfinished=True) == ""
            found = files_below(tmp_path / "to")
            assert len(found) in (2, 4)
    finally:
        over.set()
        writer.join()


def test_names_that_no_bundle_has_are_left(played: FakeSweep, tmp_path: Path) -> None:
    trial = tmp_path / "trial"
    (trial / ADAPTER).mkdir(parents=True)
    for name in ("pytorch_model.bin", ".hidden.json", "adapter_config.json"):
        (trial / ADAPTER / name).write_text("{}")
    (trial / ADAPTER / "weights.safetensors").symlink_to(tmp_path / "elsewhere")
    gather.gather_trial(trial, 0, tmp_path / "to", unfinished=False)
    assert set(files_below(tmp_path / "to")) == {"trials/00000/adapter/adapter_config.json"}


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/passwd", "../study.db", "trials/../../x", "trials/00001/adapter/x.bin", "artifacts/x", "a\\b", ""),
        *("trials/00001/adapter/../x.json", "trials/00001/../../x.json", "study.db\n", "trials/٠٠٠٠١/config.json"),
    ],
)
def test_what_no_bundle_may_have(name: str) -> None:
    assert not is_allowed(name)


def test_no_password_is_in_a_bundle(tmp_path: Path) -> None:
    """A SQLite address takes options too; PostgreSQL's password is tested beside its server."""
    sweep = sweep_in(tmp_path, curve(3.0, 2.5, 2.4, 2.3, 2.2))
    sweep.play()
    sweep.storage.engine.dispose()
    storage = open_storage(f"sqlite:///{tmp_path}/sweep.db?check_same_thread=true&timeout=31337", create=False)
    pack(storage, "demo", sweep.output, tmp_path / "demo.tar")
    assert b"31337" not in (tmp_path / "demo.tar").read_bytes()
    with tarfile.open(tmp_path / "demo.tar") as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        assert str(tmp_path) not in json.dumps(json.load(manifest))
