"""Which trial runs next, decided in the database, so that any number of coordinators begin N_TRIALS in all.

A claim is the trial's own row: it is running, names its owner, and has a sign of life, all by one transaction. So what
counts as begun is counted from the trials themselves, nothing has to be given back when a trial fails, and a claim
whose machine dies is found by its heartbeat like any trial. A trial that was lost is failed, and a copy of it goes on
under a number of its own: what its first owner still writes, should it only have slept, Optuna then refuses.
"""

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import optuna
import sqlalchemy as sa
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.storages._rdb.models import TrialHeartbeatModel, TrialModel, TrialUserAttributeModel
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.orm import Session, aliased

from sweep.contenders import PARKED
from sweep.recovery import OWNER, is_this_process, this_process
from sweep.study import INFEASIBLE
from sweep.sweep_storage import SweepStorage, backend, set_state, update

# Machines that a trial may take down with it before it is left failed.
MOST_MACHINES = 3


@dataclass(frozen=True)
class Tally:
    """A study's trials, as far as they decide what may begin.

    Attributes:
        finished: Those that count towards N_TRIALS.
        running: Those that run anywhere, with signs of life.
        elsewhere: Those of them that are another process's.
        parked: Those that wait to be promoted.
        saved: Ids of those that were begun, and wait to be continued.
        fresh: The id of the first that waits to be begun; None for none.
        fresh_count: How many wait to be begun.
    """

    finished: int
    running: int
    elsewhere: int
    parked: int
    saved: tuple[int, ...]
    fresh: int | None
    fresh_count: int

    @property
    def waiting(self) -> int:
        """Those that wait to be begun or continued."""
        return len(self.saved) + self.fresh_count

    def to_begin(self, total: int) -> int:
        """How many trials may still be begun or continued."""
        return max(0, total - self.finished - self.running - self.parked)


def tally(study: optuna.Study) -> Tally:
    """A study's trials as they are now."""
    storage = backend(study)

    def read() -> Tally:
        with Session(storage.engine) as session:
            return _tally(session, study._study_id)

    return storage.patience.run(read)


def claim(study: optuna.Study, total: int, *, draw: bool = True) -> optuna.Trial | None:
    """Makes the next trial a running one of this process; None when there is none to begin.

    First come trials that were begun before, then enqueued ones, then new ones.

    Args:
        study: Optuna's.
        total: Finished trials that the study is to have.
        draw: Whether a new trial is made where none waits.
    """
    storage, owner = backend(study), _new_owner()

    def take(session: Session) -> int | None:
        mine = _claimed(session, study._study_id, owner)
        if mine is not None:
            return mine  # the connection was cut after the commit, before its answer came
        there = _tally(session, study._study_id)
        if there.to_begin(total) <= 0:
            return None
        trial_id = there.saved[0] if there.saved else there.fresh
        if trial_id is not None:
            if not set_state(session, trial_id, TrialState.RUNNING):
                return None
        elif draw:
            trial_id = int(storage._get_prepared_new_trial(study._study_id, None, session).trial_id)
        else:
            return None
        _own(session, trial_id, owner)
        return trial_id

    return _trial(study, storage.exclusively(study._study_id, take))


def take_up(study: optuna.Study, number: int) -> optuna.Trial | None:
    """Makes a parked trial a running one of this process; None when another one was first."""
    storage, owner = backend(study), _new_owner()
    trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)

    def take(session: Session) -> int | None:
        if _claimed(session, study._study_id, owner) is None:
            if not set_state(session, trial_id, TrialState.RUNNING):
                return None
            _own(session, trial_id, owner)
            _set_attribute(session, trial_id, PARKED, False)
        return trial_id

    return _trial(study, storage.exclusively(study._study_id, take))


