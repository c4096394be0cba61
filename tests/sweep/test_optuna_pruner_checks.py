"""What Optuna's own tests check of its pruners, as far as it makes sense for any pruner, on ours and on a stock one.

Optuna publishes suites for samplers and storages (`optuna.testing`), none for pruners. The stock pruner shows that what
is checked here is no peculiarity of ours.
"""

import copy
import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
import pytest
from optuna.pruners import BasePruner, MedianPruner
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep.pruners import TrendPromotion, TrendPruner
from tests.sweep.fakes import new_storage

# The stock pruner's, at values that are no numbers.
pytestmark = pytest.mark.filterwarnings("ignore:All-NaN slice", "ignore:invalid value encountered")

HORIZON = 10
GOOD = (3.0, 2.6, 2.4, 2.3, 2.25, 2.22, 2.2, 2.19, 2.185, 2.18)
BAD = tuple(loss + 0.8 for loss in GOOD)

# Each is made with the reports in which nothing is to be pruned.
Make = Callable[[int], BasePruner]
OURS: dict[str, Make] = {
    "TrendPruner": lambda warmup: TrendPruner(HORIZON, warmup),
    "TrendPromotion": lambda warmup: TrendPromotion(HORIZON, warmup),
}
ALL: dict[str, Make] = OURS | {"MedianPruner": lambda warmup: MedianPruner(n_startup_trials=1, n_warmup_steps=warmup)}
Direction = Literal["minimize", "maximize"]
both_directions = pytest.mark.parametrize("direction", ["minimize", "maximize"])


@pytest.fixture(params=ALL)
def make(request: pytest.FixtureRequest) -> Make:
    return ALL[request.param]


@pytest.fixture
def pruner(make: Make) -> BasePruner:
    return make(0)


def turned(losses: Sequence[float], direction: Direction) -> list[float]:
    """Losses as values that are better where the losses are lower."""
    return [loss if direction == "minimize" else -loss for loss in losses]


def new_study(pruner: BasePruner, direction: Direction = "minimize", **more: Any) -> optuna.Study:
    return optuna.create_study(pruner=pruner, direction=direction, **more)


def done(values: Sequence[float], steps: Sequence[int] = range(1, HORIZON + 1), **changes: Any) -> FrozenTrial:
    reports = dict(zip(steps, values, strict=False))
    return create_trial(**{"value": values[-1], "intermediate_values": reports, **changes})


def pruned_at(study: optuna.Study, values: Sequence[float], steps: Sequence[int] = range(1, HORIZON + 1)) -> list[int]:
    """At which reports a new trial would be pruned."""
    trial, found = study.ask(), []
    for report, (value, step) in enumerate(zip(values, steps, strict=False), start=1):
        trial.report(value, step)
        if trial.should_prune():
            found.append(report)
    return found


# --- made


@pytest.mark.parametrize("make", [*OURS.values(), lambda warmup: MedianPruner(n_warmup_steps=warmup)])
def test_a_warm_up_of_less_than_nothing_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="-1"):
        make(-1)


@pytest.mark.parametrize("kind", [TrendPruner, TrendPromotion])
@pytest.mark.parametrize("horizon", [0, -3])
def test_a_trial_without_reports_is_refused(kind: Callable[[int], BasePruner], horizon: int) -> None:
    with pytest.raises(ValueError, match=f"horizon is {horizon}; allowed: a whole number of at least 1"):
        kind(horizon)


# --- a trial among others


@both_directions
@pytest.mark.parametrize("losses", [GOOD, GOOD[::-1], (2.0,) * HORIZON, (0.0,) * HORIZON, (-1e9, 1e9) * 5])
def test_a_trial_alone_is_never_pruned(pruner: BasePruner, direction: Direction, losses: Sequence[float]) -> None:
    assert pruned_at(new_study(pruner, direction), turned(losses, direction)) == []


