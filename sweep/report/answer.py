"""The answer of a study in one paragraph: which setting to use, how sure that is, and what to try next."""

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.comparison import Comparison
from sweep.summary import Fact, setting_words
from sweep.table import digits, ranked

# Standard deviations between two runs beyond which a gap is hardly chance.
BEYOND_CHANCE = 2.0


def answer(
    study: str,
    rows: Sequence[Mapping[str, Any]],
    facts: Sequence[Fact],
    comparisons: Sequence[Comparison],
    conclusion: Sequence[str] = (),
) -> list[str]:
    """The sentences of the answer.

    Args:
        study: The study's name.
        rows: Rows of `sweep_trials`.
        facts: What was found, a label and a text each (`sweep.summary.found`).
        comparisons: Those of the study; they know the noise of a repeat, where there was one.
        conclusion: What a confirmation of the study's leaders found; empty without one.
    """
    complete = [row for row in ranked(rows) if row["state"] == "complete" and row["value"] is not None]
    finished = sum(row["state"] in ("complete", "pruned") for row in rows)
    if not complete:
        return [f"There is no answer yet: of {finished} finished trials none is complete."]
    best = complete[0]
    told = [
        f"Use {setting_words(best)}. Trial {best['trial_number']} reached an evaluation loss of "
        f"{best['value']:.{digits(best)}f} nats per token with it, the lowest of {finished} finished trials "
        f"({len(complete)} complete, {finished - len(complete)} pruned)."
    ]
    told += conclusion or [_how_sure(complete, comparisons)]
    return [*told, _what_next(study, best, facts, confirmed=bool(conclusion))]


def _how_sure(complete: Sequence[Mapping[str, Any]], comparisons: Sequence[Comparison]) -> str:
    if len(complete) == 1:
        return "How sure: it is the only complete trial, so there is nothing to compare it with."
    gap = float(complete[1]["value"]) - float(complete[0]["value"])
    lead = f"it leads trial {complete[1]['trial_number']}, the next best, by {gap:.4f} nats"
    noise = next((comparison.noise for comparison in comparisons if comparison.noise), None)
    if noise is None:
        return f"How sure: {lead}. No setting was run twice, so how much of that is luck is not known."
    chance = BEYOND_CHANCE * math.sqrt(2) * noise
    verdict = "more than" if gap > chance else "no more than"
    return f"How sure: {lead}, {verdict} chance does (a repeat of one setting moves by {noise:.4f}, one deviation)."


def _what_next(study: str, best: Mapping[str, Any], facts: Sequence[Fact], *, confirmed: bool) -> str:
    edges = [label for label, text in facts if " edge of " in text and "limit" not in text]
    name, next_ = shlex.quote(study), []
    if edges:
        next_.append(
            f"widen {' and '.join(edges)}, since the best lies on an edge of what was tried (see the findings)"
        )
    if not confirmed and best["config"] is not None:
        next_.append(f"run the leaders again at fresh seeds: sweep confirm {name}")
    if best["config"] is not None:
        next_.append(f"train in full with what sweep export {name} writes")
    return f"Next: {'; '.join(next_)}." if next_ else "Next: try it in a sweep of your own."
