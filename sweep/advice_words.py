"""Whether the remedies that a study tried helped: told trial by trial, and over the study a hit rate for each state."""

from collections import Counter
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from sweep.advice import Advice, advice_of
from sweep.standing import standing
from sweep.study import is_finished

# Remedies that are told one by one; of more, the newest.
MOST_TOLD = 6


def advice_words(trials: Sequence[FrozenTrial]) -> str:
    """How many remedies helped, by what they were for, and each with the loss before and after; empty without any.

    A remedy helped when its trial has a lower loss than its parent. A pruned trial counts by the loss that it was
    heading for, as in comparisons.

    Args:
        trials: All of a study's, whatever their state.
    """
    given = [(trial, advice) for trial in trials if (advice := advice_of(trial)) is not None]
    if not given:
        return ""
    losses = {seen.number: seen.loss for seen in standing(trial for trial in trials if is_finished(trial))}
    tried, helped = Counter[str](), Counter[str]()
    for trial, advice in given:
        if is_finished(trial):
            tried[advice.kind] += 1
            helped[advice.kind] += _helped(trial, advice, losses)
    lines = [_line(trial, advice, losses) for trial, advice in given[-MOST_TOLD:]]
    if len(given) > MOST_TOLD:
        lines.insert(0, f"the newest {MOST_TOLD} of {len(given)}:")
    rates = ", ".join(f"{helped[kind]} of {tried[kind]} for {kind}" for kind in sorted(tried))
    head = f"{helped.total()} of {tried.total()} remedies helped: {rates}" if tried else "no remedy has been tried yet"
    return "\n".join([head, *lines])


def _helped(trial: FrozenTrial, advice: Advice, losses: dict[int, float]) -> bool:
    """Whether a trial is better than its parent; one that has no loss is worse than any."""
    nothing = float("inf")
    return losses.get(trial.number, nothing) < losses.get(advice.parent, nothing)


def _line(trial: FrozenTrial, advice: Advice, losses: dict[int, float]) -> str:
    before = _loss(advice.parent, losses)
    if is_finished(trial):
        heading = " heading for" if trial.state == TrialState.PRUNED else ""
        verdict = "helped" if _helped(trial, advice, losses) else "did not help"
        came = f"{before} →{heading} {_loss(trial.number, losses)}, {verdict}"
    else:
        came = "failed" if trial.state == TrialState.FAIL else "not finished"
    return f"trial {trial.number} from {advice.parent} ({advice.kind}), {advice.words()}: {came}"


def _loss(number: int, losses: dict[int, float]) -> str:
    return f"{losses[number]:.3f}" if number in losses else "no loss"
