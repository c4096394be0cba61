"""An audit of pruning: some condemned trials run on to their ends, to see what pruning would have cost."""

import math
import random
from collections.abc import Iterable
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sweep.projection import TIE

# The trial's user attribute that says where and why it was condemned; such a trial is not stopped for others again.
AUDITED = "audited"
# Of 95 %: what the share of wrong verdicts is below, one-sided.
CONFIDENCE = 0.95


def drawn(seed: int, number: int, share: float) -> bool:
    """Whether a condemned trial runs on: so settled by its number, also after a resume and on another machine."""
    return random.Random(f"audit {seed} {number}").random() < share


def condemned(place: str, reason: str) -> dict[str, Any]:
    """What is noted of a condemned trial that runs on."""
    return {"place": place, "reason": reason}


def why_it_ran_on(trial: FrozenTrial) -> str:
    """Why an audited trial ran on; empty for any other."""
    noted = trial.user_attrs.get(AUDITED)
    return f"audit: would have been pruned at {noted['place']}: {noted['reason']}" if noted else ""


def audit_words(trials: Iterable[FrozenTrial]) -> str:
    """What the audit of a study found; empty without one.

    A verdict was wrong when the trial became better than all that were not condemned. Of `n` without a wrong one, the
    share of wrong ones is below 1 - (1 - CONFIDENCE)^(1/n) with that confidence (Clopper and Pearson, 1934).
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    audited = [trial for trial in complete if AUDITED in trial.user_attrs]
    best = min((float(trial.value or 0.0) for trial in complete if AUDITED not in trial.user_attrs), default=math.inf)
    if not audited:
        return ""
    if math.isinf(best):
        return f"audited trials alone are complete ({len(audited)}): there is no other to compare with"
    wrong = [trial for trial in audited if float(trial.value or 0.0) < best - TIE]
    head = f"{len(audited)} condemned trial{'' if len(audited) == 1 else 's'} ran to the end"
    nearest = min(float(trial.value or 0.0) for trial in audited) - best
    if wrong:
        numbers = ", ".join(str(trial.number) for trial in wrong)
        return f"{head}, {len(wrong)} wrongly condemned (trial {numbers}), by {-nearest:.3f}"
    most = 1 - (1 - CONFIDENCE) ** (1 / len(audited))
    return f"{head}, none would have won: the nearest ended {max(0.0, nearest):.3f} above; false kills below {most:.0%}"