@both_directions
def test_a_trial_that_is_worse_is_pruned_and_one_that_is_better_is_not(
    pruner: BasePruner, direction: Direction
) -> None:
    study = new_study(pruner, direction)
    study.add_trial(done(turned(GOOD, direction)))
    assert pruned_at(study, turned(BAD, direction))
    study = new_study(pruner, direction)
    study.add_trial(done(turned(BAD, direction)))
    assert pruned_at(study, turned(GOOD, direction)) == []


def test_a_trial_that_has_not_reported_is_not_pruned(pruner: BasePruner) -> None:
    study = new_study(pruner)
    study.add_trial(done(GOOD))
    trial = study.ask()
    assert not trial.should_prune()
    for value in BAD[:6]:
        trial.report(value, len(study.trials[1].intermediate_values) + 1)
    assert trial.should_prune()


def test_nobody_is_pruned_in_warm_up(make: Make) -> None:
    study = new_study(make(5))
    study.add_trial(done(GOOD))
    found = pruned_at(study, BAD)
    assert found
    assert found[0] in (5, 6), "Optuna counts steps from 0, we reports from 1"


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.WAITING, TrialState.RUNNING])
def test_in_a_study_where_nobody_has_shown_anything_nobody_is_pruned(pruner: BasePruner, state: TrialState) -> None:
    study = new_study(pruner)
    reports = dict(enumerate(GOOD)) if state == TrialState.FAIL else {}
    study.add_trials([create_trial(state=state, intermediate_values=reports)] * 3)
    trial = optuna.Trial(study, study._storage.create_new_trial(study._study_id))
    for step, value in enumerate(BAD):
        trial.report(value, step)
        assert not trial.should_prune()


def test_trials_of_no_report_do_not_disturb(pruner: BasePruner) -> None:
    study = new_study(pruner)
    study.add_trials([create_trial(state=TrialState.PRUNED), create_trial(state=TrialState.FAIL), done(GOOD)])
    study.ask()
    assert pruned_at(study, BAD)


# --- values that are no numbers


@both_directions
def test_a_report_that_is_not_a_number_is_worse_than_any(pruner: BasePruner, direction: Direction) -> None:
    study = new_study(pruner, direction)
    study.add_trial(done(turned(GOOD, direction)))
    assert pruned_at(study, [math.nan]) == [1]


@both_directions
def test_a_report_without_a_bound_is_worse_than_any(pruner: BasePruner, direction: Direction) -> None:
    study = new_study(pruner, direction)
    study.add_trial(done(turned(GOOD, direction)))
    assert pruned_at(study, turned([math.inf], direction)) == [1]


@pytest.mark.parametrize("worst", [math.nan, math.inf])
@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING])
def test_nobody_is_pruned_for_others_reports_that_are_no_numbers(
    pruner: BasePruner, worst: float, state: TrialState
) -> None:
    study = new_study(pruner)
    value = BAD[-1] if state == TrialState.COMPLETE else None
    study.add_trials([done([worst] * HORIZON, state=state, value=value)] * 3)
    assert pruned_at(study, GOOD) == []


# --- steps


@pytest.mark.parametrize(
    "steps",
    [range(10), range(1, 100, 10), [0, 1, 4, 9, 16, 25, 36, 49, 64, 81], range(10**9, 10**9 + 10)],
    ids=["from 0", "with gaps", "uneven", "huge"],
)
def test_steps_need_not_be_counted_from_one(pruner: BasePruner, steps: Sequence[int]) -> None:
    study = new_study(pruner)
    study.add_trials([done(GOOD, steps)])
    assert pruned_at(study, BAD, steps)
    study = new_study(pruner)
    study.add_trials([done(BAD, steps)])
    assert pruned_at(study, GOOD, steps) == []


# --- asking


@both_directions
def test_it_does_not_matter_when_and_how_often_it_was_asked(make: Make, direction: Direction) -> None:
    study = new_study(make(0), direction)
    study.add_trial(done(turned(GOOD, direction)))
    often, values = pruned_at(study, turned(BAD, direction)), turned(BAD, direction)
    for reports in range(1, HORIZON + 1):
        fresh = new_study(make(0), direction)
        fresh.add_trial(done(turned(GOOD, direction)))
        trial = fresh.ask()
        for step, value in enumerate(values[:reports], start=1):
            trial.report(value, step)
        assert [trial.should_prune() for _ in range(2)] == [reports in often] * 2