def give_sign_of_life(storage: SweepStorage, trial_id: int, owner: Mapping[str, Any]) -> bool:
    """Records that a trial is alive; False when it is not this owner's any more."""
    attribute = TrialUserAttributeModel
    mine = sa.select(attribute.trial_id).join(TrialModel, TrialModel.trial_id == attribute.trial_id)
    mine = mine.where(attribute.trial_id == trial_id, TrialModel.state == TrialState.RUNNING)
    mine = mine.where(attribute.key == OWNER, attribute.value_json == json.dumps(owner))
    beat = sa.update(TrialHeartbeatModel).where(TrialHeartbeatModel.trial_id.in_(mine))
    with storage.engine.begin() as connection:
        return connection.execute(beat.values(heartbeat=sa.func.current_timestamp())).rowcount == 1


def fail_silent(study: optuna.Study) -> dict[int, int | None]:
    """Fails the trials whose machine has given no sign of life for too long, and has a copy of each wait.

    None is while the database was away so shortly before that no machine could have given one.

    Returns:
        By the number of each trial that was lost the copy's; None for one that has taken too many machines down.
    """
    storage, found = backend(study), dict[int, int | None]()
    grace = storage.grace_period or 2 * (storage.heartbeat_interval or 0)

    def lose(session: Session, trial_id: int) -> tuple[int, int | None] | None:
        owner = session.scalar(_attribute(trial_id, OWNER))
        if owner is not None and is_this_process(json.loads(owner)):
            return None  # this process slept, and is awake again
        if not set_state(session, trial_id, TrialState.FAIL):
            return None  # it has ended, or another machine was first
        lost = storage._build_frozen_trial_from_trial_model(session.get_one(TrialModel, trial_id))
        copy = _copy(lost)
        if copy is None:
            return lost.number, None
        return lost.number, int(storage._get_prepared_new_trial(study._study_id, copy, session).number)

    silent = storage._get_stale_trial_ids(study._study_id)
    if not silent or storage.patience.was_away(grace) or _is_just_up(storage, grace):
        return {}
    for trial_id in silent:
        pair = storage.exclusively(study._study_id, functools.partial(lose, trial_id=trial_id))
        found |= dict([pair] if pair else [])
    return found


