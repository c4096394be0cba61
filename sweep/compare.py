"""Compares the levels of a knob, or of two, with the other knobs held fixed. Knows trials as data, no database.

A study whose trials stand in blocks, equal in all but what is compared, is compared within them (`sweep.paired`); one
that a sampler chose by a model over its trials (`sweep.sampled`).
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sweep.comparison import REFERENCE, UNDECIDED, Comparison, Effect, Level
from sweep.errors import SweepError
from sweep.numbers import number
from sweep.observations import Observation, Value
from sweep.paired import LEAST_PAIRS, Noise, blocked_share, frozen, paired_effects, repeat_noise
from sweep.sampled import RATE, Fit, model_effects

RATIO = "alpha_ratio"
ALIASES = {"ratio": RATIO}
# Above this share of trials that stand in a block with another level, the study is taken for a grid.
BLOCKED = 0.5
# A numeric knob with more levels than this is compared in groups of equal size.
MOST_LEVELS = 8
GROUPS = 4


At = tuple[Value, ...]  # a level: the value of each knob that is compared


@dataclass(frozen=True)
class _Sides:
    """Each trial's level and its other knobs; `labels` names levels in their order."""

    levels: list[At]
    held: list[dict[str, Value]]
    labels: dict[At, str]
    grouped: bool


def compare(runs: Sequence[Observation], by: str, reference: str = "", unused: int = 0) -> Comparison:
    """Compares the levels of one or two knobs.

    Args:
        runs: The study's finished trials.
        by: A knob, or two with a comma between; "ratio" for alpha over rank.
        reference: The level to compare with, by its label; empty for the most frequent one.
        unused: Pruned trials that told too little to be among `runs`, to be told of.

    Raises:
        SweepError: There is no such knob or level, or nothing to compare.
    """
    names = [ALIASES.get(name.strip(), name.strip()) for name in by.split(",")]
    if not runs:
        raise SweepError("no finished trial to compare yet")
    knobs = [_with(run.knobs, names) for run in runs]
    _check_names(names, knobs)
    sides = _sides(names, knobs)
    level = _reference(sides, reference)
    blocks = [frozen(row) for row in sides.held]
    noise = repeat_noise(runs, [frozen(row) for row in knobs])
    held = tuple(name for name in sides.held[0] if len({row[name] for row in sides.held}) > 1)
    if not sides.grouped and blocked_share(sides.levels, blocks) >= BLOCKED:
        effects = paired_effects(runs, sides.levels, blocks, level, noise)
        why = {at: "in no block with the reference" for at, effect in effects.items() if effect is None}
        notes, method = _paired_notes(effects), "paired"
    else:
        fit = model_effects(runs, sides.levels, sides.held, level)
        effects, why = fit.effects, fit.why
        notes, method = _model_notes(fit, runs, sides, level, RATE in held), "model"
        held = tuple(name for name in held if name not in fit.left_out)
    notes += _common_notes(runs, noise, unused)
    rows = [
        _level(at, label, runs, sides, effects.get(at), why.get(at, ""), level) for at, label in sides.labels.items()
    ]
    repeats = 0 if noise is None else noise.freedom
    deviation = None if noise is None else noise.deviation
    return Comparison(",".join(names), sides.labels[level], method, held, tuple(rows), deviation, repeats, tuple(notes))


def restrict(runs: Sequence[Observation], at: Sequence[str]) -> list[Observation]:
    """The trials whose knobs have the values asked for, each like `learning_rate=1e-3`.

    Raises:
        SweepError: A condition is none, or no trial meets all of them.
    """
    left = list(runs)
    for text in at:
        name, equals, wanted = text.partition("=")
        if not equals:
            raise SweepError(f"--at is {text!r}; allowed: KNOB=VALUE, as in learning_rate=1e-3")
        name = ALIASES.get(name, name)
        values = [_with(run.knobs, [name]).get(name) for run in left]
        there = list(dict.fromkeys(_word(name, value) for value in values if value is not None))
        left = [run for run, value in zip(left, values, strict=True) if value is not None and _is(name, value, wanted)]
        if not left:
            what = f"{name} there: {', '.join(there[:MOST_LEVELS])}" if there else f"there is no knob {name}"
            raise SweepError(f"no trial has {text}; {what}")
    return left


