"""Which trials two bundles of one study have in common, whose run of them counts, and what numbers they get.

Trials that were there before the study was parted are the same in both: they were begun at the same moment, or, where
both machines began them later, they were enqueued with the same settings under the same number. A trial whose machine
was lost and those that were begun to go on with it are one chain: they share a folder, and stay together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial, TrialState

# What counts more, if two machines ran the same trial; between two that are alike, the first bundle's counts.
_RANKS = {
    TrialState.COMPLETE: 4,
    TrialState.PRUNED: 3,
    TrialState.RUNNING: 2,
    TrialState.WAITING: 2,
    TrialState.FAIL: 1,
}


@dataclass(frozen=True)
class Run:
    """A trial as one of the bundles has it.

    Attributes:
        trial: Optuna's.
        begun: When it was begun first; None where it was not.
    """

    trial: FrozenTrial
    begun: datetime | None

    @property
    def rank(self) -> tuple[int, int]:
        """How far it came: its state, then its evaluations."""
        return _RANKS[self.trial.state], len(self.trial.intermediate_values)

    def is_same(self, other: "Run") -> bool:
        """Whether it is the same trial as the other bundle's, be it another run of it."""
        mine, theirs = self.trial, other.trial
        if self.begun is not None and self.begun == other.begun:
            return mine.params == theirs.params or not mine.params or not theirs.params
        if mine.number != theirs.number:
            return False
        if self.begun is None and other.begun is None and not mine.params and not theirs.params:
            return _enqueued(mine) == _enqueued(theirs)
        if mine.params and theirs.params:
            return mine.params == theirs.params
        return _enqueued(mine) is not None and _enqueued(mine) == _enqueued(theirs)


@dataclass(frozen=True)
class Joined:
    """What the merged study has.

    Attributes:
        first: The number of each trial that is taken from the first bundle, by its number there.
        second: The same of the second bundle.
        places: What any number of the second bundle means now, also of trials that both had.
        common: Trials that both had.
        replaced: Those of them of which the second bundle's run counts.
        superseded: Numbers, in the first bundle, of lost runs that are kept in name alone.
    """

    first: Mapping[int, int]
    second: Mapping[int, int]
    places: Mapping[int, int]
    common: int
    replaced: int
    superseded: tuple[int, ...]

    @property
    def renumbered(self) -> dict[int, int]:
        """Trials of the second bundle that have another number now, by their number there."""
        return {old: new for old, new in self.second.items() if old != new}


def join(first: Sequence[Run], second: Sequence[Run]) -> Joined:
    """Settles what a merged study has: every trial once, the first bundle's numbers all kept, the second's where free.

    Args:
        first: The first bundle's trials, by number.
        second: The second's.
    """
    ours, theirs = _chains(first), _chains(second)
    by_begin = {chain[0].begun: chain for chain in ours if chain[0].begun is not None}
    by_number = {chain[0].trial.number: chain for chain in ours}
    from_first = {run.trial.number: run.trial.number for run in first}
    from_second: dict[int, int] = {}
    superseded: list[int] = []
    new: list[Run] = []
    places: dict[int, int] = {}
    common = replaced = 0
    for chain in theirs:
        head = chain[0]
        match = by_begin.get(head.begun) if head.begun is not None else None
        match = match or by_number.get(head.trial.number)
        if match is None or match[0].trial.number in places.values() or not head.is_same(match[0]):
            new += chain
            continue
        common += 1
        places[head.trial.number] = match[0].trial.number
        if max(run.rank for run in chain) <= max(run.rank for run in match):
            continue
        replaced += 1
        place = match[0].trial.number
        from_second[head.trial.number] = place
        del from_first[place]
        superseded += [run.trial.number for run in match[1:]]
        new += chain[1:]
    _number(new, from_second, len(first))
    return Joined(from_first, from_second, places | from_second, common, replaced, tuple(superseded))


def _number(new: Sequence[Run], numbers: dict[int, int], taken: int) -> None:
    """Gives trials numbers from `taken` on without a gap, each its own where that is among them."""
    free = set(range(taken, taken + len(new)))
    homeless = []
    for run in new:
        number = run.trial.number
        if number in free:
            free.remove(number)
            numbers[number] = number
        else:
            homeless.append(number)
    numbers.update(zip(homeless, sorted(free), strict=True))


def _chains(runs: Sequence[Run]) -> list[list[Run]]:
    """Trials with those that were begun to go on with them, by the first one's number."""
    chains: dict[int, list[Run]] = {}
    for run in runs:
        head = run.trial.system_attrs.get("failed_trial", run.trial.number)
        chains.setdefault(head if head in chains else run.trial.number, []).append(run)
    return list(chains.values())


def _enqueued(trial: FrozenTrial) -> dict[str, Any] | None:
    settings: dict[str, Any] | None = trial.system_attrs.get("fixed_params")
    return settings
