"""Claims on a study's trials, in SQLite and PostgreSQL alike: the total is exact, and no trial runs twice."""

import contextlib
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import DuplicatedStudyError
from optuna.storages._rdb.models import TrialHeartbeatModel
from optuna.trial import TrialState

from sweep import claims
from sweep.claims import claim, fail_silent, give_sign_of_life, take_up, tally
from sweep.contenders import PARKED
from sweep.enqueuing import MOST_TRIES, enqueue_missing
from sweep.patience import Patience
from sweep.recovery import OWNER, put_back
from sweep.storage import open_storage
from sweep.study import INFEASIBLE
from sweep.sweep_storage import SweepStorage, backend
from tests.postgres import Postgres
from tests.sweep.fakes import new_storage

PROCESSES, TOTAL = 6, 20
COMPLETE, FAIL, PRUNED = TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED
RUNNING, WAITING = TrialState.RUNNING, TrialState.WAITING
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new database of each kind."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    new_storage(tmp_path / "sweep.db").engine.dispose()
    return str(tmp_path / "sweep.db")


@pytest.fixture
def storage(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SweepStorage]:
    monkeypatch.setattr(claims, "_is_just_up", lambda *_: False)
    opened = open_storage(url, create=True)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def study(storage: SweepStorage) -> optuna.Study:
    storage.add_study("demo", "loss", {}, [])
    return optuna.load_study(study_name="demo", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))


def begin(study: optuna.Study, total: int = 100, *, draw: bool = True) -> optuna.Trial:
    trial = claim(study, total, draw=draw)
    assert trial is not None
    return trial


def begin_elsewhere(study: optuna.Study, total: int = 100) -> optuna.Trial:
    """Another machine's."""
    trial = begin(study, total)
    trial.set_user_attr(OWNER, {**trial.user_attrs[OWNER], "host": "elsewhere"})
    return trial


def states(study: optuna.Study) -> list[TrialState]:
    return [trial.state for trial in study.get_trials()]


def silence(study: optuna.Study, trial: optuna.Trial) -> None:
    """Has its last sign of life be an hour ago."""
    life = TrialHeartbeatModel
    with backend(study).engine.begin() as connection:
        now = connection.execute(sa.select(life.heartbeat).where(life.trial_id == trial._trial_id)).scalar_one()
        change = sa.update(life).where(life.trial_id == trial._trial_id)
        connection.execute(change.values(heartbeat=sa.literal(now.replace(year=now.year - 1), life.heartbeat.type)))


def test_no_more_is_begun_than_the_total_leaves(study: optuna.Study) -> None:
    study.tell(begin(study), 1.0)
    begin(study, 2)
    assert claim(study, 2) is None
    assert (tally(study).finished, tally(study).running) == (1, 1)


def test_what_fails_or_cannot_be_trained_makes_room(study: optuna.Study) -> None:
    study.tell(begin(study, 1), state=FAIL)
    untrained = begin(study, 1)
    untrained.set_user_attr(INFEASIBLE, "breaks a constraint")
    study.tell(untrained, state=PRUNED)
    study.tell(begin(study, 1), 1.0)
    assert claim(study, 1) is None
    assert states(study) == [FAIL, PRUNED, COMPLETE]


def test_begun_trials_come_first_then_enqueued_then_new_ones(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 1.0})
    study.enqueue_trial({"x": 2.0})
    first, second = begin(study), begin(study)
    study.enqueue_trial({"x": 3.0})
    put_back(study, second)
    assert [begin(study).number for _ in range(3)] == [1, 2, 3]
    assert first.number == 0


def test_what_is_parked_takes_its_place_and_waits_for_its_promotion(study: optuna.Study) -> None:
    parked = begin(study)
    parked.set_user_attr(PARKED, True)
    put_back(study, parked)
    assert claim(study, 1) is None
    assert tally(study).parked == 1
    taken = take_up(study, 0)
    assert taken is not None
    assert taken.user_attrs[PARKED] is False
    assert take_up(study, 0) is None


def test_a_design_draws_nothing(study: optuna.Study) -> None:
    assert claim(study, 5, draw=False) is None
    study.enqueue_trial({"x": 1.0})
    assert begin(study, 5, draw=False).number == 0


