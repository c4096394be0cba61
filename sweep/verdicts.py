"""What a study says of the questions that it is run for, in lines for its summary: ratio, target, rank."""

from collections.abc import Sequence

from sweep.compare import compare
from sweep.comparison import REFERENCE, UNDECIDED, Comparison
from sweep.errors import SweepError
from sweep.observations import Observation

# What is asked of every study that searched it, in this order.
QUESTIONS = ("alpha_ratio", "lora_target", "lora_rank")


def verdict_lines(runs: Sequence[Observation]) -> list[tuple[str, str]]:
    """For each knob of `QUESTIONS` that varied, what each level is against the reference: a label and a text."""
    return lines(comparisons(runs))


def comparisons(runs: Sequence[Observation], unused: int = 0) -> list[Comparison]:
    """The knobs of `QUESTIONS` that varied, each compared by itself.

    Args:
        runs: Finished trials.
        unused: Pruned trials that told too little to be among them.
    """
    found = []
    for knob in QUESTIONS:
        if len({run.knobs.get(knob) for run in runs if knob in run.knobs}) > 1:
            try:
                found.append(compare(runs, knob, unused=unused))
            except SweepError:
                continue  # nothing to compare after all: `sweep compare` says what is missing
    return found


def lines(compared: Sequence[Comparison]) -> list[tuple[str, str]]:
    """What each level is against the reference: a label and a text.

    A level without a verdict is left out: `sweep compare` says why it has none.
    """
    return [line for comparison in compared for line in _lines(comparison)]


def _lines(comparison: Comparison) -> list[tuple[str, str]]:
    found = []
    for level in comparison.levels:
        effect = level.effect
        if effect is None or level.verdict in (REFERENCE, UNDECIDED):
            continue
        basis = f"{effect.basis} pairs" if comparison.method == "paired" else "by a model"
        text = f"{effect.difference:+.3f} [{effect.low:+.3f}, {effect.high:+.3f}]   {level.verdict} ({basis})"
        found.append(
            (f"{_name(comparison.by, level.label)} against {_name(comparison.by, comparison.reference)}", text)
        )
    return found


def _name(knob: str, label: str) -> str:
    return f"rank {label}" if knob == "lora_rank" else label
