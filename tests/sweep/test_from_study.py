"""Which trial of which study a second stage starts from, and what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from safetensors.numpy import save_file

from sweep import header
from sweep.errors import SweepError
from sweep.from_study import Start, find_start
from sweep.importing import import_table
from sweep.options import SweepOptions
from sweep.results import Results
from sweep.run_table import read_table
from sweep.study import FROM, IDENTITY, SOURCE, Identity, create_study
from sweep.sweep_storage import SweepStorage
from tests.sweep.fakes import BUDGET, SPACE, make_ready, make_space
from trials.config import TrialConfig
from trials.folders import ADAPTER

SFT, PT = make_space(name="second"), make_space(SPACE.replace("sft", "pt"), name="texts")


class Studies:
    """Studies in one database, whose trials have adapters in `output`."""

    def __init__(self, storage: SweepStorage, folder: Path) -> None:
        self.storage, self.folder, self.output = storage, folder, folder / "runs"

    def make(self, name: str, *losses: float, space: Any = PT, **source: Any) -> optuna.Study:
        """A study with a complete trial a loss."""
        identity = Identity.of(space, BUDGET, 7, make_ready(model=f"{name}-model"))
        study = create_study(self.storage, name, identity, space)
        asked = {"space": space.name, "model": "", "dataset": "texts.jsonl", "dtype": "bf16", FROM: None}
        study.set_user_attr(SOURCE, asked | source)
        for loss in losses:
            self.add(study, loss)
        return study

    def add(self, study: optuna.Study, loss: float) -> Path:
        """One more complete trial; its adapter's folder."""
        number = len(study.get_trials(deepcopy=False))
        study.add_trial(optuna.trial.create_trial(value=loss))
        results, where = Results(self.storage.engine, study.study_name), f"{study.study_name}/trials/{number:05d}"
        results.start_trial(number, TrialConfig(), {}, where, total_steps=10)
        results.end_trial(number, "complete", value=loss)
        adapter = self.output / where / ADAPTER
        adapter.mkdir(parents=True)
        (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/models/base"}))
        save_file({"weights": np.array([loss])}, adapter / "adapter_model.safetensors")
        return adapter

    def options(self, from_study: str = "first", **changes: Any) -> SweepOptions:
        settings: dict[str, Any] = {"seed": 7, "dataset": "chats.jsonl", "output": self.output}
        settings["storage"] = str(self.storage.engine.url.database)
        return SweepOptions(space="second", from_study=from_study, **{**settings, **changes})

    def start(self, name: str = "second", space: Any = SFT, **changes: Any) -> Start:
        found = find_start(self.options(**changes), name, None, space, BUDGET)
        assert found is not None
        return found

    def again(self, name: str = "second") -> Start:
        """As the same line finds it when the study is there."""
        stored = optuna.load_study(storage=self.storage, study_name=name).user_attrs[IDENTITY]
        found = find_start(self.options(), name, stored, SFT, BUDGET)
        assert found is not None
        return found

    def refused(self, **changes: Any) -> str:
        with pytest.raises(SweepError) as error:
            self.start(**changes)
        assert len(str(error.value).splitlines()) == 1
        return str(error.value)


@pytest.fixture
def studies(storage: SweepStorage, tmp_path: Path) -> Studies:
    return Studies(storage, tmp_path)


def test_without_from_study_there_is_no_start(studies: Studies) -> None:
    assert find_start(studies.options(from_study=""), "second", None, SFT, BUDGET) is None


def test_it_starts_from_the_best_complete_trial(studies: Studies) -> None:
    studies.make("first", 2.5, 2.25, 2.75)
    start = studies.start()
    origin = start.origin
    assert (origin.study, origin.trial, origin.value) == ("first", 1, 2.25)
    assert origin.name == "first-model + first trial 1"
    assert (origin.base_name, origin.base_fingerprint) == ("first-model", "first-model-fingerprint")
    assert origin.dtype == "bf16"
    assert start.folder == studies.output / "first" / "merged" / f"00001-{origin.adapter_sha256[:8]}"
    assert start.merge is not None
    assert (start.merge.folder, start.merge.before) == (start.folder, None)
    assert start.merge.adapter == studies.output / "first" / "trials" / "00001" / ADAPTER
    assert start.note() is None


@pytest.mark.parametrize(("asked", "base"), [("", ""), ("./models/base", "/models/base")])
def test_the_base_is_the_default_or_as_the_adapter_names_it(studies: Studies, asked: str, base: str) -> None:
    """A path that was asked for may be relative to another folder than this."""
    studies.make("first", 2.5, model=asked)
    merge = studies.start().merge
    assert merge is not None
    assert merge.base == base


def test_a_merged_model_that_is_there_is_used(studies: Studies) -> None:
    """Also when the adapter has been deleted since."""
    first = studies.make("first", 2.5)
    begun = studies.start()
    begun.folder.mkdir(parents=True)
    assert studies.start() == Start(begun.folder, begun.origin, None)
    studies.make("second", space=SFT, **{FROM: begun.origin.to_dict()})
    shutil.rmtree(studies.output / "first" / "trials")
    assert studies.again().merge is None
    assert first.user_attrs[SOURCE]["model"] == ""


def test_a_study_goes_on_from_the_trial_that_it_began_with(studies: Studies) -> None:
    first = studies.make("first", 2.5)
    begun = studies.start()
    studies.make("second", space=SFT, **{FROM: begun.origin.to_dict()})
    assert studies.again() == begun
    studies.add(first, 2.25)
    found = studies.again()
    assert (found.origin, found.folder, found.merge) == (begun.origin, begun.folder, begun.merge)
    assert found.note() == (
        "study first has a better trial now, 1 (evaluation loss 2.250); this study goes on from 0, so that its losses "
        "compare. To start from the better one, give another STUDY"
    )
    assert studies.start(name="third").origin.trial == 1


def test_an_adapter_that_is_another_now_is_not_taken_for_the_one_before(studies: Studies) -> None:
    studies.make("first", 2.5)
    begun = studies.start()
    studies.make("second", space=SFT, **{FROM: begun.origin.to_dict()})
    save_file({"weights": np.zeros(1)}, begun.merge.adapter / "adapter_model.safetensors")  # type: ignore[union-attr]
    with pytest.raises(SweepError, match="trial 0 of study 'first' is not the one that was started from"):
        studies.again()
    assert studies.start(name="third").folder != begun.folder


def test_a_study_that_began_elsewhere_is_refused_before_anything_is_merged(studies: Studies) -> None:
    studies.make("first", 2.5)
    studies.make("zeroth", 2.5)
    studies.make("second", space=SFT)
    for source in (None, studies.start(from_study="zeroth").origin.to_dict()):
        second = optuna.load_study(storage=studies.storage, study_name="second")
        second.set_user_attr(SOURCE, {FROM: source})
        with pytest.raises(SweepError) as error:
            studies.again()
        assert str(error.value).startswith(
            "study 'second' was made with another model (second-model, now one from study first); losses would not"
        )


def test_a_third_stage_makes_its_base_when_that_is_gone(studies: Studies) -> None:
    studies.make("first", 2.5)
    begun = studies.start()
    studies.make("second", 2.0, space=SFT, **{FROM: begun.origin.to_dict()})
    third = studies.start(from_study="second", name="third", dataset="more.jsonl")
    assert third.origin.name == "second-model + second trial 0"
    assert third.merge is not None
    assert (third.merge.base, third.merge.before) == (str(begun.folder), begun.merge)
    begun.folder.mkdir(parents=True)
    third = studies.start(from_study="second", name="third", dataset="more.jsonl")
    assert third.merge is not None
    assert (third.merge.base, third.merge.before) == (str(begun.folder), None)


# --- what is refused


def test_a_study_that_is_not_there(studies: Studies) -> None:
    studies.make("first", 2.5)
    assert studies.refused(from_study="frist") == "no study named 'frist'. Did you mean first? Studies there: first"


def test_a_database_that_is_not_there(studies: Studies, tmp_path: Path) -> None:
    assert "no study database at" in studies.refused(storage=str(tmp_path / "none.db"))
    assert not (tmp_path / "none.db").exists()


def test_the_study_itself(studies: Studies) -> None:
    studies.make("first", 2.5)
    assert studies.refused(name="first").startswith("FROM_STUDY is 'first', the study itself")


def test_a_study_without_a_complete_trial(studies: Studies) -> None:
    studies.make("first")
    assert studies.refused() == "study 'first' has no complete trial yet; nothing to start from"


def test_a_study_whose_adapter_is_gone(studies: Studies) -> None:
    studies.make("first", 2.5)
    shutil.rmtree(studies.output)
    assert studies.refused().startswith("trial 0 has no adapter at ")


def test_studies_without_adapters(studies: Studies, tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    table.write_text("learning_rate,loss\n1e-4,2.5\n")
    import_table(studies.storage, "imported", read_table(table, "", (), ()))
    optuna.create_study(storage=studies.storage, study_name="foreign")
    told = "has no adapter to start from: its trials come from"
    assert studies.refused(from_study="imported") == f"study 'imported' {told} runs.csv, which it was imported from"
    assert studies.refused(from_study="foreign") == f"study 'foreign' {told} another program"


def test_pre_training_after_instructions(studies: Studies) -> None:
    studies.make("first", 2.5, space=SFT)
    told = studies.refused(space=PT)
    assert told == (
        "study 'first' is of stage sft, and texts of stage pt; pre-training comes first (guide 4.3). "
        "Allowed: a space of stage sft"
    )


def test_the_same_data_in_another_split(studies: Studies, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first stage was trained on, the second would evaluate on."""
    monkeypatch.chdir(studies.folder)
    studies.make("first", 2.5, space=SFT, dataset="chats.jsonl")
    assert studies.start().origin.trial == 0
    told = studies.refused(seed=8, dataset=str(studies.folder / "chats.jsonl"))
    assert "has the same data set in another split (seed 7, now 8)" in told
    assert studies.start(seed=8, dataset="more.jsonl").origin.trial == 0
    studies.make("talk", 2.5, space=SFT, dataset="")
    assert "seed 7, now 8" in studies.refused(from_study="talk", seed=8, dataset="chitchat")
    studies.make("texts", 2.5, dataset="chats.jsonl")
    assert studies.start(from_study="texts", seed=8).origin.trial == 0


def test_a_model_beside_it_unless_it_is_the_same(studies: Studies) -> None:
    studies.make("first", 2.5)
    told = studies.refused(model="org/model")
    assert told.startswith("MODEL is 'org/model' and FROM_STUDY 'first'")
    same = str(studies.start().folder)
    assert studies.start(model=same).origin.trial == 0


# --- what is told


def test_the_header_says_where_it_starts_from(studies: Studies) -> None:
    studies.make("first", 2.5)
    start = studies.start()
    assert header.loading(studies.options(), [], start).startswith("load   first-model + first trial 0 into")
    assert header.loading(studies.options(), [], start).endswith(", to be merged once")
    start.folder.mkdir(parents=True)
    assert not header.loading(studies.options(), [], studies.start()).endswith(", to be merged once")
    assert start.line() == "study first, trial 0 (evaluation loss 2.500), merged"