def test_a_claim_names_its_owner_and_is_alive_at_once(study: optuna.Study) -> None:
    trial = begin(study)
    storage, owner = backend(study), trial.user_attrs[OWNER]
    assert owner["pid"] == os.getpid()
    assert give_sign_of_life(storage, trial._trial_id, owner)
    assert not give_sign_of_life(storage, trial._trial_id, {**owner, "claim": "another"})
    assert fail_silent(study) == {}


def test_a_silent_trial_is_failed_and_a_copy_of_it_waits(study: optuna.Study) -> None:
    lost = begin_elsewhere(study, 1)
    lost.suggest_float("x", 0, 1)
    lost.report(2.0, 1)
    silence(study, lost)
    assert fail_silent(study) == {0: 1}
    assert fail_silent(study) == {}
    assert not give_sign_of_life(backend(study), lost._trial_id, lost.user_attrs[OWNER])
    copy = begin(study, 1)
    assert (copy.number, copy.params, study.trials[1].intermediate_values) == (1, lost.params, {})
    assert claim(study, 1) is None, "it has the lost one's place"


def test_a_continued_trial_that_was_silent_before_is_not_lost(study: optuna.Study) -> None:
    trial = begin_elsewhere(study)
    silence(study, trial)
    put_back(study, trial)
    begin_elsewhere(study)
    assert fail_silent(study) == {}


def test_nobody_is_lost_who_could_not_give_a_sign(study: optuna.Study) -> None:
    own, other = begin(study), begin_elsewhere(study)
    silence(study, own)
    assert fail_silent(study) == {}, "this process slept, and is awake again"
    silence(study, other)
    backend(study).patience.note()
    assert fail_silent(study) == {}, "the database was away a moment ago"
    backend(study).patience = Patience()
    assert list(fail_silent(study)) == [1]


@pytest.mark.postgres
def test_a_server_that_has_just_been_started_fails_nobody(postgres_url: str) -> None:
    storage = open_storage(postgres_url, create=True)
    storage.add_study("demo", "loss", {}, [])
    study = optuna.load_study(study_name="demo", storage=storage)
    silence(study, begin_elsewhere(study))
    storage.grace_period = 10**6
    assert not storage._get_stale_trial_ids(study._study_id) or fail_silent(study) == {}
    assert claims._is_just_up(storage, 10**6)
    assert not claims._is_just_up(storage, 0)


def test_what_takes_machines_down_is_left_failed_at_last(study: optuna.Study) -> None:
    for number in range(3):
        silence(study, begin_elsewhere(study, 1))
        assert fail_silent(study) == {number: number + 1 if number < 2 else None}
    assert begin(study, 1).number == 3
    assert states(study) == [FAIL, FAIL, FAIL, RUNNING]


@pytest.mark.parametrize("end", [COMPLETE, PRUNED, "parked", "untrained"])
@pytest.mark.parametrize("statement", range(1, 5))
def test_a_trial_that_ends_while_it_is_counted_is_not_missed(
    url: str, study: optuna.Study, statement: int, end: TrialState | str
) -> None:
    """Else one too many would be begun."""
    begin(study)
    settled = begin(study)
    other = optuna.load_study(study_name="demo", storage=open_storage(url, create=False))
    seen = list[str]()

    def ends(*given: Any) -> None:
        seen.append(given[2])
        if len(seen) != statement:
            return
        if end == "parked":
            other._storage.set_trial_user_attr(settled._trial_id, PARKED, True)
            put_back(other, settled)
            return
        if end == "untrained":
            other._storage.set_trial_user_attr(settled._trial_id, INFEASIBLE, "breaks a constraint")
        state = end if isinstance(end, TrialState) else PRUNED
        backend(other).set_trial_state_values(settled._trial_id, state, [1.0] if state == COMPLETE else None)

    sa.event.listen(backend(study).engine, "after_cursor_execute", ends)
    there = tally(study)
    sa.event.remove(backend(study).engine, "after_cursor_execute", ends)
    assert len(seen) >= statement
    assert there.finished + there.running + there.parked >= (1 if end == "untrained" else 2)


def test_a_study_is_made_once(storage: SweepStorage, study: optuna.Study) -> None:
    with pytest.raises(DuplicatedStudyError):
        storage.add_study("demo", "loss", {}, [])


def test_a_trial_ends_once(study: optuna.Study) -> None:
    trial = begin(study)
    backend(study).set_trial_state_values(trial._trial_id, FAIL)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        backend(study).set_trial_state_values(trial._trial_id, COMPLETE, [1.0])
    assert study.trials[0].values is None


