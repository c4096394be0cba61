"""Ranges that grow in the same study: when its best trials crowd an edge, later trials may go beyond it.

Every growth is recorded with the study and holds for all that come after, in later sessions too. The study's identity
stays that of the space as it was asked for.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from spaces.moving import widened
from spaces.parameter import Choice, Float, Int
from spaces.space import SearchSpace
from sweep.edges import AMONG, Crowd, crowded
from sweep.numbers import span
from sweep.objective import Session
from sweep.observations import Observation
from sweep.plan import ranges
from sweep.samplers import SeededTPE
from sweep.standing import standing
from sweep.study import finished_trials

# The study's user attribute that holds its growths, oldest first.
EXPANSIONS = "expansions"
# The study's user attribute that holds where edges were tried on purpose: pairs of a knob and the value of its edge.
PROBES = "probes"
# Finished trials after which the edge that losses fall towards is tried, and after which the other one is.
FIRST_PROBE, SECOND_PROBE = 6, 12
# By how much a logarithmic range grows beyond its edge. More than twice what counts as its edge, so that only new
# trials can crowd the new one; and little: neighbouring ranks' best learning rates differ by as much.
STEP_FACTOR = 3.0
# The same for a range that is not logarithmic: this share of its width.
STEP_SHARE = 0.5


@dataclass(frozen=True)
class Expansion:
    """One growth of one range.

    Attributes:
        knob: The knob.
        edge: "upper" or "lower".
        before: The range as it was.
        after: The range as it is now.
        finished: Finished trials at that time.
        trials: Those that crowded the edge, best first.
    """

    knob: str
    edge: str
    before: Sequence[float]
    after: Sequence[float]
    finished: int
    trials: Sequence[int]

    def words(self) -> str:
        """The growth as it is told when it happens."""
        numbers, where = ", ".join(map(str, self.trials)), f"the {self.edge} edge of {span(self.before)}"
        if len(self.trials) == 1:
            return f"{self.knob}: trial {numbers}, which tried {where}, is the best: grown to {span(self.after)}"
        return (
            f"{self.knob}: {len(self.trials)} of the best {AMONG} trials ({numbers}) lie on {where}: grown to "
            f"{span(self.after)}"
        )


def recorded(study: optuna.Study) -> list[Expansion]:
    """A study's growths, oldest first."""
    return [Expansion(**growth) for growth in study.user_attrs.get(EXPANSIONS, [])]


def expanded(space: SearchSpace, expansions: Iterable[Expansion]) -> SearchSpace:
    """A space with the growths of its study.

    Raises:
        SpaceError: A range that grew passes the limits that the space has now.
    """
    for expansion in expansions:
        space = widened(space, expansion.knob, *expansion.after)
    return space


def expanded_plain(space: Mapping[str, Any], expansions: Iterable[Expansion]) -> dict[str, Any]:
    """The same for a space as plain data (`SearchSpace.to_dict`)."""
    search = dict(space["search"])
    for expansion in expansions:
        spec = search[expansion.knob]
        search[expansion.knob] = spec | {"float" if "float" in spec else "int": list(expansion.after)}
    return {**space, "search": search}


def summarised(expansions: Iterable[Expansion]) -> dict[str, str]:
    """What has grown, in words, by knob."""
    steps: dict[str, list[Expansion]] = {}
    for expansion in expansions:
        steps.setdefault(expansion.knob, []).append(expansion)
    return {
        knob: f"grown from {span(grown[0].before)} to {span(grown[-1].after)}, "
        f"after {' and '.join(str(step.finished) for step in grown)} trials"
        for knob, grown in steps.items()
    }


def make_expander(session: Session) -> Callable[[optuna.Study, FrozenTrial | None], None]:
    """Returns what grows the session's ranges; Optuna calls it with each trial that has ended.

    An edge is tried by a trial of its own, a probe: the best trial's settings with the knob at the edge. TPE alone
    hardly looks where no trial has been; and all else being equal, a probe that becomes the best says that the optimum
    lies there or beyond. There is one once a few trials have ended, and one with each growth, at the new edge.
    """
    lock = threading.Lock()

    def expand(study: optuna.Study, _ended: FrozenTrial | None) -> None:
        with lock:
            trials = finished_trials(study)
            if len(trials) >= session.total:
                return  # nobody is left to look beyond the edge
            probed = _probes(study)
            for expansion, probe in find_expansions(trials, session.plan.space, probed):
                grown = [*recorded(study), expansion]
                study.set_user_attr(EXPANSIONS, [asdict(growth) for growth in grown])
                session.plan = replace(session.plan, space=expanded(session.plan.space, [expansion]))
                if isinstance(study.sampler, SeededTPE):
                    study.sampler.ranges = ranges(session.plan.space)
                _enqueue(study, probe, expansion.knob)
                session.progress.say(expansion.words())
            for knob, probe in find_probes(trials, session.plan.space, _probes(study)):
                _enqueue(study, probe, knob)

    return expand


