"""Which settings a study is to run: a sampler's, every cell of a grid, or chosen ones; each at how many seeds."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spaces.parameter import Choice, Float, Int, Parameter, Scalar, is_number
from spaces.space import SearchSpace
from sweep.errors import SweepError

TPE, FACTORIAL, CONFIRM = "tpe", "factorial", "confirm"
DESIGNS = (TPE, FACTORIAL)  # what `--design` may say; `sweep confirm` makes the third
SEED = "seed"
DEFAULT_LEVELS = 4
DEFAULT_SEEDS = 2
# A grid of more trials than this is a mistake in naming its knobs, not a wish.
MOST_CELLS = 1000
# What people call a knob, and what it is called.
ALIASES = {"ratio": "alpha_ratio"}

Cell = Mapping[str, Scalar]


@dataclass(frozen=True)
class Design:
    """What a study is to run.

    Attributes:
        kind: "tpe", "factorial" or "confirm".
        space: What may be tried; that of a design with cells has choices only, and the seed among them.
        cells: The settings to run, in this order; empty where a sampler chooses.
        held: Searched knobs that a grid holds at one value, for people.
    """

    kind: str
    space: SearchSpace
    cells: tuple[Cell, ...] = ()
    held: Cell = dataclasses.field(default_factory=dict)

    def cells_in(self, space: SearchSpace) -> tuple[Cell, ...]:
        """The cells in a space of which some knobs are no longer searched; those that become equal are one."""
        names = {parameter.name for parameter in space.search}
        return _distinct({name: value for name, value in cell.items() if name in names} for cell in self.cells)


def factorial(space: SearchSpace, over: Sequence[str], levels: int, seeds: Sequence[int]) -> Design:
    """A full grid over the named knobs at shared seeds, the other searched knobs held at the starting point.

    Cells of one seed come together, and within a seed the knob that was named first changes fastest: a sweep that is
    stopped has run whole blocks of it.

    Args:
        space: What was asked for.
        over: Knobs of the grid; empty for all that the space searches.
        levels: Values of a range, from end to end, at equal ratios where it is searched by its logarithm.
        seeds: First weights, order of the rows and dropout; each runs the whole grid.

    Raises:
        SweepError: A knob is not searched, or the grid is too large.
    """
    _check_count("LEVELS", levels, 2)
    _check_count("SEEDS", len(seeds), 1)
    searched = {parameter.name: parameter for parameter in space.search}
    names = [ALIASES.get(name, name) for name in over] or list(searched)
    _check_over(names, searched, space)
    values = {name: _levels(searched[name], levels) if name in names else () for name in searched}
    held = {name: value for name, value in starting_point(space).items() if name not in names}
    for name, value in held.items():
        values[name] = (value,)
    cells = math.prod(len(values[name]) for name in names) * len(seeds)
    if cells > MOST_CELLS:
        raise SweepError(
            f"a grid over {', '.join(names)} at {len(seeds)} seed{'' if len(seeds) == 1 else 's'} has {cells:,} "
            f"trials; allowed: {MOST_CELLS:,}. Name fewer knobs with --over, or fewer --levels"
        )
    grid = _with_choices(space, values, seeds)
    order = [SEED, *reversed(names)]
    found = []
    for combination in itertools.product(seeds, *(values[name] for name in reversed(names))):
        drawn: dict[str, Scalar] = dict(zip(order, combination, strict=True)) | dict(held)
        found.append(cell_of(grid, drawn))
    return Design(FACTORIAL, grid, _distinct(cell for cell in found if cell is not None), held)


def chosen(space: SearchSpace, settings: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> Design:
    """Some settings of a space, each at every seed.

    Args:
        space: What they were drawn from.
        settings: Values of all knobs, each as the space gave it.
        seeds: As in `factorial`.
    """
    values = {
        knob.name: tuple(dict.fromkeys(setting[knob.name] for setting in settings if knob.name in setting))
        for knob in space.search
    }
    grid = _with_choices(space, {name: options for name, options in values.items() if options}, seeds)
    cells = [cell_of(grid, {**setting, SEED: seed}) for seed in seeds for setting in settings]
    return Design(CONFIRM, grid, _distinct(cell for cell in cells if cell is not None))


def cell_of(space: SearchSpace, values: Mapping[str, Any]) -> Cell | None:
    """The searched knobs that exist at these values; None where a constraint does not hold."""
    asked: dict[str, Scalar] = {}

    def suggest(parameter: Parameter) -> Scalar:
        asked[parameter.name] = values[parameter.name]
        return asked[parameter.name]

    params = space.walk(suggest)
    if any(violation > 0 for violation in space.violations(params).values()):
        return None
    return asked


def key(cell: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """A cell as something that can be looked up."""
    return tuple(sorted(cell.items()))


def _check_count(name: str, value: int, least: int) -> None:
    if not least <= value <= MOST_CELLS:
        raise SweepError(f"{name} is {value}; allowed: a whole number of at least {least}, and at most {MOST_CELLS:,}")


def _check_over(names: Sequence[str], searched: Mapping[str, Parameter], space: SearchSpace) -> None:
    if len(set(names)) < len(names):
        raise SweepError(f"--over names a knob twice: {', '.join(names)}")
    for name in names:
        if name not in searched:
            kind = "fixed" if name in space.fixed else "derived" if name in space.derived else "unknown"
            raise SweepError(f"--over {name}: it is {kind} in {space.name}; it searches {', '.join(searched)}")


def _levels(parameter: Parameter, levels: int) -> tuple[Scalar, ...]:
    """A knob's values in a grid."""
    if isinstance(parameter, Choice):
        return parameter.options
    low, high = float(parameter.low), float(parameter.high)
    if low == high:
        return (parameter.low,)
    shares = [place / (levels - 1) for place in range(levels)]
    spread = [low * (high / low) ** share if parameter.log else low + (high - low) * share for share in shares]
    if isinstance(parameter, Int):
        return tuple(dict.fromkeys(value for place in spread if (value := parameter.nearest(place)) is not None))
    # Three digits, so that a grid reads well; the ends as they are.
    return (parameter.low, *(float(f"{value:.3g}") for value in spread[1:-1]), parameter.high)


