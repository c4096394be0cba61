"""Two bundles of one study become one: every trial once, and the run of it that came further."""

import shutil
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from sweep.bundles.merge import Merged, merge
from sweep.bundles.pack import pack
from sweep.bundles.unpack import unpack
from sweep.contenders import HORIZON
from sweep.errors import SweepError, TrialInterrupted
from sweep.storage import open_storage
from sweep.study import IDENTITY
from tests.sweep.bundles.studies import files_below, go_on, sweep_in, told, write_checkpoint
from tests.sweep.fakes import FakeSweep, curve

GOOD, BETTER = curve(3.0, 2.5, 2.4, 2.3, 2.2), curve(3.0, 2.5, 2.4, 2.3, 2.0)


class Apart:
    """A study that was packed with trial 0 complete and trial 1 running, and unpacked in two places."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        sweep = sweep_in(folder / "origin", GOOD, [*curve(2.9, 2.4), TrialInterrupted()])
        sweep.run(1)
        with pytest.raises(TrialInterrupted):
            sweep.run(1)
        write_checkpoint(sweep.folder(1))
        pack(sweep.storage, "demo", sweep.output, folder / "origin.tar")
        for name in ("a", "b"):
            (folder / name).mkdir()
            unpack(folder / "origin.tar", str(folder / name / "sweep.db"), folder / name / "runs")

    def run(self, name: str, *plays: list, seed: int = 0) -> FakeSweep:  # type: ignore[type-arg]
        sweep = go_on(self.folder / name, *plays)
        sweep.study.sampler = optuna.samplers.RandomSampler(seed=seed)
        for _ in plays:
            sweep.run(1)
        return sweep

    def packed(self, name: str) -> Path:
        storage = open_storage(str(self.folder / name / "sweep.db"), create=False)
        bundle = self.folder / f"{name}.tar"
        pack(storage, "demo", self.folder / name / "runs", bundle)
        return bundle

    def merged(self, first: str = "a", second: str = "b", to: str = "merged") -> Merged:
        found = merge(self.packed(first), self.packed(second), self.folder / f"{to}.tar")
        (self.folder / to).mkdir()
        unpack(self.folder / f"{to}.tar", str(self.folder / to / "sweep.db"), self.folder / to / "runs")
        return found

    def storage(self, name: str = "merged") -> optuna.storages.RDBStorage:
        return open_storage(str(self.folder / name / "sweep.db"), create=False)


@pytest.fixture
def apart(tmp_path: Path) -> Apart:
    return Apart(tmp_path)


def test_a_study_with_itself_is_itself(apart: Apart) -> None:
    joined = apart.merged().joined
    assert (joined.common, joined.replaced, joined.renumbered) == (2, 0, {})
    assert told(apart.storage()) == told(apart.storage("a"))
    assert files_below(apart.folder / "merged" / "runs") == files_below(apart.folder / "a" / "runs")


@pytest.mark.parametrize(("first", "second"), [("a", "b"), ("b", "a")])
def test_finished_in_one_wins_over_running_in_the_other(apart: Apart, first: str, second: str) -> None:
    apart.run("b", curve(2.9, 2.4, 2.3, 2.2, 2.1))
    joined = apart.merged(first, second).joined
    assert (joined.common, joined.replaced) == (2, int(second == "b"))
    assert told(apart.storage()) == told(apart.storage("b"))
    assert files_below(apart.folder / "merged" / "runs") == files_below(apart.folder / "b" / "runs")


def test_trials_that_each_began_are_all_there(apart: Apart) -> None:
    """Both have a trial 2, which are two; the second's 3 keeps its number, as the first has none."""
    apart.run("a", curve(2.9, 2.4, 2.3, 2.2, 2.1), GOOD, seed=1)
    apart.run("b", curve(2.9, 2.4, 2.3, 2.2, 2.15), BETTER, GOOD, seed=2)
    joined = apart.merged().joined
    assert (joined.common, joined.replaced, joined.renumbered) == (2, 0, {2: 4})
    one, other, both = told(apart.storage("a")), told(apart.storage("b")), told(apart.storage())
    assert both.trials[:3] == one.trials
    assert both.trials[3] == other.trials[3]
    assert both.trials[4] == other.trials[2] | {"number": 4}
    assert both.curves == [*one.curves, other.curves[3], other.curves[2]]
    assert [row["folder"] for row in both.rows] == [f"demo/trials/{number:05d}" for number in range(5)]
    before = files_below(apart.folder / "b" / "runs" / "demo" / "trials" / "00002")
    assert files_below(apart.folder / "merged" / "runs" / "demo" / "trials" / "00004") == before


