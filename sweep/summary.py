"""What a study has found, in words, and what to do next."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.edges import edges
from sweep.numbers import number
from sweep.progress import format_learning_rate
from sweep.storage import shown
from sweep.table import digits, ranked, ratio

Fact = tuple[str, str]  # a label, and what is said of it; further lines of it behind line ends
LABEL_WIDTH = 14  # of labels, where none is longer


def summary(head: str, facts: Sequence[Fact]) -> list[str]:
    """What `found` says, as lines."""
    return [head, *_aligned(facts)]


def found(
    rows: Sequence[Mapping[str, Any]],
    space: Mapping[str, Any],
    rows_spent: int,
    rows_saved: int,
    findings: Sequence[Fact] = (),
    audit: str = "",
) -> tuple[str, list[Fact]]:
    """The findings of a study: the best trial in a sentence, and what else there is to say.

    Args:
        rows: Rows of `sweep_trials`.
        space: The study's space as plain data (`SearchSpace.to_dict`), and beside it, where there is something to say:
            `asked`, what it was asked for by; `scaled`, how learning rates were moved; `grown`, by knob how a range
            grew; `expand`, whether ranges may grow, absent where no run can go on.
        rows_spent: Training rows seen by ended trials.
        rows_saved: Training rows that pruning saved.
        findings: What comparisons found, to be told behind the best trial.
        audit: What the audit of pruning found; empty without one.
    """
    ended = [row for row in rows if row["state"] in ("complete", "pruned")]
    complete = [row for row in ranked(rows) if row["state"] == "complete" and row["value"] is not None]
    if not complete:
        return f"No trial of {len(ended)} is complete yet." if ended else "No trial has finished yet.", []
    best = complete[0]
    facts = _start_line(rows, space, best)
    facts += [("learning rates", space["scaled"])] if space.get("scaled") else []
    facts += list(findings)
    facts += _edge_lines([row for row in ranked(ended) if row["value"] is not None], space)
    facts += _pruning_line(ended, rows_spent, rows_saved)
    facts += [("audit", audit)] if audit else []
    failed = [row for row in rows if row["state"] == "failed"]
    if failed:
        numbers = ", ".join(str(row["trial_number"]) for row in failed[:5])
        facts.append(("failures", f"{len(failed)} of {len(rows)} trials (trial {numbers}): {failed[-1]['reason']}"))
    head = f"Best of {len(ended)}: {setting_words(best)}: evaluation loss {best['value']:.{digits(best)}f}."
    return head, facts


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
    lines, found = list(space.get("grown", {}).items()), edges(best_first, space)
    for knob, value, edge, assignment in found:
        low, high = (number(float(bound)) for bound in space["search"][knob]["float"])
        text = f"best at {number(float(f'{value:.2g}'))}, on the {edge} edge of {low}..{high}"
        if assignment:
            wider = f"make sweep SPACE={shlex.quote(space.get('asked', space['name']))} STUDY=wider SET={assignment}"
            text += ": the optimum may lie beyond."
            if "expand" in space and space["search"][knob].get("limits"):
                asked = "more N_TRIALS" if space["expand"] else "EXPAND=1 and more N_TRIALS"
                text += f"\nLet it grow in this study: the same line with {asked}.\nOr widen"
            else:
                text += "\nWiden"
            text += f" it in a study of its own: {wider}"
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
    lines = [f"  {label:<{width}}  {text}".replace("\n", "\n" + " " * (width + 4)) for label, text in facts]
    return [line for fact in lines for line in fact.split("\n")]
