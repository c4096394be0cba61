"""Runs a study's trials on a sweep's slots: begins them, parks them, takes them up again, tells Optuna of their ends.

`Study.optimize` runs a trial from its beginning to its end; here a slot may leave one that is parked for another. What
`optimize` does besides is done as there: stale trials of lost machines are found before a trial is asked for, a running
trial gives signs of life, and callbacks see each trial that has ended.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from sweep.audit import AUDITED, condemned, drawn
from sweep.claims import claim, fail_silent, give_sign_of_life, take_up, tally
from sweep.contenders import HORIZON, PARKED, is_parked
from sweep.errors import TrialFailed, TrialLost, TrialParked, WorkerDied
from sweep.faults import FAULTS
from sweep.objective import Session, give_up, make_objective
from sweep.pruners import TrendPromotion
from sweep.recovery import OWNER, frozen, put_back, put_back_interrupted
from sweep.sweep_storage import backend

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
        draw: Whether a sampler draws trials where none waits; a design's are all enqueued.
    """

    def __init__(
        self,
        session: Session,
        study: optuna.Study,
        callbacks: Sequence[Callback] = (),
        hopeless: Callable[[], bool] = lambda: False,
        draw: bool = True,
    ) -> None:
        self._session, self._study, self._callbacks, self._hopeless = session, study, callbacks, hopeless
        self._draw, self._left, self._waited = draw, 0, False
        self._objective = make_objective(session)
        self._promotion = study.pruner if isinstance(study.pruner, TrendPromotion) else None
        self._turn = threading.Condition()
        self._busy = 0
        self._fault: BaseException | None = None

    def run(self, n_trials: int) -> None:
        """Begins so many trials, or as many as the study's total leaves; returns when all that began here have ended.

        Raises:
            TrialInterrupted: The sweep is stopping; what was running can go on later.
            SweepError: No trial can run. Any other error of a trial that is not its own is raised as well.
        """
        self._left = n_trials
        slots = self._session.launcher.slots
        with ThreadPoolExecutor(slots, "slot") as pool:
            for _ in range(slots):
                pool.submit(self._slot)
        try:
            self._session.afterwards.finish()
        except BaseException as error:  # noqa: BLE001 - raised below
            self._fault = self._fault or error
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
        self._find_lost()
        there = tally(study)
        most = self._left if self._draw else min(self._left, there.waiting)
        session.to_begin = min(most, there.to_begin(session.total))
        if self._promotion and (taken := self._parked(self._promotion)) is not None:
            return taken
        if session.to_begin <= 0:
            return None
        trial = claim(study, session.total, draw=self._draw)
        if trial is not None:
            self._left -= 1
            session.to_begin -= 1
        return trial

    def _find_lost(self) -> None:
        """Has the trials of lost machines go on: those of this one under their own numbers, others as copies."""
        put_back_interrupted(self._study)
        for number, copy in fail_silent(self._study).items():
            goes_on = "the third that it was on" if copy is None else f"trial {copy} goes on"
            if copy is None:  # else the copy says so when it begins; till then the lost one's files are kept
                self._session.results.close_failed([number], f"its machine was lost, {goes_on}")
            self._session.progress.say(f"trial {number}: no sign of life from its machine; {goes_on}")

    def _waits_for_others(self) -> bool:
        """Whether a trial of another machine runs that counts: it may fail or be lost, or decide what is parked."""
        there = tally(self._study)
        waits = there.finished < self._session.total and there.elsewhere > 0
        if waits and not self._waited:
            self._waited = True
            self._session.progress.say(f"waiting for other machines: {there.elsewhere} running there")
        return waits

    def _runs_anywhere(self) -> bool:
        self._find_lost()
        return tally(self._study).elsewhere > 0

    def _parked(self, promotion: TrendPromotion) -> optuna.Trial | None:
        """A parked trial to go on with: one that is promoted, or condemned and audited. Gives up those without hope."""
        study, more = self._study, self._session.to_begin > 0
        if (audited := self._give_up(promotion.given_up(study, over=False))) is not None:
            return audited
        number = promotion.promoted(study, more=more)
        if number is not None:
            return take_up(study, number)
        if more or self._busy or self._runs_anywhere():
            return None
        # A trial of a lost machine may have been what the best parked one waited behind.
        number = promotion.promoted(study, more=False)
        if number is not None:
            return take_up(study, number)
        # Nothing runs anywhere, and nothing is to be begun: nobody will show that a parked one may lead.
        return self._give_up(promotion.given_up(study, over=True))

    def _give_up(self, reasons: dict[int, str]) -> optuna.Trial | None:
        """Ends parked trials as pruned, up to one that is to run on for the audit, which is returned."""
        session = self._session
        for number, reason in reasons.items():
            trial = take_up(self._study, number)
            if trial is None:
                continue
            if drawn(session.plan.seed, number, session.audit):
                made = len(frozen(trial).intermediate_values)
                place = f"{made} of {trial.user_attrs[HORIZON]}"
                trial.set_user_attr(AUDITED, condemned(place, reason))
                return trial
            try:
                give_up(session, trial, reason)
                self._ended(trial, TrialState.PRUNED)
            except (TrialLost, UpdateFinishedTrialError):
                self._lost(trial)
        return None

    def _do(self, trial: optuna.Trial) -> None:
        """Runs a trial until it ends or is parked, and tells Optuna."""
        try:
            self._run(trial)
        except (TrialLost, UpdateFinishedTrialError):
            self._lost(trial)

    def _run(self, trial: optuna.Trial) -> None:
        try:
            with self._signs_of_life(trial):
                value = self._objective(trial)
        except TrialParked:
            trial.set_user_attr(PARKED, True)
            put_back(self._study, trial)
        except (UpdateFinishedTrialError, *FAULTS):
            raise  # nothing is known against the trial: the next session goes on with it
        except optuna.TrialPruned:
            self._ended(trial, TrialState.PRUNED)
        except (TrialFailed, WorkerDied):
            self._ended(trial, TrialState.FAIL)
        except Exception:
            self._ended(trial, TrialState.FAIL)
            raise
        else:
            self._ended(trial, TrialState.COMPLETE, value)

    def _lost(self, trial: optuna.Trial) -> None:
        """Leaves a trial that another machine has now; what was still written here of its end is taken back."""
        self._session.lost.add(trial.number)
        self._session.results.close_failed([trial.number], "its machine was silent for too long")

    def _ended(self, trial: optuna.Trial, state: TrialState, value: float | None = None) -> None:
        try:
            told = self._study.tell(trial, value, state)
        except ValueError as error:
            if frozen(trial).state != TrialState.RUNNING:
                raise TrialLost from error
            raise
        for callback in self._callbacks:
            callback(self._study, told)

    @contextmanager
    def _signs_of_life(self, trial: optuna.Trial) -> Iterator[None]:
        """Tells the storage that a trial is alive, while it is; notes when it is another machine's now."""
        storage, owner, over = backend(self._study), trial.user_attrs[OWNER], threading.Event()

        def beat() -> None:
            while not over.wait(storage.heartbeat_interval):
                try:
                    alive = give_sign_of_life(storage, trial._trial_id, owner)
                except FAULTS:
                    storage.patience.note()
                    continue  # the slot's own calls wait for the database, and say so
                if not alive and not over.is_set():
                    self._session.lost.add(trial.number)
                    return

        thread = threading.Thread(target=beat, name=f"trial {trial.number} lives", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def parked_count(study: optuna.Study) -> int:
    """Trials that wait to be promoted: they are begun and not finished."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    return sum(is_parked(trial) for trial in waiting)


def unpark(study: optuna.Study) -> None:
    """Lets parked trials be handed out like any that wait: nobody will promote them."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        if is_parked(trial):
            study._storage.set_trial_user_attr(trial._trial_id, PARKED, False)
