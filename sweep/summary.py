"""What a study has found, in words, and what to do next."""

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.progress import format_learning_rate
from sweep.storage import shown
from sweep.table import digits, ranked, ratio

# A best value within this factor of a range's end counts as lying on its edge: learning rates nearer than that
# are hardly told apart in a short trial.
EDGE_FACTOR = 1.5
# The same for a range that is not logarithmic: this share of its width.
EDGE_SHARE = 0.1
# By how much a range is widened beyond the edge that its best value lies on.
WIDEN_FACTOR = 10.0


Fact = tuple[str, str]  # a label, and what is said of it; further lines of it behind line ends
LABEL_WIDTH = 14  # of labels, where none is longer


def summary(
    rows: Sequence[Mapping[str, Any]],
    space: Mapping[str, Any],
    rows_spent: int,
    rows_saved: int,
    findings: Sequence[Fact] = (),
) -> list[str]:
    """The findings of a study.

    Args:
        rows: Rows of `sweep_trials`.
        space: The study's space as plain data (`SearchSpace.to_dict`); where it was asked for by something else
            than its name, by a path, with that as `asked`.
        rows_spent: Training rows seen by ended trials.
        rows_saved: Training rows that pruning saved.
        findings: What comparisons found, to be told behind the best trial.
    """
    ended = [row for row in rows if row["state"] in ("complete", "pruned")]
    complete = [row for row in ranked(rows) if row["state"] == "complete" and row["value"] is not None]
    if not complete:
        return [f"No trial of {len(ended)} is complete yet." if ended else "No trial has finished yet."]
    best = complete[0]
    facts = _start_line(rows, space, best)
    facts += findings
    facts += _edge_lines([row for row in ranked(ended) if row["value"] is not None], space)
    facts += _pruning_line(ended, rows_spent, rows_saved)
    failed = [row for row in rows if row["state"] == "failed"]
    if failed:
        numbers = ", ".join(str(row["trial_number"]) for row in failed[:5])
        facts.append(("failures", f"{len(failed)} of {len(rows)} trials (trial {numbers}): {failed[-1]['reason']}"))
    head = f"Best of {len(ended)}: {setting_words(best)}: evaluation loss {best['value']:.{digits(best)}f}."
    return [head, *_aligned(facts)]


def next_steps(
    study: str, storage: str, default_storage: str, program: str = "sweep", *, confirmable: bool = False
) -> list[str]:
    """The commands that go on from a finished study; a password is for the user to fill in.

    Args:
        study: The study's name.
        storage: Where it is.
        default_storage: Where it would be if nothing were said.
        program: How this program is called from here.
        confirmable: Whether the study has leaders to run again.
    """
    place, name = shlex.quote(shown(storage)), shlex.quote(study)
    where = "" if storage == default_storage else f" --storage {place}"
    make = "" if storage == default_storage else f" STORAGE={place}"
    commands = [
        *([(f"{program} confirm {name}{where}", "is the winner real?")] if confirmable else []),
        (f"{program} show {name}{where}", "every trial, and why it ended"),
        (f"{program} export {name}{where}", "a LLaMA-Factory YAML and the adapter"),
        (f"make dashboard{make}", "every curve and log, on 127.0.0.1"),
    ]
    width = max(len(command) for command, _ in commands)
    return [
        f"{'Next:' if line == 0 else '':<6}{command:<{width}}   {what}" for line, (command, what) in enumerate(commands)
    ]


def target_words(target: str) -> str:
    """A target set for people."""
    names = {
        "all": "all linear layers",
        "qv": "q and v",
        "attention": "attention layers",
        "mlp": "MLP layers",
    }
    return names.get(target, target)


def edges(best_first: Sequence[Mapping[str, Any]], space: Mapping[str, Any]) -> list[tuple[str, float, str, str]]:
    """The continuous ranges on whose edge the best trial lies.

    Args:
        best_first: Trials with a value, ranked; at least one.
        space: The study's space as plain data.

    Returns:
        For each its knob, the best value, "upper" or "lower", and the assignment that widens it; that is empty where
        the range reaches its limit.
    """
    found = []
    for knob, spec in space["search"].items():
        bounds = spec.get("float")
        if bounds is None or bounds[0] == bounds[1]:
            continue
        low, high = (float(bound) for bound in bounds)
        given = [row["params"].get(knob) for row in best_first]
        # Where its `when` does not hold, a knob is absent, or its `else`, which is any value.
        drawn = [isinstance(value, int | float) and low <= value <= high for value in given]
        if not drawn[0]:
            continue
        values = [float(value) for value, searched in zip(given, drawn, strict=True) if searched]
        edge = _edge(values, low, high, bool(spec.get("log")))
        if edge is not None:
            hard = [float(limit) for limit in spec.get("limits") or (-math.inf, math.inf)]
            wider = _widened(low, high, edge, bool(spec.get("log")), hard)
            assignment = f"{knob}={number(wider[0])}..{number(wider[1])}" if wider != (low, high) else ""
            found.append((knob, values[0], edge, assignment))
    return found