def _probes(study: optuna.Study) -> list[tuple[str, float]]:
    return [(knob, value) for knob, value in study.user_attrs.get(PROBES, [])]


def _enqueue(study: optuna.Study, probe: Mapping[str, Any], knob: str) -> None:
    study.set_user_attr(PROBES, [*_probes(study), (knob, probe[knob])])
    study.enqueue_trial(dict(probe), skip_if_exists=True)


def find_expansions(
    trials: Sequence[FrozenTrial], space: SearchSpace, probed: Sequence[tuple[str, float]] = ()
) -> list[tuple[Expansion, dict[str, Any]]]:
    """The ranges that should grow now, each with the settings that try its new edge.

    A knob without `limits` never grows. Pruned trials count by the loss that they were heading for.

    Args:
        trials: The study's finished trials.
        space: What may be tried now.
        probed: Edges that were tried by probes, each a knob and a value.
    """
    best_first, found = standing(trials), []
    for knob in _growing(space):
        seen = [trial for trial in best_first if knob.name in trial.knobs][:AMONG]
        crowd = crowded([float(trial.knobs[knob.name]) for trial in seen], knob.low, knob.high, knob.log)
        crowd = crowd or _probe_that_leads(knob, seen, probed)
        after = None if crowd is None else _grown(knob, crowd.edge)
        if crowd is None or after is None:
            continue
        numbers = [seen[place].number for place in crowd.places]
        bounds = (knob.low, knob.high)
        expansion = Expansion(knob.name, crowd.edge, bounds, after, len(trials), numbers)
        probe = {**seen[0].knobs, knob.name: after[crowd.edge == "upper"]}
        found.append((expansion, probe))
    return found


def find_probes(
    trials: Sequence[FrozenTrial], space: SearchSpace, probed: Sequence[tuple[str, float]]
) -> list[tuple[str, dict[str, Any]]]:
    """The edges that should be tried now, each as a knob and the best trial's settings at its edge.

    Args:
        trials: The study's finished trials.
        space: What may be tried now.
        probed: Edges that were tried, each a knob and a value.
    """
    best_first, found = standing(trials), []
    for knob in _growing(space):
        seen = [trial for trial in best_first if knob.name in trial.knobs]
        tried = sum(name == knob.name for name, _ in probed)
        if tried > 1 or len(seen) < (FIRST_PROBE, SECOND_PROBE)[tried]:
            continue
        falls_upwards = _slope([float(trial.knobs[knob.name]) for trial in seen], [trial.loss for trial in seen]) <= 0
        for edge in ("upper", "lower") if falls_upwards else ("lower", "upper"):
            value = knob.high if edge == "upper" else knob.low
            if (knob.name, value) not in probed and _grown(knob, edge) is not None:
                found.append((knob.name, {**seen[0].knobs, knob.name: value}))
                break
    return found


def _slope(values: Sequence[float], losses: Sequence[float]) -> float:
    """The sign of a line through losses over a knob's ranks: which end they fall towards."""
    ranks = [sum(other < value for other in values) for value in values]
    middle = sum(ranks) / len(ranks)
    return sum((rank - middle) * loss for rank, loss in zip(ranks, losses, strict=True))


def _growing(space: SearchSpace) -> list[Float | Int]:
    """The knobs whose range may grow."""
    return [
        knob
        for knob in space.search
        if not isinstance(knob, Choice) and knob.limits is not None and knob.low < knob.high
    ]


def _probe_that_leads(
    knob: Float | Int, best_first: Sequence[Observation], probed: Sequence[tuple[str, float]]
) -> Crowd | None:
    """The edge whose probe is the best trial there is."""
    for edge, bound in (("upper", knob.high), ("lower", knob.low)):
        if (knob.name, bound) in probed and best_first and best_first[0].knobs[knob.name] == bound:
            return Crowd(edge, (0,))
    return None


def _grown(knob: Float | Int, edge: str) -> tuple[float, float] | None:
    """The range one step wider, within its limits; None when it is at its limit."""
    low, high = knob.low, knob.high
    least, most = knob.limits or (low, high)
    old, room = (high, most - high) if edge == "upper" else (low, low - least)
    if not knob.log:
        wanted = STEP_SHARE * (high - low)
    else:
        wanted = old * (STEP_FACTOR - 1) if edge == "upper" else old * (1 - 1 / STEP_FACTOR)
    if isinstance(knob, Int):
        wanted = knob.step * max(1, round(wanted / knob.step))
        room = room // knob.step * knob.step
    by = min(wanted, room)
    if by <= 0:
        return None
    end = old + by if edge == "upper" else old - by
    if isinstance(knob, Float) and by < room:
        end = float(f"{end:.2e}")  # three digits, without the noise of the last bits
    return (low, end) if edge == "upper" else (end, high)
