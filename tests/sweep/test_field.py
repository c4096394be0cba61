"""What a pruner knows of a study: as it is now, at the cost of what has changed; in memory and in a sweep's storage."""

import copy
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

import sweep.field
from sweep.claims import take_up
from sweep.contenders import PARKED, START, Contender, contender
from sweep.field import MOST_SINGLY, Field
from sweep.recovery import put_back
from sweep.sweep_storage import SweepStorage
from tests.sweep.fakes import new_storage

COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
RUNNING, WAITING = TrialState.RUNNING, TrialState.WAITING
REPORTS = (3.0, 2.6, 2.4)

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")


def trial(state: TrialState = RUNNING, losses: tuple[float, ...] = REPORTS, **attributes: Any) -> FrozenTrial:
    value = min(losses, default=2.0) if state == COMPLETE else None
    reports = dict(enumerate(losses, start=1))
    return create_trial(state=state, value=value, intermediate_values=reports, user_attrs=attributes)


def parked(*losses: float) -> FrozenTrial:
    return trial(WAITING, losses or REPORTS, **{PARKED: True})


@pytest.fixture(params=["memory", "sweep"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[optuna.Study]:
    """An empty study, in memory or as a sweep has it."""
    if request.param == "memory":
        yield optuna.create_study()
        return
    storage = new_storage(tmp_path / "sweep.db")
    yield optuna.create_study(storage=storage)
    storage.engine.dispose()


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the trials that were looked at, in their order."""
    numbers = list[int]()

    def look(made: FrozenTrial, *rest: Any) -> Contender:
        numbers.append(made.number)
        return contender(made, *rest)

    monkeypatch.setattr(sweep.field, "contender", look)
    return numbers


def numbers(found: list[Contender]) -> list[int]:
    return [each.number for each in found]


def test_it_holds_those_that_have_reported_and_go_on_or_wait(study: optuna.Study) -> None:
    study.add_trials([trial(), parked(), trial(FAIL), trial(RUNNING, ()), trial(WAITING, ()), trial(WAITING)])
    found = Field(10, 0).of(study)
    assert numbers(found) == [0, 1, 5]
    assert [(each.running, each.parked) for each in found] == [(True, False), (False, True), (False, False)]


def test_of_those_that_ended_it_holds_the_best_that_is_complete_and_the_best_that_is_not(study: optuna.Study) -> None:
    study.add_trials([trial(COMPLETE, (2.5,)), trial(COMPLETE, (2.3,)), trial(COMPLETE, (2.4,))])
    study.add_trials([trial(PRUNED, (2.9,)), trial(PRUNED, (2.8,)), trial(FAIL, (1.0,))])
    assert numbers(Field(10, 0).of(study)) == [1, 4]


def test_what_diverged_is_not_the_best(study: optuna.Study) -> None:
    study.add_trials([trial(PRUNED, (1.0, math.nan)), trial(PRUNED, (2.9,)), trial(PRUNED, (math.nan,))])
    assert numbers(Field(10, 0).of(study)) == [1]


def test_a_running_one_that_diverged_is_still_of_it(study: optuna.Study) -> None:
    study.add_trial(trial(RUNNING, (math.nan,)))
    assert numbers(Field(10, 0).of(study)) == [0]


def test_where_a_study_maximises_the_best_is_the_highest() -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trials([trial(COMPLETE, (2.5,)), trial(COMPLETE, (2.3,)), trial(PRUNED, (2.0,))])
    assert [each.losses for each in Field(10, 0).of(study)] == [(-2.5, -2.5), (-2.0,)]


def test_horizon_and_warm_up_are_those_of_trials_that_do_not_say_their_own(study: optuna.Study) -> None:
    study.add_trial(trial())
    (found,) = Field(7, 3).of(study)
    assert (len(found.progress), found.warmup) == (7, 3)
    assert Field(7, 3).one(study, study.trials[0]) == found


# --- as it is now


def test_a_report_is_seen_at_once(study: optuna.Study) -> None:
    field, running = Field(10, 0), study.ask()
    assert field.of(study) == []
    running.set_user_attr(START, 3.5)
    for made, loss in enumerate(REPORTS, start=1):
        running.report(loss, made)
        assert field.of(study)[0].losses == REPORTS[:made]
    assert field.of(study)[0].start == 3.5


def test_an_end_is_seen_at_once(study: optuna.Study) -> None:
    field, running = Field(10, 0), [study.ask() for _ in range(3)]
    for number, one in enumerate(running):
        one.report(2.5 - number / 10, 1)
    assert numbers(field.of(study)) == [0, 1, 2]
    study.tell(running[0], 2.25)
    assert (field.of(study)[0].losses, field.of(study)[0].complete) == ((2.5, 2.25), True)
    study.tell(running[1], state=PRUNED)
    study.tell(running[2], state=FAIL)
    assert numbers(field.of(study)) == [0, 1]


def taken_up(study: optuna.Study, number: int) -> optuna.Trial:
    """A parked trial, running again, in any storage."""
    storage = study._storage
    if isinstance(getattr(storage, "_backend", storage), SweepStorage):
        running = take_up(study, number)
        assert running is not None
        return running
    trial_id = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    storage.set_trial_user_attr(trial_id, PARKED, False)
    assert storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    return optuna.Trial(study, trial_id)


def test_parking_and_taking_up_are_seen_at_once(study: optuna.Study) -> None:
    field = Field(10, 0)
    study.add_trial(parked())
    assert field.of(study)[0].parked
    running = taken_up(study, 0)
    assert field.of(study)[0].running
    running.set_user_attr(PARKED, True)
    put_back(study, running)
    assert field.of(study)[0].parked
    running = taken_up(study, 0)
    running.report(2.0, 9)
    running.set_user_attr(PARKED, True)
    put_back(study, running)
    assert field.of(study)[0].losses == (*REPORTS, 2.0), "all of it between two looks"


def test_a_trial_that_began_and_ended_between_two_looks_is_seen(study: optuna.Study) -> None:
    field = Field(10, 0)
    study.add_trials([trial(COMPLETE, (2.5,)), trial()])
    assert numbers(field.of(study)) == [0, 1]
    study.add_trials([trial(COMPLETE, (2.4,)), trial(PRUNED, (2.9,))])
    assert numbers(field.of(study)) == [1, 2, 3]


def test_a_trial_that_another_process_changes_is_seen(study: optuna.Study) -> None:
    """It has a storage of its own, so that nothing is told to this one."""
    field = Field(10, 0)
    study.add_trials([trial(), trial(COMPLETE, (2.5,))])
    assert numbers(field.of(study)) == [0, 1]
    backend = getattr(study._storage, "_backend", study._storage)
    if isinstance(backend, SweepStorage):
        backend = SweepStorage(str(backend.url))
    backend.set_trial_intermediate_value(study.trials[0]._trial_id, 4, 2.0)
    assert field.of(study)[0].losses == (*REPORTS, 2.0)
    backend.set_trial_state_values(study.trials[0]._trial_id, COMPLETE, [2.0])
    assert [(each.number, each.complete) for each in field.of(study)] == [(0, True)]


def test_studies_that_share_a_pruner_are_not_taken_for_one_another(tmp_path: Path) -> None:
    field = Field(10, 0)
    storage = new_storage(tmp_path / "sweep.db")
    studies = [optuna.create_study(), optuna.create_study()]
    studies += [optuna.create_study(storage=storage), optuna.create_study(storage=storage, direction="maximize")]
    for place, study in enumerate(studies):
        study.add_trial(create_trial(value=2.0 + place))
    for _ in range(2):
        assert [field.of(study)[0].reached for study in studies] == [2.0, 3.0, 4.0, -5.0]
    storage.engine.dispose()


# --- at the cost of what has changed


def test_what_has_not_changed_is_looked_at_once(study: optuna.Study, looked: list[int]) -> None:
    field = Field(10, 0)
    running = study.ask()
    study.add_trials([trial(COMPLETE), trial(PRUNED), parked(), trial(FAIL)])
    first, second = field.of(study), field.of(study)
    assert sorted(looked) == [0, 1, 2, 3, 4]
    assert first == second
    running.report(2.0, 1)
    field.of(study)
    assert looked[5:] == [running.number]


def test_the_trial_that_is_asked_about_is_not_loaded_again(study: optuna.Study, looked: list[int]) -> None:
    field, running = Field(10, 0), study.ask()
    running.report(2.0, 1)
    field.one(study, study.trials[0])
    field.of(study)
    assert looked == [0]


def test_only_what_has_changed_is_loaded(storage: SweepStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    study, field = optuna.create_study(storage=storage), Field(10, 0)
    study.add_trials([parked()] * 20 + [trial()] * (MOST_SINGLY + 1) + [trial(COMPLETE, (3.0,))] * 3)
    running = [optuna.Trial(study, one._trial_id) for one in study.trials[20:-3]]
    field.of(study)
    loaded = list[int]()
    load = storage.get_trial

    def loads(trial_id: int) -> FrozenTrial:
        loaded.append(trial_id)
        return load(trial_id)

    monkeypatch.setattr(storage, "get_trial", loads)
    monkeypatch.setattr(study, "get_trials", lambda **_: pytest.fail("all trials were loaded"))
    field.of(study)
    assert loaded == []
    running[3].report(2.0, 4)
    loaded.clear()
    assert field.of(study)[23].losses == (*REPORTS, 2.0)
    assert loaded == [running[3]._trial_id]


def test_when_much_has_changed_all_is_loaded_together(storage: SweepStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    study, field = optuna.create_study(storage=storage), Field(10, 0)
    study.add_trials([parked()] * (MOST_SINGLY + 1))
    monkeypatch.setattr(storage, "get_trial", lambda _: pytest.fail("trials were loaded one by one"))
    assert len(field.of(study)) == MOST_SINGLY + 1


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda field: pickle.loads(pickle.dumps(field))])
def test_it_can_be_copied_with_all_that_it_knows(study: optuna.Study, copied: Any) -> None:
    field = Field(10, 0)
    study.add_trials([trial(COMPLETE), parked()])
    field.of(study)
    assert copied(field).of(study) == field.of(study)
