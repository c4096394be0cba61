"""In which order knobs get their values: each after those that its expression reads."""

import graphlib
import heapq
from collections.abc import Mapping, Sequence

from spaces.errors import SpaceError
from spaces.expressions import Expression
from spaces.parameter import Parameter


def evaluation_order(search: Sequence[Parameter], derived: Mapping[str, Expression]) -> tuple[str, ...]:
    """Order the searched and the derived knobs; where the expressions leave a choice, as the file has them.

    Raises:
        SpaceError: Knobs that depend on each other in a circle, with the circle as `a -> b -> a`.
    """
    needs: dict[str, frozenset[str]] = {
        **{p.name: p.when.names if p.when is not None else frozenset() for p in search},
        **{name: expression.names for name, expression in derived.items()},
    }
    position = {name: index for index, name in enumerate(needs)}
    names = list(needs)
    sorter = graphlib.TopologicalSorter({name: sorted(read & needs.keys()) for name, read in needs.items()})
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))  # graphlib lists what is needed first
        raise SpaceError(f"knobs depend on each other in a circle: {circle}") from None
    ready: list[int] = []
    order: list[str] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, position[name])
        name = names[heapq.heappop(ready)]
        order.append(name)
        sorter.done(name)
    return tuple(order)