def test_the_newest_report_decides(make: Make) -> None:
    """What others reported later than this trial's newest report, and for the first time, is not waited for."""
    study = new_study(make(0))
    study.add_trial(done(GOOD))
    trial = study.ask()
    for step, value in enumerate(BAD[:6], start=1):
        trial.report(value, step)
    assert trial.should_prune()
    trial.report(GOOD[-1] - 1.0, 7)
    assert not trial.should_prune()


def test_asking_changes_nothing(pruner: BasePruner) -> None:
    study = new_study(pruner)
    study.add_trials([done(GOOD), done(BAD[:5], state=TrialState.PRUNED, value=None)])
    trial = study.ask()
    for step, value in enumerate(BAD, start=1):
        trial.report(value, step)
        before = copy.deepcopy(study.trials), study.user_attrs
        trial.should_prune()
        assert (study.trials, study.user_attrs) == before


def test_a_frozen_trial_is_judged_as_the_live_one(pruner: BasePruner) -> None:
    study = new_study(pruner)
    study.add_trial(done(GOOD))
    trial = study.ask()
    for step, value in enumerate(BAD, start=1):
        trial.report(value, step)
        assert pruner.prune(study, study.trials[1]) == trial.should_prune()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pruner: pickle.loads(pickle.dumps(pruner))])
def test_a_copy_decides_the_same(pruner: BasePruner, copied: Callable[[BasePruner], BasePruner]) -> None:
    study = new_study(pruner)
    study.add_trial(done(GOOD))
    pruned = pruned_at(study, BAD)
    assert pruned
    other = new_study(copied(pruner))
    other.add_trial(done(GOOD))
    assert pruned_at(other, BAD) == pruned


# --- in a whole study


def journal(folder: Path) -> BaseStorage:
    return JournalStorage(JournalFileBackend(str(folder / "journal.log")))


STORAGES: dict[str, Callable[[Path], BaseStorage]] = {
    "memory": lambda folder: InMemoryStorage(),
    "SQLite": lambda folder: RDBStorage(f"sqlite:///{folder / 'optuna.db'}"),
    "sweep": lambda folder: new_storage(folder / "sweep.db"),
    "journal": journal,
}


@pytest.fixture
def any_storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStorage]:
    storage = STORAGES[request.param](tmp_path)
    yield storage
    if isinstance(storage, RDBStorage):
        storage.engine.dispose()


@pytest.mark.parametrize(
    ("any_storage", "direction", "n_jobs"),
    [
        ("memory", "minimize", 1),
        ("memory", "maximize", 1),
        ("memory", "minimize", 3),
        ("SQLite", "minimize", 1),
        ("sweep", "maximize", 1),
        ("sweep", "minimize", 3),
        ("journal", "minimize", 1),
    ],
    indirect=["any_storage"],
)
def test_a_study_keeps_its_best_trial_and_prunes_others(
    pruner: BasePruner, any_storage: BaseStorage, direction: Direction, n_jobs: int
) -> None:
    ends = [2.0, 3.0, 1.5, 4.0, 3.5, 2.5]

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("x", 0, 1)
        losses = [ends[trial.number] + loss - GOOD[-1] for loss in GOOD]
        for step, value in enumerate(turned(losses, direction), start=1):
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return turned(losses, direction)[-1]

    study = new_study(pruner, direction, storage=any_storage)
    study.optimize(objective, n_trials=len(ends), n_jobs=n_jobs)
    assert study.best_trial.number == 2
    assert study.best_value == pytest.approx(turned([1.5], direction)[0])
    states = [trial.state for trial in study.trials]
    if n_jobs > 1 and isinstance(pruner, MedianPruner):
        return  # it counts complete trials alone: what is pruned depends on which of the parallel ones ended first
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    pruned = next(trial for trial in study.trials if trial.state == TrialState.PRUNED)
    assert 0 < len(pruned.intermediate_values) < HORIZON
    assert pruned.value == pruned.intermediate_values[max(pruned.intermediate_values)]
