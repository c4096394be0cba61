"""What a study is of, which runs may go on with it, and which of its trials count."""

from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from sweep.errors import SweepError
from sweep.study import (
    IDENTITY,
    INFEASIBLE,
    Identity,
    best_trial,
    check_identity,
    create_study,
    finished_trials,
    free_name,
    load_study,
    stored_identity,
)
from sweep.sweep_storage import SweepStorage
from tests.sweep.fakes import BUDGET, SPACE, make_ready, make_space

START = SPACE + "start:\n  - {learning_rate: 1e-3, lora_rank: 8, alpha_ratio: 2}\n  - {lora_rank: 32}\n"


def identity(
    text: str = SPACE, name: str = "demo", seed: int = 7, model: str = "tiny", data: str = "chats"
) -> Identity:
    return Identity.of(make_space(text, name), BUDGET, seed, make_ready(model=model, data=data))


STORED = identity().to_dict()


def test_the_same_again_does_not_differ() -> None:
    assert identity().differences(STORED) == []


def test_what_checks_find_is_no_part_of_what_a_study_is_of() -> None:
    ready = make_ready()
    unchecked = {name: value for name, value in ready.data.items() if name not in ("checks", "tokens")}
    assert unchecked != ready.data
    now = Identity.of(make_space(), BUDGET, 7, ready)
    assert now == Identity.of(make_space(), BUDGET, 7, replace(ready, data=unchecked))
    assert now.data == {"name": "chats", "fingerprint": "chats-fingerprint"}


def test_what_is_not_known_yet_does_not_differ() -> None:
    assert Identity.of(make_space(), BUDGET, 7).differences(STORED) == []


@pytest.mark.parametrize(
    ("now", "difference"),
    [
        (identity(name="other", text=SPACE.replace("32", "64")), "another space (demo, now other)"),
        (
            identity(SPACE.replace("[1, 2]", "[1]").replace("8, 16", "4, 16")),
            "another version of the space demo (differs in alpha_ratio, lora_rank)",
        ),
        (identity(SPACE.replace("sft", "pt")), "another version of the space demo (differs in stage)"),
        (identity(model="big"), "another model (tiny, now big)"),
        (identity(data="poems"), "another data set (chats, now poems)"),
        (identity(seed=8), "another seed (7, now 8)"),
        (replace(identity(), code="0.0.0"), f"another version of this program ({STORED['code']}, now 0.0.0)"),
        (
            replace(identity(), budget=BUDGET.to_dict() | {"max_rows": 160, "val_size": 0.5}),
            "another budget (max_rows 80, now 160, val_size 16, now 0.5)",
        ),
    ],
    ids=["space", "knobs", "stage", "model", "data", "seed", "code", "budget"],
)
def test_each_aspect_that_differs_is_named(now: Identity, difference: str) -> None:
    assert now.differences(STORED) == [difference]


@pytest.mark.parametrize("aspect", ["model", "data"])
def test_content_that_changed_under_its_name_is_named(aspect: str) -> None:
    stored = STORED | {aspect: STORED[aspect] | {"fingerprint": "old"}}
    (difference,) = identity().differences(stored)
    assert "its content changed" in difference


def test_a_new_start_point_or_wording_is_the_same_space() -> None:
    assert identity(START + "description: another\n").differences(STORED) == []


def test_all_differences_are_told_with_the_way_out() -> None:
    with pytest.raises(SweepError) as error:
        check_identity("demo", STORED, identity(seed=8, model="big"))
    assert "another model (tiny, now big), another seed (7, now 8); losses would not compare" in str(error.value)
    assert "STUDY=another-name" in str(error.value)


def test_a_study_of_another_program_is_refused() -> None:
    with pytest.raises(SweepError, match="was not made by this program"):
        check_identity("demo", None, identity())


def test_the_same_study_is_gone_on_with() -> None:
    check_identity("demo", STORED, identity())


def test_a_new_study_begins_with_the_guides_points(storage: SweepStorage) -> None:
    study = create_study(storage, "demo", identity(START), make_space(START))
    asked = [trial.system_attrs["fixed_params"] for trial in study.trials]
    assert asked == [{"learning_rate": 1e-3, "lora_rank": 8, "alpha_ratio": 2}, {"lora_rank": 32}]
    assert {trial.state for trial in study.trials} == {TrialState.WAITING}


def test_a_study_says_what_it_is_of(storage: SweepStorage) -> None:
    create_study(storage, "demo", identity(), make_space())
    exists, stored = stored_identity(storage, "demo")
    assert exists
    assert stored is not None
    assert identity().differences(stored) == []


def test_a_study_minimises_the_evaluation_loss(storage: SweepStorage) -> None:
    study = create_study(storage, "demo", identity(), make_space())
    assert (study.direction, study.metric_names) == (optuna.study.StudyDirection.MINIMIZE, ["evaluation loss"])


def test_a_study_that_is_not_there_has_no_identity(storage: SweepStorage) -> None:
    assert stored_identity(storage, "demo") == (False, None)


def test_a_study_of_another_program_has_no_identity(storage: SweepStorage, study: optuna.Study) -> None:
    assert stored_identity(storage, study.study_name) == (True, None)


def test_a_free_name_is_the_first_that_no_study_has(storage: SweepStorage) -> None:
    for name in ("demo", "demo-2", "demo-4"):
        optuna.create_study(storage=storage, study_name=name)
    assert free_name(storage, "demo") == "demo-3"


def test_a_study_is_loaded_with_what_it_is_of(storage: SweepStorage) -> None:
    create_study(storage, "demo", identity(), make_space())
    assert load_study(storage, "demo").user_attrs[IDENTITY] == STORED


@pytest.mark.parametrize(
    ("name", "hint"),
    [("sft_lore", "Did you mean sft_lora? Studies there: pt, sft_lora"), ("zzz", "'zzz'. Studies there: pt, sft_lora")],
)
def test_a_name_that_no_study_has_gets_the_nearest(storage: SweepStorage, name: str, hint: str) -> None:
    for there in ("sft_lora", "pt"):
        optuna.create_study(storage=storage, study_name=there)
    with pytest.raises(SweepError) as error:
        load_study(storage, name)
    assert hint in str(error.value)


def test_an_empty_database_says_so(storage: SweepStorage) -> None:
    with pytest.raises(SweepError, match="Studies there: none yet"):
        load_study(storage, "demo")


def add(study: optuna.Study, state: TrialState, value: float | None = None) -> None:
    study.add_trial(create_trial(state=state, value=value))


def test_complete_and_pruned_trials_count_and_no_others(study: optuna.Study) -> None:
    add(study, TrialState.COMPLETE, 2.5)
    for state in (TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING):
        add(study, state)
    assert [trial.number for trial in finished_trials(study)] == [0, 1]


def test_a_trial_that_its_constraints_ruled_out_does_not_count(study: optuna.Study) -> None:
    study.add_trial(create_trial(state=TrialState.PRUNED, user_attrs={INFEASIBLE: "not trained"}))
    assert finished_trials(study) == []


def test_the_best_trial_is_the_lowest_complete_one(study: optuna.Study) -> None:
    add(study, TrialState.COMPLETE, 2.5)
    add(study, TrialState.COMPLETE, 2.4)
    add(study, TrialState.PRUNED, 2.3)
    best = best_trial(study)
    assert best is not None
    assert best.number == 1


def test_there_is_no_best_before_the_first_complete_trial(study: optuna.Study) -> None:
    add(study, TrialState.PRUNED, 2.3)
    assert best_trial(study) is None
