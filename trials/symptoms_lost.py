"""What the training loss shows of a run that is lost: divergence (guide 1.2, 2.1)."""

import numpy as np

from trials.finding import Finding
from trials.shape import CLEAR, Shape, finite, thirds
from trials.symptoms_swings import oscillation

# How much of the fall a rise must undo, for good, to be a divergence and no swing.
UNDONE_SHARE = 0.6
START_NOISES = 2.0  # times a point's noise
LASTING = 3  # blocks, that is points of a short curve: fewer are no state
LASTING_SHARE = 0.1  # of the curve that must lie up there, to its end
# A rise below this share of the loss is a drift that is not worth a word.
RISE_SHARE = 0.15
# A loss that jumps to exactly 0 from above this many nats was not learnt: the trainer replaces NaN by 0.
LEARNT_ZERO = 0.05
ZEROS = 3  # this many in a row at the end are for ever
# A start that is thrown up: its first fifth lies above the first point by this share of it, in the mean.
THROWN_SHARE = 0.2
FEWEST_TO_BE_THROWN = 10  # points
# An evaluation loss that ends this share and this many nats above its first, and never below it again, is lifted.
LIFT_SHARE = 0.05
LIFT_NATS = 0.02
FEWEST_EVALUATIONS = 4


def divergence(shape: Shape) -> Finding | None:
    """Loss that is lost for good: not finite, zeros out of nothing, or a rise that stays."""
    return _not_finite(shape) or _collapse(shape) or _risen(shape) or _thrown(shape) or _lifted(shape)


def _not_finite(shape: Shape) -> Finding | None:
    points = shape.curve.training
    last = next((i for i in range(len(points) - 1, -1, -1) if np.isfinite(points[i].loss)), -1)
    if not points or last == len(points) - 1:
        return None
    lost = points[last + 1]
    before = f", {points[last].loss:.3g} before" if last >= 0 else ""
    return Finding(
        "divergence",
        f"training loss is {lost.loss} from step {lost.step} to the end{before}",
        "1.2, 2.1",
        lost.step,
        numbers={"lost_points": len(points) - 1 - last},
    )


def _collapse(shape: Shape) -> Finding | None:
    zeros = len(shape.losses) - (int(np.flatnonzero(shape.losses)[-1]) + 1 if shape.losses.any() else 0)
    if zeros < ZEROS:
        return None
    first = len(shape.losses) - zeros
    before = float(shape.losses[first - 1]) if first else float("inf")
    if before <= LEARNT_ZERO:
        return None
    came = f"{before:.4g} → " if first else ""
    return Finding(
        "divergence",
        f"training loss is exactly {came}0 from step {int(shape.steps[first])} to the end, as a trainer logs NaN: "
        "a collapse that looks perfect",
        "1.2, 2.1",
        int(shape.steps[first]),
        numbers={"zeros": zeros},
    )


def _risen(shape: Shape) -> Finding | None:
    blocks = shape.blocks
    if len(blocks) < 5:
        return None
    smooth = np.convolve(blocks, np.ones(3) / 3, mode="valid") if len(blocks) >= 12 else blocks
    # A rate that is far too high shows from the second point on: the first may be all that is left of the start.
    lowest = min(float(smooth.min()), shape.start, float(shape.losses[0]))
    at_start = lowest < smooth.min()
    rise, fall = shape.end - lowest, shape.start - lowest
    # That all later blocks lie higher makes up for what a first point's noise, in part the blow-up's own, hides.
    first_noise = START_NOISES * shape.noise if at_start else 0.0
    if rise < max(
        RISE_SHARE * lowest, LIFT_NATS, 0.0 if at_start else UNDONE_SHARE * fall, CLEAR * shape.end_error + first_noise
    ):
        return None
    if shape.end < (1 + RISE_SHARE) * shape.start and oscillation(shape) is not None:
        return None  # it came down, and swings up to where it was
    above = blocks > lowest + max(RISE_SHARE * lowest, CLEAR * shape.block_noise)
    low = np.flatnonzero(blocks <= lowest + 0.25 * rise)
    since = int(low[-1]) + 1 if len(low) else 0
    if not above[-LASTING:].all() or len(blocks) - since < LASTING_SHARE * len(blocks):
        return None
    return Finding(
        "divergence",
        f"training loss rises {lowest:.3g} → {shape.end:.3g} from step {shape.step_at(since)} and stays there",
        "1.2, 2.1",
        shape.step_at(since),
        numbers={"from": lowest, "to": shape.end},
    )


def _thrown(shape: Shape) -> Finding | None:
    """A loss that the first steps throw far above the first point, which it never comes back below."""
    if len(shape.losses) < FEWEST_TO_BE_THROWN:
        return None
    first, early = float(shape.losses[0]), shape.blocks[1 : 1 + len(shape.blocks) // 5]
    rise = float(early.mean()) - first
    if rise < max(THROWN_SHARE * first, CLEAR * shape.noise) or shape.end < first - 2 * shape.end_error:
        return None
    if oscillation(shape) is not None:
        return None
    start, top = int(shape.steps[0]), float(early.max())
    return Finding(
        "divergence",
        f"from step {start}: training loss rises {first:.3g} → {top:.3g} by step "
        f"{shape.step_at(1 + int(early.argmax()))} and ends at {shape.end:.3g}, not below where it began",
        "1.2, 2.1",
        start,
        numbers={"from": first, "to": top, "end": shape.end},
    )


def _lifted(shape: Shape) -> Finding | None:
    """An evaluation loss that leaves its first values upwards, or that is lost, while training loss does not fall."""
    if not len(shape.losses) or shape.end < shape.start or oscillation(shape) is not None:
        return None
    first, last, error = thirds(shape)
    if first - last > 2 * error:
        return None
    for name, points in shape.curve.evaluations.items():
        known = finite(points)
        losses = np.array([point.loss for point in known])
        if len(losses) < FEWEST_EVALUATIONS:
            continue
        part, best = len(losses) // 3, int(losses.argmin())
        low, end, start = float(losses[best]), float(losses[-part:].mean()), known[best].step
        lifted = best <= part and end - low >= max(LIFT_SHARE * low, LIFT_NATS)
        if low <= 0 or not (lifted or end >= (1 + RISE_SHARE) * low):
            continue
        named = f"evaluation loss of {name}" if name else "evaluation loss"
        return Finding(
            "divergence",
            f"from step {start}: {named} rises {low:.4g} → {end:.4g}, and training loss does not fall either "
            f"({shape.start:.3g} → {shape.end:.3g})",
            "1.2, 2.1",
            start,
            numbers={"from": low, "to": end},
        )
    return None
