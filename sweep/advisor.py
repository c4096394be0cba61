"""Advice that acts: what the guide would change about a sick trial is tried, as a trial beside the sampler's.

Such a trial is enqueued, as any Optuna script could; its user attribute `advice` names its parent and what was changed.
One knob is changed at a time, so that the two trials say whether it helped.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from spaces.space import SearchSpace
from sweep.advice import ADVICE, Advice, advice_of
from sweep.mending import mends, same
from sweep.objective import Session
from sweep.standing import standing
from sweep.study import finished_trials, is_finished

# At most one trial in so many tries a remedy: the sampler must not starve.
ONE_IN = 3


def make_advisor(session: Session) -> Callable[[optuna.Study, FrozenTrial | None], None]:
    """Returns what enqueues remedies; Optuna calls it with each trial that has ended."""
    lock = threading.Lock()

    def advise(study: optuna.Study, _ended: FrozenTrial | None) -> None:
        with lock:
            trials = study.get_trials(deepcopy=False)
            given = sum(advice_of(trial) is not None for trial in trials)
            if len(finished_trials(study)) >= session.total or ONE_IN * (given + 1) > len(trials) + 1:
                return
            found = find_advice(trials, session.results.diagnoses(), session.plan.space)
            if found is not None:
                advice, settings = found
                study.enqueue_trial(settings, user_attrs={ADVICE: asdict(advice)})
                session.progress.say(f"trial {advice.parent} shows {advice.kind}: a trial will try {advice.words()}")

    return advise


def find_advice(
    trials: Sequence[FrozenTrial], diagnoses: Mapping[int, Mapping[str, Any]], space: SearchSpace
) -> tuple[Advice, dict[str, Any]] | None:
    """The remedy to try next and the settings that try it; None when there is none.

    The best sick trial comes first: to mend one that is far behind is seldom worth a trial. Each state of a trial is
    answered once, by the first change of its remedy that the space allows and that no trial has made yet.

    Args:
        trials: All of the study's, whatever their state.
        diagnoses: `Diagnosis.to_dict` by the trial's number.
        space: What may be tried now.
    """
    answered = {(advice.parent, advice.kind) for advice in map(advice_of, trials) if advice is not None}
    tried = [trial.params or trial.system_attrs.get("fixed_params", {}) for trial in trials]
    for parent in _best_first(trials):
        for finding in diagnoses.get(parent.number, {}).get("findings", ()):
            if (parent.number, finding["kind"]) in answered:
                continue
            for knob, settings in mends(space, parent.params, finding["remedy"]):
                if not any(same(space, settings, other) for other in tried):
                    before, after = parent.params[knob], settings[knob]
                    return Advice(parent.number, finding["kind"], knob, before, after), settings
    return None


def _best_first(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Finished trials, those that promise most first; last those that have no loss."""
    finished = {trial.number: trial for trial in trials if is_finished(trial)}
    places = {seen.number: place for place, seen in enumerate(standing(finished.values()))}
    return sorted(finished.values(), key=lambda trial: (places.get(trial.number, len(places)), trial.number))