def _edge(values: Sequence[float], low: float, high: float, log: bool) -> str | None:
    """Which end of its range the best value lies on; None when it lies inside.

    Args:
        values: The knob's values, the best trial's first.
        low: The range's lower end.
        high: Its upper end.
        log: Whether it is searched by its logarithm.
    """
    places = [math.log(value) for value in values] if log else list(values)
    start, end = (math.log(low), math.log(high)) if log else (low, high)
    margin = math.log(EDGE_FACTOR) if log else EDGE_SHARE * (end - start)
    below, above = places[0] - start, end - places[0]
    if min(below, above) > margin:
        return None
    if max(below, above) > margin or len(places) < 2:
        return "lower" if below < above else "upper"
    # A range so narrow that both its ends are near: it is on the side that better trials lean to.
    half = len(places) // 2
    return "upper" if sum(places[:half]) / half > sum(places[-half:]) / half else "lower"


def _widened(low: float, high: float, edge: str, log: bool, limits: Sequence[float]) -> tuple[float, float]:
    if log:
        wider = (low / WIDEN_FACTOR, high) if edge == "lower" else (low, high * WIDEN_FACTOR)
    else:
        wider = (low - (high - low), high) if edge == "lower" else (low, high + (high - low))
    return max(wider[0], limits[0]), min(wider[1], limits[1])


def number(value: float) -> str:
    """A number as a space file would hold it: 0.001 as 1e-3, 12 as 12."""
    if value and (abs(value) < 0.01 or abs(value) >= 1e5):
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}"


def setting_words(row: Mapping[str, Any]) -> str:
    """A trial's settings; one that was imported tells those of its table."""
    if row["config"] is None:
        return ", ".join(f"{knob} {value}" for knob, value in row["params"].items())
    return (
        f"rank {row['lora_rank']}, alpha {row['lora_alpha']:g} ({ratio(row)}), {target_words(row['lora_target'])}, "
        f"learning rate {format_learning_rate(row['learning_rate'])}, batch {row['effective_batch_size']}"
    )


def _start_line(rows: Sequence[Mapping[str, Any]], space: Mapping[str, Any], best: Mapping[str, Any]) -> list[Fact]:
    """How far the best is below the guide's starting point, which is trial 0 when the space has one."""
    first = next((row for row in rows if row["trial_number"] == 0 and row["value"] is not None), None)
    if not space["start"] or first is None or first is best:
        return []
    setting = (
        f"rank {first['lora_rank']}, alpha {first['lora_alpha']:g}, {first['lora_target']}, "
        f"learning rate {format_learning_rate(first['learning_rate'])}"
    )
    above = first["value"] - best["value"]
    when = " when it was pruned" if first["state"] == "pruned" else ""
    return [("start point", f"{setting}: {first['value']:.3f}{when}, so {above:.3f} above")]


def _edge_lines(best_first: Sequence[Mapping[str, Any]], space: Mapping[str, Any]) -> list[Fact]:
    lines, found = [], edges(best_first, space)
    for knob, value, edge, assignment in found:
        low, high = (number(float(bound)) for bound in space["search"][knob]["float"])
        text = f"best at {number(float(f'{value:.2g}'))}, on the {edge} edge of {low}..{high}"
        if assignment:
            text += (
                f": the optimum may lie beyond.\nWiden it in a study of its own: "
                f"make sweep SPACE={shlex.quote(space.get('asked', space['name']))} STUDY=wider SET={assignment}"
            )
        else:
            text += ", which is its limit"
        lines.append((knob, text))
    searched = "float" in space["search"].get("learning_rate", {})
    if searched and all(knob != "learning_rate" for knob, *_ in found):
        best = format_learning_rate(best_first[0]["learning_rate"])
        lines.append(("learning_rate", f"best at {best}, inside its range"))
    return lines


def _pruning_line(ended: Sequence[Mapping[str, Any]], spent: int, saved: int) -> list[Fact]:
    pruned = sum(row["state"] == "pruned" for row in ended)
    if not pruned and not spent:  # runs that were made elsewhere: nobody could have pruned them
        return []
    if not pruned:
        return [("pruning", "no trial was pruned")]
    share = 100 * saved / (saved + spent)
    return [("pruning", f"{pruned} of {len(ended)} trials pruned, {share:.0f} % of rows saved")]


def _aligned(facts: Sequence[Fact]) -> list[str]:
    width = max([LABEL_WIDTH, *(len(label) for label, _ in facts)])
    return [f"  {label:<{width}}  {text}".replace("\n", "\n" + " " * (width + 4)) for label, text in facts]