def test_merging_again_adds_nothing_twice(apart: Apart) -> None:
    apart.run("a", GOOD, GOOD, seed=1)
    apart.run("b", GOOD, BETTER, seed=2)
    apart.merged()
    assert [trial["number"] for trial in told(apart.storage()).trials] == [0, 1, 2, 3]
    apart.run("b", GOOD, seed=3)
    joined = apart.merged("merged", "b", to="again").joined
    assert (joined.common, joined.replaced, joined.renumbered) == (3, 0, {3: 4})
    assert len(told(apart.storage("again")).trials) == 5


def test_words_that_name_trials_name_the_right_ones(apart: Apart) -> None:
    apart.run("a", GOOD, GOOD, seed=1)
    b = apart.run("b", GOOD, BETTER, GOOD, seed=2)
    third = b.study._storage.get_trial_id_from_study_id_trial_number(b.study._study_id, 3)
    for key, value in (
        ("dashboard:{}:note_str:0", "behind\ntrial 2, before trial 12"),
        ("dashboard:{}:note_ver", 3),
    ):
        b.storage.set_study_system_attr(b.study._study_id, key.format(third), value)
    b.results.end_trial(3, "pruned", reason="trial 2 reached 2.0, trial 0 not")
    apart.merged()
    both = told(apart.storage())
    assert both.rows[3]["reason"] == "trial 4 reached 2.0, trial 0 not"
    assert both.trials[3]["note"] == "behind\ntrial 4, before trial 12"


def test_a_lost_trials_chain_stays_together(apart: Apart) -> None:
    """On one machine trial 1 was lost and trial 2 went on with it; on the other trial 1 was finished."""
    a = apart.run("a")
    trial = a.study.ask()
    a.study.tell(trial, state=TrialState.FAIL)
    a.study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.WAITING, system_attrs={"failed_trial": 1, "retry_history": [1]}, user_attrs={HORIZON: 5}
        )
    )
    apart.run("b", curve(2.9, 2.4, 2.3, 2.2, 2.1))
    joined = apart.merged().joined
    assert (joined.common, joined.replaced, joined.superseded) == (2, 1, (2,))
    states = [trial["state"] for trial in told(apart.storage()).trials]
    assert states == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL]
    apart.packed("merged")


def test_other_studies_are_refused_with_what_differs(apart: Apart, tmp_path: Path) -> None:
    b = apart.run("b")
    identity = b.study.user_attrs[IDENTITY]
    b.study.set_user_attr(IDENTITY, identity | {"seed": 8, "model": identity["model"] | {"fingerprint": "else"}})
    bundles = apart.packed("a"), apart.packed("b")
    with pytest.raises(
        SweepError, match=r"are not of one study: .* another model \(tiny, its .*, another seed \(7, now 8"
    ):
        merge(*bundles, tmp_path / "merged.tar")
    assert not (tmp_path / "merged.tar").exists()


def test_bundles_of_different_names_take_the_firsts(apart: Apart, tmp_path: Path) -> None:
    unpack(tmp_path / "origin.tar", str(tmp_path / "a" / "sweep.db"), tmp_path / "a" / "runs", "renamed")
    pack(apart.storage("a"), "renamed", tmp_path / "a" / "runs", tmp_path / "renamed.tar")
    found = merge(tmp_path / "renamed.tar", apart.packed("b"), tmp_path / "merged.tar")
    assert found.packed.manifest.study == "renamed"
    assert found.packed.manifest.trials == {"complete": 1, "waiting": 1}


def test_a_merge_leaves_its_parts_and_nothing_else(apart: Apart, tmp_path: Path) -> None:
    parts = apart.packed("a"), apart.packed("b")
    before = [part.read_bytes() for part in parts]
    names = {path.name for path in tmp_path.iterdir()}
    merge(*parts, tmp_path / "merged.tar")
    assert [part.read_bytes() for part in parts] == before
    assert {path.name for path in tmp_path.iterdir()} == names | {"merged.tar"}
    shutil.copy(parts[0], tmp_path / "cut.tar")
    (tmp_path / "cut.tar").write_bytes(before[0][:4000])
    with pytest.raises(SweepError, match=r"cut.tar is cut off"):
        merge(parts[0], tmp_path / "cut.tar", tmp_path / "other.tar")
    assert not (tmp_path / "other.tar").exists()
