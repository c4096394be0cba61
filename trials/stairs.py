"""Steps down where epochs end: what a run does that learns its rows by heart."""

import itertools

import numpy as np

from trials.shape import Shape

STAIR_CLEAR = 3.0  # standard errors of an epoch's end


def epoch_drops(shape: Shape) -> list[tuple[int, float, float]]:
    """The epochs' ends: step, how far the loss falls there beyond its slope, and the loss before."""
    found = []
    for first, place in itertools.pairwise([0, *shape.epoch_ends]):
        reach = max(2, (place - first) // 4)
        # A point may average over both sides of the boundary: it is left out.
        before, after = shape.losses[max(0, place - 1 - reach) : place - 1], shape.losses[place + 1 : place + 1 + reach]
        inside = shape.losses[max(0, place - 1 - 2 * reach) : max(0, place - 1 - reach)]
        if min(len(before), len(after), len(inside)) < 2:
            continue
        slope = max(0.0, float(inside.mean() - before.mean()))
        drop = float(before.mean() - after.mean()) - slope
        if drop > STAIR_CLEAR * shape.noise * float(np.sqrt(2 / reach)):
            found.append((int(shape.steps[place]), drop, float(before.mean())))
    return found
