"""Is the winner real: which leaders to run again at fresh seeds, and what their losses then say."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweep.comparison import student
from sweep.errors import SweepError
from sweep.table import ranked

# The study's user attribute that says which study's leaders it runs again.
CONFIRMS = "confirms"
# Chance that any one of the intervals of a study misses its true difference.
ERROR_RATE = 0.05


@dataclass(frozen=True)
class Candidate:
    """One setting that is run again.

    Attributes:
        number: Its trial in the study that it led.
        losses: Evaluation loss in nats per token, by seed.
        trainable_parameters: Of its adapter.
        peak_memory_bytes: The most that a run of it took; None where no one machine ran all candidates.
        seconds: Training time of a run, the median; None likewise.
    """

    number: int
    losses: Mapping[int, float]
    trainable_parameters: int
    peak_memory_bytes: int | None
    seconds: float | None

    @property
    def cost(self) -> tuple[float, float, float]:
        """What decides between settings that cannot be told apart: parameters, then memory, then time."""
        return self.trainable_parameters, self.peak_memory_bytes or 0, self.seconds or 0.0


@dataclass(frozen=True)
class Standing:
    """A candidate beside the one of lowest mean loss.

    Attributes:
        candidate: Which.
        mean: Its mean loss over the seeds that all candidates have.
        difference: Above the lowest mean; 0 for that one.
        half: Half the width of the difference's interval.
    """

    candidate: Candidate
    mean: float
    difference: float
    half: float

    @property
    def alike(self) -> bool:
        """Whether it cannot be told apart from the one of lowest mean."""
        return self.difference <= self.half


@dataclass(frozen=True)
class Verdict:
    """What a confirmation found.

    Attributes:
        standings: By mean loss.
        chosen: The setting to use.
        sure: Whether it is the winner, and not just the cheapest of those that cannot be told apart.
        seeds: Seeds that all candidates have.
        noise: One standard deviation of a setting's loss from seed to seed, with the seeds' own effect taken out.
    """

    standings: tuple[Standing, ...]
    chosen: Candidate
    sure: bool
    seeds: tuple[int, ...]
    noise: float


def leaders(
    study: str, rows: Sequence[Mapping[str, Any]], searched: Sequence[str], top: int
) -> list[Mapping[str, Any]]:
    """The best complete trials of a study, each of a setting of its own.

    Args:
        study: Its name.
        rows: Rows of `sweep_trials`.
        searched: Knobs that make a setting.
        top: How many; fewer where the study has no more.

    Raises:
        SweepError: There are fewer than two to choose between.
    """
    if top < 2:
        raise SweepError(f"--top is {top}; allowed: a whole number of at least 2, as there is nothing else to choose")
    found: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for row in ranked(rows):
        if row["state"] == "complete" and row["value"] is not None and row["config"] is not None:
            setting = tuple(repr(row["params"].get(knob)) for knob in searched)
            found.setdefault(setting, row)
    if len(found) < 2:
        raise SweepError(
            f"study {study!r} has {len(found)} complete trial{'' if len(found) == 1 else 's'} of different settings; "
            "a confirmation needs 2 at least. The same `make sweep` line with a higher N_TRIALS goes on"
        )
    return list(found.values())[:top]


def judge(candidates: Sequence[Candidate]) -> Verdict | None:
    """Names the winner where the losses allow it, else the cheapest of those that cannot be told apart.

    A seed is a block: what it does to all settings alike is taken out, and what is left over all of them gives one
    deviation (the residual of candidates plus seeds, as in a two-way analysis of variance). Which setting has the
    lowest mean is itself read from these losses, so that any pair may come to be compared: the intervals hold
    together at 95 % over all pairs (Bonferroni).

    Returns:
        None before two candidates have two seeds in common.
    """
    seeds = sorted(set.intersection(*(set(candidate.losses) for candidate in candidates))) if candidates else []
    count, blocks = len(candidates), len(seeds)
    if count < 2 or blocks < 2:
        return None
    losses = np.array([[candidate.losses[seed] for seed in seeds] for candidate in candidates])
    means = losses.mean(axis=1)
    left = losses - means[:, None] - losses.mean(axis=0)[None, :] + losses.mean()
    freedom = (count - 1) * (blocks - 1)
    noise = math.sqrt(float((left**2).sum()) / freedom)
    pairs = count * (count - 1) / 2
    half = student(freedom, ERROR_RATE / pairs) * noise * math.sqrt(2 / blocks)
    order = np.argsort(means, kind="stable")
    standings = tuple(
        Standing(candidates[place], float(means[place]), float(means[place] - means.min()), half) for place in order
    )
    alike = [standing.candidate for standing in standings if standing.alike]
    chosen = min(alike, key=lambda candidate: candidate.cost)
    return Verdict(standings, chosen, len(alike) == 1, tuple(seeds), noise)
