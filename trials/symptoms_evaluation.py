"""What evaluation shows, or what stands for it: over-fitting (guide 1.2, 2.3)."""

import numpy as np

from trials import curve
from trials.curve import noise
from trials.finding import Finding
from trials.logged import EvaluationPoint
from trials.shape import SAME_SCALE, Array, Shape, finite
from trials.stairs import epoch_drops
from trials.symptoms_swings import oscillation

# An evaluation loss that ends higher than its best by less than this share of it is on a plateau.
RISE_SHARE = 0.005
# Nats per token below which no rise matters, however large beside a tiny loss.
RISE_NATS = 0.003
# Times the evaluations' own noise by which they must have risen; trials/curve.py asks for 2 in three rises in a row.
RISE_OVER_NOISE = 3.0
FEWEST_POINTS = 5  # of training that show whether it falls
TRAINING_RISE = 0.02  # of the loss, that its noise may make
SMOOTHED_FROM = 8  # evaluations; the lowest of many is low by luck
# Of fewer, whose noise nobody knows, a rise that does not go on: healthy runs' evaluations jump by up to 1.8 %.
FEW_RISE_SHARE = 0.02
# Beside an oscillation, evaluations after the best, and the share of their pairs in which the later is the higher.
STEADY_FROM = 4
STEADY_SHARE = 0.8
# The gap between evaluation and training loss that the guide (1.2) calls abnormal, in nats per token.
GAP_NATS = 0.5
GAP_CLEAR = 3.0  # standard errors
# The share of the loss that one epoch's end must take away to look like rows known by heart.
STAIR_SHARE = 0.15


def over_fitting(shape: Shape) -> Finding | None:
    """Evaluation loss that rises while training loss falls; a gap that opened; or, without evaluations, stairs."""
    found = [_rising(shape, name, finite(points)) for name, points in shape.curve.evaluations.items()]
    rises = [finding for finding in found if finding is not None]
    if rises:
        return max(rises, key=lambda finding: finding.numbers["to"] - finding.numbers["from"])
    for name, points in shape.curve.evaluations.items():
        if (gap := _gap(shape, name, finite(points))) is not None:
            return gap
    return None if any(map(finite, shape.curve.evaluations.values())) else stairs(shape)


def _rising(shape: Shape, name: str, points: list[EvaluationPoint]) -> Finding | None:
    if len(points) < 3:
        return None
    losses = np.array([point.loss for point in points])
    smooth = np.convolve(np.pad(losses, 1, "edge"), np.ones(3) / 3, "valid") if len(points) >= SMOOTHED_FROM else losses
    best = int(smooth.argmin())
    tail = losses[best + 1 :]
    if len(tail) < (1 if len(points) < SMOOTHED_FROM else 2):
        return None
    lowest, end = float(smooth[best]), float(tail[-max(1, len(tail) // 3) :].mean())
    error = RISE_OVER_NOISE * _wobble(losses)
    again = len(tail) > 1 and bool(np.all(np.diff(losses[best:]) > 0))
    if len(points) < SMOOTHED_FROM and not again:
        error = max(error, FEW_RISE_SHARE * lowest)
    if _rises_in_a_row(losses):
        # What a pruner stops a trial for; that it rises each time makes up for noise.
        lowest, end, error = float(losses.min()), float(losses[-1]), curve.RISE_OVER_NOISE * _wobble(losses)
    if end - lowest < max(RISE_SHARE * lowest, RISE_NATS, error):
        return None
    # It rises to the end, and has not turned down again; beside swings, it rises nearly all the way.
    if losses[-1] < lowest + 0.5 * (float(tail.max()) - lowest):
        return None
    if oscillation(shape) is not None and not _steady(tail):
        return None
    kept = points[int(losses.argmin())]
    before, after = shape.near(kept.step), shape.end
    rises = after > before + max(2 * shape.end_error, TRAINING_RISE * before)
    if len(shape.losses) >= FEWEST_POINTS and (rises or after > shape.start):
        return None  # training loss does not fall: whatever this is, the rows are not learnt too well
    falls = f" while training loss falls {before:.3g} → {after:.3g}" if after < before else ""
    share = f" ({end / kept.loss - 1:+.1%})" if kept.loss >= RISE_NATS else ""  # of next to nothing it is no news
    return Finding(
        "over-fitting",
        f"from step {kept.step} of {shape.curve.last_step}: {_named(name)} rises {kept.loss:.4g} → {end:.4g}"
        f"{share}{falls}",
        "1.2, 2.3",
        kept.step,
        numbers={"from": kept.loss, "to": end, "training_from": before, "training_to": after},
    )


def _rises_in_a_row(losses: Array) -> bool:
    """Whether the last evaluations each are higher than the one before, since the lowest of all."""
    rises = len(losses) - 1 - int(losses.argmin())
    return rises >= curve.RISING_EVALUATIONS and bool(np.all(np.diff(losses[-rises - 1 :]) > 0))


def _steady(tail: Array) -> bool:
    """Whether of all pairs of evaluations the later one is nearly always the higher."""
    if len(tail) < STEADY_FROM:
        return False
    later = np.triu(tail[None, :] > tail[:, None], 1).sum()
    return bool(later >= STEADY_SHARE * len(tail) * (len(tail) - 1) / 2)


def _wobble(losses: Array) -> float:
    """Noise of evaluation losses. Below five of them a bend would pass for noise: none is subtracted then."""
    return noise(losses) if len(losses) >= 6 else 0.0


def _gap(shape: Shape, name: str, points: list[EvaluationPoint]) -> Finding | None:
    if len(points) < 2 or len(shape.losses) < 5:
        return None
    first = shape.near(points[0].step)
    if first <= 0 or not 1 / SAME_SCALE < points[0].loss / first < SAME_SCALE:
        return None
    gap, before = points[-1].loss - shape.end, points[0].loss - first
    if gap < GAP_NATS or gap - before < max(GAP_NATS / 2, GAP_CLEAR * (shape.end_error + shape.noise)):
        return None
    if oscillation(shape) is not None:
        return None
    return Finding(
        "over-fitting",
        f"{_named(name)} ends {gap:.2f} above training loss ({points[-1].loss:.3g} against {shape.end:.3g}); a gap "
        f"over {GAP_NATS:g} counts, and it was {before:.2f} at step {points[0].step}",
        "1.2, 2.3",
        points[0].step,
        numbers={"gap": gap, "first_gap": before},
    )


def stairs(shape: Shape) -> Finding | None:
    """Steps down where an epoch ends: the rows are known by heart. Without evaluations it is a suspicion."""
    if oscillation(shape) is not None:
        return None
    large = [(step, drop / before) for step, drop, before in epoch_drops(shape) if drop >= STAIR_SHARE * before > 0]
    if not large:
        return None
    shares = ", ".join(f"{drop:.0%}" for _, drop in large[:5])
    return Finding(
        "over-fitting",
        f"training loss steps down by {shares} where an epoch ends, first at step {large[0][0]}: the rows are being "
        "learnt by heart; no evaluation shows whether more is",
        "2.3",
        large[0][0],
        suspected=True,
        numbers={"largest_drop": max(drop for _, drop in large), "drops": len(large)},
    )


def _named(name: str) -> str:
    return f"evaluation loss of {name}" if name else "evaluation loss"
