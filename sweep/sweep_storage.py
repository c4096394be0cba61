"""Optuna's storage as several coordinators share it: nothing is handed out twice, and it waits for its database."""

import contextlib
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import optuna
import sqlalchemy as sa
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import (
    StudyDirectionModel,
    StudyModel,
    StudySystemAttributeModel,
    StudyUserAttributeModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialValueModel,
)
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from sweep.contenders import is_parked
from sweep.patience import FAULTS, Patience, patient

Result = TypeVar("Result")
# Where Optuna keeps the names of a study's values.
_METRICS = "study:metric_names"
UNFINISHED = (TrialState.RUNNING, TrialState.WAITING)
_MADE = (
    sa.select(sa.func.count())
    .where(TrialIntermediateValueModel.trial_id == TrialModel.trial_id)
    .correlate(TrialModel)
    .scalar_subquery()
)
# By what it is known whether a trial has changed (`SweepStorage.marks`).
_MARKS = sa.select(TrialModel.trial_id, TrialModel.state, _MADE).where(
    TrialModel.study_id == sa.bindparam("study_id"),
    sa.or_(TrialModel.state.in_(UNFINISHED), TrialModel.trial_id > sa.bindparam("after")),
)


class SweepStorage(RDBStorage):
    """Optuna's storage, with states that change once, and patience with its database.

    RDBStorage reads a trial's state and writes it in two statements. SQLite locks no row in between, so that two
    slots that ask at the same time both get the waiting trial, or both end it. Here each change of state is one
    conditional update. A parked trial waits too, but is handed out only once it is promoted.
    """

    def __init__(self, url: str, *args: Any, patience: Patience | None = None, **options: Any) -> None:
        self.patience = patience or Patience()
        super().__init__(url, *args, **options)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As RDBStorage does; a trial is set running only by the one call that finds it waiting."""
        if state == TrialState.RUNNING and is_parked(self.get_trial(trial_id)):
            return False
        tries = 0

        def change() -> bool:
            nonlocal tries
            tries += 1
            with Session(self.engine) as session, session.begin():
                if not set_state(session, trial_id, state):
                    now = session.scalar(sa.select(TrialModel.state).where(TrialModel.trial_id == trial_id))
                    if now is None:
                        raise KeyError(f"no trial {trial_id}")
                    if tries > 1 and now == state:
                        return True  # the connection was cut after the commit, before its answer came
                    self.check_trial_is_updatable(trial_id, now)
                    return False
                for objective, value in enumerate(values or ()):
                    _set_value(session, trial_id, objective, value)
            return True

        return self.patience.run(change)

    def exclusively(self, study_id: int, action: Callable[[Session], Result]) -> Result:
        """Does something in one transaction, in which nobody else adds, claims or gives up a trial of the study.

        It must do no harm when it is done twice: a connection may be cut between a commit and its answer.
        """

        def attempt() -> Result:
            with Session(self.engine) as session, session.begin():
                # Changes nothing. It is what others wait for: PostgreSQL locks the row, SQLite the file.
                same = sa.update(StudyModel).where(StudyModel.study_id == study_id)
                update(session, same.values(study_name=StudyModel.study_name))
                return action(session)

        return self.patience.run(attempt)

    def add_study(
        self, name: str, metric: str, user_attrs: Mapping[str, Any], points: Iterable[Mapping[str, Any]]
    ) -> None:
        """Adds a whole study that minimises, with settings that wait as its first trials: others see all of it or none.

        Raises:
            DuplicatedStudyError: There is one of that name.
        """

        def add() -> None:
            with Session(self.engine) as session, session.begin():
                study = StudyModel(study_name=name)
                study.directions = [StudyDirectionModel(objective=0, direction=StudyDirection.MINIMIZE)]
                session.add(study)
                session.flush()
                attributes = [StudySystemAttributeModel(key=_METRICS, value_json=json.dumps([metric]))]
                attributes += [
                    StudyUserAttributeModel(key=key, value_json=json.dumps(value)) for key, value in user_attrs.items()
                ]
                for attribute in attributes:
                    attribute.study_id = study.study_id
                    session.add(attribute)
                for point in points:
                    waiting = create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": dict(point)})
                    self._get_prepared_new_trial(int(study.study_id), waiting, session)

        try:
            self.patience.run(add)
        except IntegrityError as error:
            raise DuplicatedStudyError(f"there is a study {name!r} already") from error

    def best_value(self, study_id: int) -> float | None:
        """The lowest value of a study's complete trials, read alone; None before the first."""
        query = (
            sa.select(sa.func.min(TrialValueModel.value))
            .join(TrialModel, TrialModel.trial_id == TrialValueModel.trial_id)
            .where(TrialModel.study_id == study_id, TrialModel.state == TrialState.COMPLETE)
        )

        def read() -> float | None:
            with Session(self.engine) as session:
                found: float | None = session.scalar(query)
                return found

        return self.patience.run(read)

    def marks(self, study_id: int, after: int) -> list[tuple[int, TrialState, int]]:
        """By what it is known whether a trial has changed: of those that go on or wait, and all that came after one.

        Args:
            study_id: Optuna's.
            after: A trial's id.

        Returns:
            Each trial's id, its state and how much it has reported.
        """

        def read() -> list[tuple[int, TrialState, int]]:
            with self.engine.connect() as connection:
                rows = connection.execute(_MARKS, {"study_id": study_id, "after": after}).all()
            return [(trial_id, state, made) for trial_id, state, made in rows]

        return self.patience.run(read)