def _is(name: str, value: Value, text: str) -> bool:
    """Whether a value is what a user wrote: 2, 2.0 or 2:1 for a ratio of two."""
    if text == _word(name, value):
        return True
    try:
        return not isinstance(value, str) and float(text) == value
    except ValueError:
        return False


def _with(knobs: Mapping[str, Value], names: Sequence[str]) -> dict[str, Value]:
    """A setting in the knobs that are compared: of rank, alpha and their ratio any two say the third.

    To compare ratios holds the rank and lets alpha go along; to compare alphas in a space of ratios, the reverse.
    """
    rank, alpha, ratio = (knobs.get(name) for name in ("lora_rank", "lora_alpha", RATIO))
    found = dict(knobs)
    if RATIO in names and ratio is None and isinstance(rank, int | float) and isinstance(alpha, int | float):
        found.pop("lora_alpha")
        found[RATIO] = alpha / rank
    elif "lora_alpha" in names and alpha is None and isinstance(rank, int | float) and isinstance(ratio, int | float):
        found.pop(RATIO)
        found["lora_alpha"] = rank * ratio
    return found


def _check_names(names: Sequence[str], knobs: Sequence[Mapping[str, Value]]) -> None:
    if len(names) > 2 or len(set(names)) < len(names):
        raise SweepError(f"--by is {','.join(names)!r}; allowed: one knob, or two different ones with a comma between")
    known = sorted({name for row in knobs for name in row})
    for name in names:
        if name not in known:
            raise SweepError(f"the study has no knob {name!r} to compare; its knobs: {', '.join(known)}")
        if len({row.get(name) for row in knobs}) < 2:
            raise SweepError(f"{name} has one level only in this study, {knobs[0].get(name)}; nothing to compare")


def _sides(names: Sequence[str], knobs: Sequence[Mapping[str, Value]]) -> _Sides:
    """What is compared, and what is held; a knob that a trial does not have counts as the level "none"."""
    all_names = list(dict.fromkeys(name for row in knobs for name in row))
    full = [{name: row.get(name, "none") for name in all_names} for row in knobs]
    parts: list[list[Value]] = []
    grouped = False
    for name in names:
        values = [row[name] for row in full]
        numbers = [float(value) for value in values if not isinstance(value, str)]
        if len(set(values)) > MOST_LEVELS and len(numbers) == len(values):
            grouped = True
            edges = np.quantile(numbers, np.arange(1, GROUPS) / GROUPS)
            parts.append([int(place) for place in np.searchsorted(edges, numbers, side="right")])
        else:
            parts.append(values)
    levels: list[At] = list(zip(*parts, strict=True))
    order = sorted(set(levels), key=lambda level: [(isinstance(part, str), part) for part in level])
    labels = {level: _label(level, names, levels, full) for level in order}
    held = [{name: value for name, value in row.items() if name not in names} for row in full]
    return _Sides(levels, held, labels, grouped)


def _label(level: At, names: Sequence[str], levels: Sequence[At], full: Sequence[Mapping[str, Value]]) -> str:
    """A level in words: its value, a ratio as 2:1, or the range of a group."""
    inside = [row for at, row in zip(levels, full, strict=True) if at == level]
    words = []
    for name in names:
        values = [row[name] for row in inside]
        numbers = [value for value in values if not isinstance(value, str)]
        if len(set(values)) > 1 and len(numbers) == len(values):
            words.append(f"{number(min(numbers))}..{number(max(numbers))}")
        else:
            words.append(_word(name, values[0]))
    return ", ".join(words)