def starting_point(space: SearchSpace) -> dict[str, Scalar]:
    """A value for each searched knob: the first starting point's, else its first or middle one."""
    point = space.start[0] if space.start else {}
    return {knob.name: point.get(knob.name, _middle(knob)) for knob in space.search}


def _middle(parameter: Parameter) -> Scalar:
    if isinstance(parameter, Choice):
        return parameter.options[0]
    if isinstance(parameter, Float):
        low, high = parameter.low, parameter.high
        return float(f"{math.sqrt(low * high) if parameter.log else (low + high) / 2:.3g}")
    return parameter.low


def _with_choices(space: SearchSpace, values: Mapping[str, Sequence[Scalar]], seeds: Sequence[int]) -> SearchSpace:
    """The space with these options for each knob, the seed as a further knob, and no starting point."""
    search = [
        Choice(knob.name, tuple(values.get(knob.name, (_middle(knob),))), knob.when, knob.otherwise)
        for knob in space.search
    ]
    if any(knob.name == SEED for knob in search):
        raise SweepError(f"{space.source} searches {SEED}, which a design decides; leave it out")
    return dataclasses.replace(space, search=(*search, Choice(SEED, tuple(seeds))), start=())


def _distinct(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    return tuple({key(cell): cell for cell in cells}.values())


def describe(design: Design) -> str:
    """A design in a line for people: its cells and what it holds."""
    seeds = len({cell[SEED] for cell in design.cells})
    text = f"{len(design.cells) // seeds} settings × {seeds} seed{'' if seeds == 1 else 's'}"
    if design.held:
        text += "; held: " + ", ".join(
            f"{name} {value:g}" if is_number(value) else f"{name} {value}" for name, value in design.held.items()
        )
    return text