@pytest.mark.postgres
def test_connections_that_are_cut_at_any_moment_lose_nothing(postgres: Postgres, postgres_url: str) -> None:
    storage = open_storage(postgres_url, create=True)
    storage.add_study("demo", "loss", {}, [])
    study = optuna.load_study(study_name="demo", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    name, over, cut = postgres_url.rpartition("/")[2], threading.Event(), list[object]()
    went_on, chance = threading.Event(), random.Random(0)

    def cuts() -> None:
        """Once in the middle of whatever comes after each step: a slow machine must get on between two."""
        while not over.is_set():
            if went_on.wait(0.01):
                went_on.clear()
                time.sleep(0.02 * chance.random())
                cut.extend(
                    postgres.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
                )

    thread = threading.Thread(target=cuts)
    thread.start()
    try:
        while (trial := claim(study, 12)) is not None:
            x = trial.suggest_float("x", 0, 1)
            for step in range(5):
                trial.report(x + step, step)
                went_on.set()
            study.tell(trial, x)
    finally:
        over.set()
        thread.join()
    assert len(cut) > 5
    assert states(study) == [COMPLETE] * 12
    for done in study.get_trials():
        assert done.intermediate_values == {step: done.params["x"] + step for step in range(5)}
        assert done.value == done.params["x"]


# --- many processes


def _search(url: str, place: int) -> None:
    """One coordinator without training: a third of its trials fail, another third is pruned."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage, chance = open_storage(url, create=True), random.Random(place)
    with contextlib.suppress(DuplicatedStudyError):
        storage.add_study("demo", "loss", {}, [{"x": 0.5}])
    study = optuna.load_study(study_name="demo", storage=storage, sampler=optuna.samplers.RandomSampler(seed=place))
    while tally(study).finished < TOTAL:
        trial = claim(study, TOTAL)
        if trial is None:
            time.sleep(0.02)
            continue
        x = trial.suggest_float("x", 0, 1)
        trial.report(x, 1)
        trial.set_user_attr("by", place)
        state = chance.choice((COMPLETE, FAIL, PRUNED))
        study.tell(trial, x if state == COMPLETE else None, state)


def _cells(url: str, place: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name="demo", storage=open_storage(url, create=False))
    cells, chance = [{"x": float(x)} for x in range(10)], random.Random(place)
    while enqueue_missing(study, cells) or tally(study).running:
        trial = claim(study, 10, draw=False)
        if trial is None:
            time.sleep(0.02)
        else:
            trial.suggest_float("x", 0, 10)
            failed = chance.random() < 0.2
            study.tell(trial, None if failed else 1.0, FAIL if failed else COMPLETE)


def at_once(work: Any, url: str, processes: int = PROCESSES) -> None:
    started = [SPAWN.Process(target=work, args=(url, place)) for place in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * processes


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_coordinators_that_begin_together_on_nothing_come_to_the_total(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The tables, the study and its trials are made by whoever is first."""
    url = str(tmp_path / "new" / "s.db") if kind == "sqlite" else str(request.getfixturevalue("postgres_url"))
    at_once(_search, url)
    trials = optuna.load_study(study_name="demo", storage=open_storage(url, create=False)).get_trials()
    assert sum(trial.state in (COMPLETE, PRUNED) for trial in trials) == TOTAL
    assert {trial.state for trial in trials} == {COMPLETE, PRUNED, FAIL}
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert sum(trial.params["x"] == 0.5 for trial in trials) == 1
    assert len({trial.user_attrs[OWNER]["claim"] for trial in trials}) == len(trials)
    assert len({trial.user_attrs["by"] for trial in trials}) > 1


@pytest.mark.slow
def test_coordinators_run_each_cell_of_a_design_once(url: str, study: optuna.Study) -> None:
    at_once(_cells, url, 4)
    done = [trial.params["x"] for trial in study.get_trials() if trial.state == COMPLETE]
    failed = [trial.params["x"] for trial in study.get_trials() if trial.state == FAIL]
    assert len(set(done)) == len(done)
    given_up = {x for x in failed if failed.count(x) == MOST_TRIES}
    assert {*done, *given_up} == set(map(float, range(10)))
    assert all(failed.count(x) <= MOST_TRIES for x in failed)