def _word(name: str, value: Value) -> str:
    if isinstance(value, str):
        return value
    if name == RATIO:
        return f"{value:g}:1" if value >= 1 else f"1:{1 / value:g}"
    return number(value)


def _reference(sides: _Sides, asked: str) -> At:
    if not asked:
        counts = Counter(sides.levels)
        # Of equally frequent ones the first in order: the lowest rank, the smallest ratio.
        return max(sides.labels, key=lambda level: counts[level])
    parts = [part.strip() for part in asked.split(",")]
    for level, label in sides.labels.items():
        if ", ".join(parts) == label or (
            len(parts) == len(level) and all(_is("", value, part) for value, part in zip(level, parts, strict=True))
        ):
            return level
    raise SweepError(f"--reference is {asked!r}; the levels are {'; '.join(sides.labels.values())}")


def _level(
    at: At,
    label: str,
    runs: Sequence[Observation],
    sides: _Sides,
    effect: Effect | None,
    why: str,
    reference: At,
) -> Level:
    mine = [index for index, other in enumerate(sides.levels) if other == at]
    complete = [index for index in mine if not runs[index].pruned]
    best = min(complete, key=lambda index: runs[index].loss, default=None)
    rate = None if best is None else runs[best].knobs.get(RATE)
    return Level(
        label=label,
        complete=len(complete),
        pruned=len(mine) - len(complete),
        best=None if best is None else runs[best].loss,
        best_rate=float(rate) if isinstance(rate, int | float) else None,
        median=float(np.median([runs[index].loss for index in mine])),
        effect=effect,
        verdict=REFERENCE if at == reference else UNDECIDED if effect is None else effect.verdict,
        why=why,
    )


def _paired_notes(effects: Mapping[Hashable, Effect | None]) -> list[str]:
    notes = [
        "paired: the mean difference within blocks of trials that are equal in all else; 95 % interval by bootstrap "
        "over the blocks"
    ]
    if any(effect is None or effect.basis < LEAST_PAIRS for effect in effects.values()):
        notes.append(f"no verdict below {LEAST_PAIRS} pairs")
    return notes


def _model_notes(fit: Fit, runs: Sequence[Observation], sides: _Sides, reference: At, rated: bool) -> list[str]:
    notes = [
        f"model: the trials were chosen by a sampler, not in blocks; least squares of the loss on {fit.terms} terms "
        "(the level, the other knobs"
        + (", a cubic in the log learning rate with a slope a level" if rated else "")
        + "); 95 % interval robust to unequal noise (HC2)"
    ]
    if fit.effects and any(effect is not None for effect in fit.effects.values()):
        notes.append(
            f"trust: {len(runs)} trials, {fit.freedom} degrees of freedom, {fit.residual:.4f} nats left unexplained"
        )
        if rated:
            shares = [
                f"{label} {effect.basis} of {len(runs)}"
                for level, label in sides.labels.items()
                if (effect := fit.effects.get(level)) is not None
            ]
            notes.append(
                f"overlap: averaged over trials at learning rates that both levels were tried at ({'; '.join(shares)})"
            )
    if fit.left_out:
        notes.append(f"not held fixed, for want of trials: {', '.join(fit.left_out)}")
    return notes


def _common_notes(runs: Sequence[Observation], noise: Noise | None, unused: int) -> list[str]:
    notes = []
    pruned = [run for run in runs if run.pruned]
    if pruned:
        told = f"pruned: {len(pruned)} of {len(runs)} trials count by the loss that their curve was heading for"
        errors = [run.error for run in pruned if np.isfinite(run.error)]
        notes.append(f"{told} (± {np.median(errors):.3f})" if errors else told)
    if unused:
        notes.append(f"left out: {unused} pruned before their curve told where it was heading")
    if noise is not None:
        times = f"{noise.freedom} repeat{'' if noise.freedom == 1 else 's'}"
        notes.append(f"noise: a repeat of one setting differs by {noise.deviation:.1g} nats (one deviation, {times})")
    else:
        notes.append("noise: no setting was repeated")
    return notes
