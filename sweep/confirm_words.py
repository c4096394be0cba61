"""What a confirmation says: its settings by mean loss, and which one to use."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from sweep.confirm import Candidate, Standing, Verdict, judge
from sweep.design import SEED
from sweep.results import Results
from sweep.summary import setting_words
from trials.report import Report

MEBI = 1 << 20
HEADING = ("trial", "loss", "above the lowest [95 %]", "parameters", "memory", "time", "verdict")


def candidates(results: Results, rows: Sequence[Mapping[str, Any]], confirms: Mapping[str, Any]) -> list[Candidate]:
    """The leaders of a confirmation with their losses at each seed, in the order of the study that they led.

    Args:
        results: The confirmation's tables.
        rows: Its rows of `sweep_trials`.
        confirms: Its `CONFIRMS`.
    """
    ended = {}
    for number, setting in zip(confirms["trials"], confirms["settings"], strict=True):
        runs = [row for row in runs_of(setting, rows) if row["state"] in ("complete", "pruned") and row["value"]]
        if runs:
            ended[number] = runs
    measured = _measured_alike(results, ended)
    return [
        Candidate(
            number=number,
            losses={int(row["params"][SEED]): float(row["value"]) for row in runs},
            trainable_parameters=max(int(row["trainable_parameters"] or 0) for row in runs),
            peak_memory_bytes=max(report.peak_memory_bytes for curve in measured[number] for report in curve)
            if measured
            else None,
            seconds=median(curve[-1].seconds for curve in measured[number]) if measured else None,
        )
        for number, runs in ended.items()
    ]


def _measured_alike(
    results: Results, ended: Mapping[int, Sequence[Mapping[str, Any]]]
) -> dict[int, list[Sequence[Report]]]:
    """The curves whose times and memory compare: those of the one machine that ran all candidates, and most of them.

    Args:
        results: The confirmation's tables.
        ended: The runs of each candidate.

    Returns:
        Curves by candidate; empty where no machine ran all of them.
    """
    machines = results.machines()
    counted: Counter[str] = Counter()
    places: list[set[str]] = []
    for runs in ended.values():
        # Those that were recorded before machines were are taken to be of one; one that moved is of none.
        ran_on = [machine for row in runs if (machine := machines.get(row["trial_number"], "")) is not None]
        counted.update(ran_on)
        places.append(set(ran_on))
    shared = set.intersection(*places) if places else set()
    if not shared:
        return {}
    machine = max(sorted(shared), key=lambda place: counted[place])
    found: dict[int, list[Sequence[Report]]] = {}
    for number, runs in ended.items():
        alike = [row["trial_number"] for row in runs if machines.get(row["trial_number"], "") == machine]
        curves = (results.curve(trial).reports for trial in alike)
        found[number] = [curve for curve in curves if curve]
    return found if all(found.values()) else {}


def runs_of(setting: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of one setting, at all its seeds."""
    return [row for row in rows if row["params"].items() >= setting.items()]


def chosen_run(
    results: Results, rows: Sequence[Mapping[str, Any]], confirms: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """The best run of the setting to use; None where nothing can be judged yet."""
    verdict = judge(candidates(results, rows, confirms))
    if verdict is None:
        return None
    setting = confirms["settings"][confirms["trials"].index(verdict.chosen.number)]
    complete = [row for row in runs_of(setting, rows) if row["state"] == "complete"]
    return min(complete, key=lambda row: float(row["value"]), default=None)


def lines(results: Results, rows: Sequence[Mapping[str, Any]], confirms: Mapping[str, Any]) -> list[str]:
    """What a confirmation found: its settings by mean loss, and the one to use."""
    verdict = judge(candidates(results, rows, confirms))
    if verdict is None:
        return [f"The leaders of {confirms['study']} cannot be judged yet: two of them need two seeds in common."]
    table = [HEADING, *(_cells(standing, verdict) for standing in verdict.standings)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADING))]
    told = [
        f"Leaders of {confirms['study']} at seeds {', '.join(map(str, verdict.seeds))}, which its search did not use:",
        *("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table),
        "",
    ]
    setting = confirms["settings"][confirms["trials"].index(verdict.chosen.number)]
    words = setting_words(runs_of(setting, rows)[0])
    if verdict.chosen.seconds is None:
        told.insert(-1, "Memory and time are not compared: no one machine ran all of them.")
    return [*told, *_conclusion(verdict, words, confirms["study"])]


def _cells(standing: Standing, verdict: Verdict) -> tuple[str, ...]:
    candidate = standing.candidate
    if standing is verdict.standings[0]:
        difference, word = "-", "lowest mean"
    else:
        low, high = standing.difference - standing.half, standing.difference + standing.half
        difference = f"{standing.difference:+.4f} [{low:+.4f}, {high:+.4f}]"
        word = "not distinguishable" if standing.alike else "worse"
    return (
        str(candidate.number),
        f"{standing.mean:.4f}",
        difference,
        f"{candidate.trainable_parameters:,}",
        "-" if candidate.peak_memory_bytes is None else f"{candidate.peak_memory_bytes / MEBI:.0f} MiB",
        "-" if candidate.seconds is None else f"{candidate.seconds:.0f} s",
        word,
    )


def _conclusion(verdict: Verdict, setting: str, study: str) -> list[str]:
    chosen, best = verdict.chosen, verdict.standings[0]
    noise = f"A seed moves a setting by {verdict.noise:.4f} nats (one deviation); all seeds share one evaluation set."
    if verdict.sure:
        head = f"Winner: trial {chosen.number} of {study} ({setting}), mean loss {best.mean:.4f}."
    else:
        alike = sum(standing.alike for standing in verdict.standings)
        head = (
            f"No winner: {alike} of {len(verdict.standings)} cannot be told apart. The cheapest of them is trial "
            f"{chosen.number} of {study} ({setting})."
        )
    return [head, noise]