def _by_a_fresh_session(method: Callable[..., Result]) -> Callable[..., Result]:
    """Has the next try begin a session of its own: one whose connection was cut in a commit is of no more use."""

    @functools.wraps(method)
    def call(self: SweepStorage, *args: Any, **options: Any) -> Result:
        try:
            return method(self, *args, **options)
        except FAULTS:
            with contextlib.suppress(*FAULTS):
                self.remove_session()
            raise

    return call


# What Optuna's cache of a storage asks of it. That a new trial is made twice, when a connection is cut between the
# commit and its answer, makes one that waits: none is begun beyond the total (`sweep.claims`).
for _name in (
    "_create_new_trial",
    "_get_best_trial_id",
    "_get_stale_trial_ids",
    "_get_trials",
    "_set_trial_param",
    "get_all_studies",
    "get_study_directions",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
    "get_trial_id_from_study_id_trial_number",
    "get_trial_system_attrs",
    "get_trial_user_attrs",
    "set_study_system_attr",
    "set_study_user_attr",
    "set_trial_intermediate_value",
    "set_trial_system_attr",
    "set_trial_user_attr",
):
    setattr(SweepStorage, _name, patient(_by_a_fresh_session(getattr(RDBStorage, _name))))


def set_state(session: Session, trial_id: int, state: TrialState) -> bool:
    """Changes a trial's state by one statement, if it is one that may change; whether it was.

    A trial is set running when it waits; anything else, when it runs or waits.
    """
    before = (TrialState.WAITING,) if state == TrialState.RUNNING else UNFINISHED
    change = sa.update(TrialModel).where(TrialModel.trial_id == trial_id, TrialModel.state.in_(before))
    now, values = datetime.now(UTC).replace(tzinfo=None), dict[Any, Any]({TrialModel.state: state})
    if state == TrialState.RUNNING:
        values[TrialModel._datetime_start_utc] = now
    elif state.is_finished():
        values[TrialModel._datetime_complete_utc] = now
    return update(session, change.values(values)) == 1


def update(session: Session, change: sa.Update) -> int:
    """Changes rows; how many. Objects which the session may hold do not follow."""
    done = session.execute(change, execution_options={"synchronize_session": False})
    return cast("sa.CursorResult[Any]", done).rowcount


def backend(study: optuna.Study) -> SweepStorage:
    """The storage of a study, behind Optuna's cache of it."""
    storage = getattr(study._storage, "_backend", study._storage)
    if not isinstance(storage, SweepStorage):
        raise TypeError(f"a sweep's study is in a SweepStorage, not in a {type(storage).__name__}")
    return storage


def _set_value(session: Session, trial_id: int, objective: int, value: float) -> None:
    stored, kind = TrialValueModel.value_to_stored_repr(value)
    where = sa.and_(TrialValueModel.trial_id == trial_id, TrialValueModel.objective == objective)
    if session.scalar(sa.select(TrialValueModel.trial_value_id).where(where)) is None:
        session.add(TrialValueModel(trial_id=trial_id, objective=objective, value=stored, value_type=kind))
    else:
        session.execute(sa.update(TrialValueModel).where(where).values(value=stored, value_type=kind))