def add_missing(study: optuna.Study, missing: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
    """Enqueues settings that depend on which trials there are; no other coordinator does so meanwhile."""
    storage = backend(study)

    def add(session: Session) -> None:
        for settings in missing():
            waiting = create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": dict(settings)})
            storage._get_prepared_new_trial(study._study_id, waiting, session)

    storage.exclusively(study._study_id, add)


def _is_just_up(storage: SweepStorage, seconds: float) -> bool:
    """Whether the server was started less than so many seconds ago."""
    if storage.engine.dialect.name != "postgresql":
        return False
    up = sa.text("SELECT extract(epoch FROM now() - pg_postmaster_start_time())")

    def read() -> bool:
        with storage.engine.connect() as connection:
            return float(connection.execute(up).scalar_one()) < seconds

    return storage.patience.run(read)


def _copy(lost: FrozenTrial) -> FrozenTrial | None:
    """What goes on with a lost trial, as Optuna's `RetryHeartbeatStaleTrialCallback` makes it; None for nothing.

    It has no reports: a checkpoint that is within reach gives them again, and without one it starts anew.
    """
    history = [*RetryHeartbeatStaleTrialCallback.retry_history(lost), lost.number]
    if len(history) >= MOST_MACHINES:
        return None
    return create_trial(
        state=TrialState.WAITING,
        params=lost.params,
        distributions=lost.distributions,
        user_attrs=lost.user_attrs,
        system_attrs={"failed_trial": lost.number, **lost.system_attrs, "retry_history": history},
    )


def _new_owner() -> dict[str, Any]:
    return {**this_process(), "claim": uuid4().hex}


def _trial(study: optuna.Study, trial_id: int | None) -> optuna.Trial | None:
    """A claimed trial for use, as `Study.ask` makes it."""
    if trial_id is None:
        return None
    study._thread_local.cached_all_trials = None
    study.get_trials(deepcopy=False, states=())  # Optuna's cache must know it
    return optuna.Trial(study, trial_id)


def _tally(session: Session, study_id: int) -> Tally:
    """Counts by several statements, in the order in which a trial moves: running, waiting again, finished.

    Trials end without asking anybody. One that does between two statements is then counted twice, so that too few are
    begun until the next look; the other way round it would be missed, and one too many begun.
    """
    trials, attribute = TrialModel, TrialUserAttributeModel
    of_study = trials.study_id == study_id
    by_state = sa.select(trials.state, sa.func.count()).where(of_study).group_by(trials.state)
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    untrained = sa.select(sa.func.count()).join(attribute, attribute.trial_id == trials.trial_id)
    untrained = untrained.select_from(trials).where(of_study, trials.state.in_(ended), attribute.key == INFEASIBLE)
    waits, owner, parked = sa.and_(of_study, trials.state == TrialState.WAITING), aliased(attribute), aliased(attribute)
    running = (
        sa.select(owner.value_json)
        .join(trials, sa.and_(owner.trial_id == trials.trial_id, owner.key == OWNER))
        .join(TrialHeartbeatModel, TrialHeartbeatModel.trial_id == trials.trial_id)
        .where(of_study, trials.state == TrialState.RUNNING)
    )
    begun = (
        sa.select(trials.trial_id, parked.value_json)
        .join(owner, sa.and_(owner.trial_id == trials.trial_id, owner.key == OWNER))
        .outerjoin(parked, sa.and_(parked.trial_id == trials.trial_id, parked.key == PARKED))
        .where(waits)
        .order_by(trials.trial_id)
    )
    is_begun = sa.exists().where(owner.trial_id == trials.trial_id, owner.key == OWNER)
    fresh = sa.select(sa.func.min(trials.trial_id)).where(waits, ~is_begun)
    owners = session.scalars(running).all()
    begun_waiting = session.execute(begun).all()
    not_trained = session.scalar(untrained) or 0
    counts: dict[TrialState, int] = {row[0]: row[1] for row in session.execute(by_state)}
    return Tally(
        finished=sum(counts.get(state, 0) for state in ended) - not_trained,
        running=len(owners),
        elsewhere=sum(not is_this_process(json.loads(told)) for told in owners),
        parked=sum(told == json.dumps(True) for _, told in begun_waiting),
        saved=tuple(trial_id for trial_id, told in begun_waiting if told != json.dumps(True)),
        fresh=session.scalar(fresh),
        fresh_count=counts.get(TrialState.WAITING, 0) - len(begun_waiting),
    )


def _claimed(session: Session, study_id: int, owner: Mapping[str, Any]) -> int | None:
    """The running trial that has this owner."""
    attribute = TrialUserAttributeModel
    query = sa.select(TrialModel.trial_id).join(attribute, attribute.trial_id == TrialModel.trial_id)
    query = query.where(TrialModel.study_id == study_id, TrialModel.state == TrialState.RUNNING)
    return session.scalar(query.where(attribute.key == OWNER, attribute.value_json == json.dumps(owner)))


def _own(session: Session, trial_id: int, owner: Mapping[str, Any]) -> None:
    """Names a trial's owner, and gives its first sign of life."""
    _set_attribute(session, trial_id, OWNER, owner)
    life = TrialHeartbeatModel
    beat = sa.update(life).where(life.trial_id == trial_id).values(heartbeat=sa.func.current_timestamp())
    if update(session, beat) == 0:
        session.execute(sa.insert(life).values(trial_id=trial_id, heartbeat=sa.func.current_timestamp()))


def _attribute(trial_id: int, key: str) -> sa.Select[str]:
    attribute = TrialUserAttributeModel
    return sa.select(attribute.value_json).where(attribute.trial_id == trial_id, attribute.key == key)


def _set_attribute(session: Session, trial_id: int, key: str, value: Any) -> None:
    attribute, text = TrialUserAttributeModel, json.dumps(value)
    where = sa.and_(attribute.trial_id == trial_id, attribute.key == key)
    if update(session, sa.update(attribute).where(where).values(value_json=text)) == 0:
        session.execute(sa.insert(attribute).values(trial_id=trial_id, key=key, value_json=text))
