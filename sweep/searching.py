"""Runs a study's trials on a sweep's slots: begins them, parks them, takes them up again, tells Optuna of their ends.

`Study.optimize` runs a trial from its beginning to its end; here a slot may leave one that is parked for another. What
`optimize` does besides is done as there: stale trials of lost machines are found before a trial is asked for, a running
trial gives signs of life, and callbacks see each trial that has ended.
"""

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from sweep.audit import AUDITED, condemned, drawn
from sweep.contenders import HORIZON, PARKED, is_parked
from sweep.errors import TrialFailed, TrialParked, WorkerDied
from sweep.faults import FAULTS
from sweep.objective import Session, give_up, make_objective
from sweep.pruners import TrendPromotion
from sweep.recovery import frozen, put_back
from sweep.storage import HEARTBEAT_SECONDS

# Seconds after which a slot without work looks again: trials of other machines end without a word to this one.
LOOK_SECONDS = 2.0

Callback = Callable[[optuna.Study, FrozenTrial], None]


class Search:
    """One sweep's trials, run by a thread a slot.

    Args:
        session: What the trials share.
        study: Optuna's. A `TrendPromotion` for its pruner parks trials and takes them up again.
        callbacks: Called with each trial that has ended, in the thread that ran it.
        hopeless: Whether nothing more should be begun, since one trial after the other fails.
    """

    def __init__(
        self,
        session: Session,
        study: optuna.Study,
        callbacks: Sequence[Callback] = (),
        hopeless: Callable[[], bool] = lambda: False,
    ) -> None:
        self._session, self._study, self._callbacks, self._hopeless = session, study, callbacks, hopeless
        self._objective = make_objective(session)
        self._promotion = study.pruner if isinstance(study.pruner, TrendPromotion) else None
        self._turn = threading.Condition()
        self._busy = 0
        self._fault: BaseException | None = None

    def run(self, n_trials: int) -> None:
        """Begins so many trials, and returns when all that have begun here have ended.

        Raises:
            TrialInterrupted: The sweep is stopping; what was running can go on later.
            SweepError: No trial can run. Any other error of a trial that is not its own is raised as well.
        """
        self._session.to_begin = n_trials
        slots = self._session.launcher.slots
        with ThreadPoolExecutor(slots, "slot") as pool:
            for _ in range(slots):
                pool.submit(self._slot)
        if missing := self._session.artifacts.finish():
            self._session.progress.say(missing)
        if self._fault is not None:
            raise self._fault

    def _slot(self) -> None:
        """Does one trial, or stretch of one, after the other."""
        while (trial := self._take()) is not None:
            fault: BaseException | None = None
            try:
                self._do(trial)
            except BaseException as error:  # noqa: BLE001 - raised again by `run`, once the other slots are done
                fault = error
            with self._turn:
                self._busy -= 1
                self._fault = self._fault or fault
                self._turn.notify_all()

    def _take(self) -> optuna.Trial | None:
        """Waits for something to run; None when there is nothing more."""
        with self._turn:
            while not self._halted():
                try:
                    trial = self._next()
                    over = trial is None and self._busy == 0 and not self._waits_for_others()
                except BaseException as error:  # noqa: BLE001 - as above
                    self._fault = error
                    self._turn.notify_all()
                    return None
                if trial is not None:
                    self._busy += 1
                    return trial
                if over:
                    return None
                self._turn.wait(LOOK_SECONDS)
            return None

    def _halted(self) -> bool:
        return self._fault is not None or self._session.stopping.is_set() or self._hopeless()

    def _next(self) -> optuna.Trial | None:
        """The parked trial whose turn it is, else a new one while there are some to begin."""
        session, study = self._session, self._study
        if self._promotion and (taken := self._parked(self._promotion)) is not None:
            return taken
        if session.to_begin <= 0:
            return None
        session.to_begin -= 1
        self._find_lost()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that signs of life are `optimize`'s
            return study.ask()

    def _find_lost(self) -> None:
        """Fails the trials of lost machines, and has them tried again."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(self._study)

    def _waits_for_others(self) -> bool:
        """Whether something is parked and a trial of another machine runs, on which it depends what becomes of it."""
        return bool(self._promotion and parked_count(self._study)) and self._runs_anywhere()

    def _runs_anywhere(self) -> bool:
        self._find_lost()
        return bool(self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))

    def _parked(self, promotion: TrendPromotion) -> optuna.Trial | None:
        """A parked trial to go on with: one that is promoted, or condemned and audited. Gives up those without hope."""
        study, more = self._study, self._session.to_begin > 0
        if (audited := self._give_up(promotion.given_up(study, over=False))) is not None:
            return audited
        number = promotion.promoted(study, more=more)
        if number is not None:
            return _take_up(study, number)
        if more or self._busy or self._runs_anywhere():
            return None
        # A trial of a lost machine may have been what the best parked one waited behind.
        number = promotion.promoted(study, more=False)
        if number is not None:
            return _take_up(study, number)
        # Nothing runs anywhere, and nothing is to be begun: nobody will show that a parked one may lead.
        return self._give_up(promotion.given_up(study, over=True))

    def _give_up(self, reasons: dict[int, str]) -> optuna.Trial | None:
        """Ends parked trials as pruned, up to one that is to run on for the audit, which is returned."""
        session = self._session
        for number, reason in reasons.items():
            trial = _take_up(self._study, number)
            if trial is None:
                continue
            if drawn(session.plan.seed, number, session.audit):
                made = len(frozen(trial).intermediate_values)
                place = f"{made} of {trial.user_attrs[HORIZON]}"
                trial.set_user_attr(AUDITED, condemned(place, reason))
                return trial
            give_up(session, trial, reason)
            self._ended(trial, TrialState.PRUNED)
        return None

    def _do(self, trial: optuna.Trial) -> None:
        """Runs a trial until it ends or is parked, and tells Optuna."""
        try:
            with _signs_of_life(trial):
                value = self._objective(trial)
        except TrialParked:
            trial.set_user_attr(PARKED, True)
            put_back(self._study, trial)
        except optuna.TrialPruned:
            self._ended(trial, TrialState.PRUNED)
        except (TrialFailed, WorkerDied):
            self._ended(trial, TrialState.FAIL)
        except FAULTS:
            raise  # nothing is wrong with the trial: the next session goes on with it
        except Exception:
            self._ended(trial, TrialState.FAIL)
            raise
        else:
            self._ended(trial, TrialState.COMPLETE, value)

    def _ended(self, trial: optuna.Trial, state: TrialState, value: float | None = None) -> None:
        told = self._study.tell(trial, value, state)
        for callback in self._callbacks:
            callback(self._study, told)


def parked_count(study: optuna.Study) -> int:
    """Trials that wait to be promoted: they are begun and not finished."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    return sum(is_parked(trial) for trial in waiting)


def unpark(study: optuna.Study) -> None:
    """Lets parked trials be handed out like any that wait: nobody will promote them."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        if is_parked(trial):
            study._storage.set_trial_user_attr(trial._trial_id, PARKED, False)


def _take_up(study: optuna.Study, number: int) -> optuna.Trial | None:
    """Makes a parked trial a running one of this process; None when another one was first."""
    storage = study._storage
    trial_id = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    try:
        storage.set_trial_user_attr(trial_id, PARKED, False)
        claimed = storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    except UpdateFinishedTrialError:
        return None
    return optuna.Trial(study, trial_id) if claimed else None


@contextmanager
def _signs_of_life(trial: optuna.Trial) -> Iterator[None]:
    """Tells the storage that a trial is alive, while it is."""
    storage = getattr(trial.study._storage, "_backend", trial.study._storage)
    if not isinstance(storage, RDBStorage):
        yield
        return
    over = threading.Event()

    def beat() -> None:
        while not over.is_set():
            storage.record_heartbeat(trial._trial_id)
            over.wait(HEARTBEAT_SECONDS)

    thread = threading.Thread(target=beat, name=f"trial {trial.number} lives", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
