"""A study's trials as contenders, kept from one decision to the next: a decision costs what has changed since.

A parked trial waits for Optuna, whose storages load all that waits again each time that trials are asked for; with
hundreds of them that is most of what a decision would cost.
"""

import math
from dataclasses import dataclass, field

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweep.contenders import Contender, contender, direction_sign
from sweep.sweep_storage import SweepStorage

# Trials that are loaded one by one; of more, all are together.
MOST_SINGLY = 10

Mark = tuple[TrialState, int]


@dataclass
class _Memory:
    """What is known of a study. Slots decide at the same time: each change is one that no other can come between.

    Attributes:
        ended: Finished trials, by id; None for a failed one.
        going: Those that go on or wait, by id, with their state and number of reports: as long as both are the same
            they are what they were, since what else a trial says of itself it says before its first report.
        last: No id of a trial that is known is higher.
        best: The best of those that ended, and how many had when they were looked for.
    """

    ended: dict[int, Contender | None] = field(default_factory=dict)
    going: dict[int, tuple[Mark, Contender]] = field(default_factory=dict)
    last: int = -1
    best: tuple[int, list[Contender]] = (0, [])


class Field:
    """The trials of a study that matter to pruning.

    Args:
        horizon: Reports of a whole trial that does not say its own.
        warmup: Reports in warm-up of a trial that does not say its own.
    """

    def __init__(self, horizon: int, warmup: int) -> None:
        self._horizon, self._warmup = horizon, warmup
        # By the study's name: a pruner may be shared by studies.
        self._memories: dict[str, _Memory] = {}

    def of(self, study: optuna.Study) -> list[Contender]:
        """All trials that have reported and go on or wait, and the best of those that ended; by number.

        Of those that ended, no other one can make a difference to what is decided.
        """
        memory = self._memory(study)
        backend = getattr(study._storage, "_backend", None)
        if isinstance(backend, SweepStorage):
            going = self._look_at_changed(study, backend, memory)
        else:
            going = self._look_at_all(study, memory)
        known = (memory.going.get(trial_id) for trial_id in going)
        found = [seen[1] for seen in known if seen is not None and seen[1].losses]
        return sorted([*_best(memory), *found], key=lambda each: each.number)

    def one(self, study: optuna.Study, trial: FrozenTrial) -> Contender:
        """One trial."""
        return self._note(study, trial, self._memory(study))

    def _memory(self, study: optuna.Study) -> _Memory:
        return self._memories.setdefault(study.study_name, _Memory())

    def _look_at_all(self, study: optuna.Study, memory: _Memory) -> list[int]:
        """Notes what has changed; the ids of the trials that go on or wait."""
        trials = [trial for trial in study.get_trials(deepcopy=False) if trial._trial_id not in memory.ended]
        for trial in trials:
            if not _knows(memory, trial._trial_id, _mark(trial)):
                self._note(study, trial, memory)
        return [trial._trial_id for trial in trials]

    def _look_at_changed(self, study: optuna.Study, storage: SweepStorage, memory: _Memory) -> list[int]:
        """The same, with only those trials loaded that have changed."""
        marks = {trial_id: (state, made) for trial_id, state, made in storage.marks(study._study_id, memory.last)}
        changed = {trial_id for trial_id, mark in marks.items() if not _knows(memory, trial_id, mark)}
        changed |= {trial_id for trial_id in list(memory.going) if trial_id not in marks}
        if len(changed) > MOST_SINGLY:
            trials = [trial for trial in study.get_trials(deepcopy=False) if trial._trial_id in changed]
        else:
            trials = [study._storage.get_trial(trial_id) for trial_id in changed]
        for trial in trials:
            self._note(study, trial, memory)
        memory.last = max([memory.last, *marks])
        return list(marks)

    def _note(self, study: optuna.Study, trial: FrozenTrial, memory: _Memory) -> Contender:
        made = contender(trial, self._horizon, self._warmup, direction_sign(study))
        if trial.state.is_finished():
            memory.ended[trial._trial_id] = made if trial.state != TrialState.FAIL else None
            memory.going.pop(trial._trial_id, None)
        else:
            memory.going[trial._trial_id] = _mark(trial), made
        return made


def _mark(trial: FrozenTrial) -> Mark:
    return trial.state, len(trial.intermediate_values)


def _knows(memory: _Memory, trial_id: int, mark: Mark) -> bool:
    known = memory.going.get(trial_id)
    return known is not None and known[0] == mark


def _best(memory: _Memory) -> list[Contender]:
    """Of those that ended the best complete one, and the best other that did not diverge."""
    if len(memory.ended) != memory.best[0]:
        ended = [each for each in list(memory.ended.values()) if each is not None and math.isfinite(each.reached)]
        complete = [each for each in ended if each.complete]
        pruned = [each for each in ended if not each.complete and each.sound]
        memory.best = (
            len(memory.ended),
            [min(some, key=lambda each: each.reached) for some in (complete, pruned) if some],
        )
    return memory.best[1]
