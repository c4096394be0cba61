"""What the losses' level shows: stagnation and under-fitting (guide 1.2, 2.2, 2.4)."""

from dataclasses import dataclass, replace

import numpy as np

from trials.curve import noise
from trials.finding import Finding
from trials.shape import CLEAR, Array, Shape, finite, late_fall, thirds
from trials.stairs import epoch_drops

# A fall below this share of the loss is none: the guide's "stuck".
STUCK_SHARE = 0.01
# Of a noisy curve nothing can be said while even a fall by this share of the loss would be hidden.
HIDDEN_SHARE = 0.15
# Nats per token that a pretrained model's loss lies below once it has learnt anything: a perplexity of 20, which
# published base models from 1B parameters on stay below on plain text of any kind.
HIGH_LOSS = 3.0
START_SHARE = 0.02  # of the loss, that the first points lie above the rest where something was learnt at once
FLAT_CLEAR = 3.0  # standard errors of a fall
FLAT_SINCE = 0.6  # of the steps: what falls by then and no more is a plateau
# The share of its fall that a curve makes in the last third of its time: 1/3 when it falls straight on, 0.22 when it
# has a third of the way still to go (exponential), 0.07 at 5 %.
LATE_SINCE = 2 / 3
STILL_FALLING_SHARE = 0.18
# The same of what is seen, where the first point comes late and hides what was learnt before it. With a fifth hidden:
# 0.42 when it falls straight on, 0.35 when half of the way is still to go.
STILL_FALLING_HIDDEN = 0.35
STILL_FALLING_HIGH = 0.1  # the same for a curve whose loss is high
LATE_SHARE = 0.002  # of the loss: a late fall below it is not worth more training
SEEN_SHARE = 0.24  # the same in steps: 0.26 when half of the way is still to go, and some for noise
SLOW_SHARE = 0.05  # a whole fall below this share of the loss is little
HEALTHY_SHARE = 0.07
LATE_CLEAR = 2.0  # standard errors: 1 in 40; one look a curve
FEWEST_IN_A_LINE = 3  # points that a straight line is laid through
START_SEEN = 0.15  # of the time: a first point later than that hides what was learnt before it
START_GUESSED = 0.3  # one later than that hides too much
FEWEST_EVALUATIONS = 4
FEWEST_POINTS = 5  # fewest that tell a trend from noise


@dataclass(frozen=True)
class Late:
    """How a loss falls in the last third of its time.

    Attributes:
        whole: The fall from the start to the end.
        fall: Itself.
        error: Its standard error.
        end: The loss at the end.
        name: The loss's.
    """

    whole: float
    fall: float
    error: float
    end: float
    name: str

    @property
    def share(self) -> float:
        """The late fall's share of the whole; 0 where nothing fell."""
        return self.fall / self.whole if self.whole > 0 else 0.0

    @property
    def clear(self) -> bool:
        """Whether the share is surely more than a healthy curve's."""
        return self.share > 0 and self.fall * (1 - HEALTHY_SHARE / self.share) > LATE_CLEAR * self.error


def stagnation(shape: Shape) -> Finding | None:
    """Loss that does not fall: stuck from the start, or on a plateau that no pretrained model should stay on."""
    if len(shape.losses) < FEWEST_POINTS:
        return _evaluations_stuck(shape)
    return _stuck(shape) or _high_plateau(shape)


def resolution(shape: Shape) -> float:
    """The smallest fall that would be seen in the noise, as a share of the loss."""
    first, last, error = thirds(shape)
    return CLEAR * error / max(last, 1e-12) if first else 0.0


def _learns(shape: Shape) -> bool:
    """Whether an evaluation loss clearly falls."""
    for points in shape.curve.evaluations.values():
        losses = np.array([point.loss for point in finite(points)])
        if len(losses) >= 3 and losses[0] - losses.min() > STUCK_SHARE * abs(losses[0]):
            return True
    return False


def _evaluations_stay(shape: Shape) -> bool:
    """Whether every evaluation loss stays where it was first, seen more exactly than in training's noise."""
    known = [np.array([point.loss for point in finite(points)]) for points in shape.curve.evaluations.values()]
    return bool(known) and all(
        len(losses) >= FEWEST_EVALUATIONS and np.ptp(losses) < STUCK_SHARE * abs(losses[0]) for losses in known
    )


def _stuck(shape: Shape) -> Finding | None:
    first, last, error = thirds(shape)
    fallen = first - last
    if resolution(shape) > HIDDEN_SHARE and not _evaluations_stay(shape):
        return None
    if fallen > max(CLEAR * error, STUCK_SHARE * last / 2) or _learns(shape):
        return None
    if shape.start - last > max(CLEAR * shape.start_error, START_SHARE * last):
        return None
    return Finding(
        "stagnation",
        f"training loss does not fall: {first:.4g} in the first third, {last:.4g} in the last, noise {error:.2g}",
        "1.2, 2.4",
        int(shape.steps[0]),
        numbers={"from": first, "to": last, "noise": error},
    )


def _evaluations_stuck(shape: Shape) -> Finding | None:
    """Evaluations that stay where they were, beside too few training losses to contradict them."""
    if not _evaluations_stay(shape):
        return None
    name, points = next(iter(shape.curve.evaluations.items()))
    known = finite(points)
    # Of so few points noise is hardly known: at either end it may hide as much as it may hide at all.
    fell = shape.start - shape.end > max(CLEAR * shape.start_error, 2 * HIDDEN_SHARE * shape.end)
    if fell and known[0].step > START_SEEN * shape.curve.last_step:
        return None
    return Finding(
        "stagnation",
        f"evaluation loss{f' of {name}' if name else ''} does not fall: {known[0].loss:.4g} at step {known[0].step}, "
        f"{known[-1].loss:.4g} at step {known[-1].step}",
        "1.2, 2.4",
        known[0].step,
        numbers={"from": known[0].loss, "to": known[-1].loss},
    )


def _high_plateau(shape: Shape) -> Finding | None:
    if not shape.high or len(shape.losses) < 10:
        return None
    if falls_to_the_end(shape):
        return None
    fall, error = late_fall(shape.steps / shape.steps[-1], shape.losses, FLAT_SINCE)
    if not shape.finished and fall > max(FLAT_CLEAR * error, STUCK_SHARE * shape.end):
        return None
    flat = np.flatnonzero(shape.blocks > shape.end + max(3 * shape.block_noise, STUCK_SHARE * shape.end))
    start = shape.step_at(int(flat[-1]) + 1 if len(flat) else 0)
    return Finding(
        "stagnation",
        f"training loss stays at {shape.end:.3g} from step {start}: a pretrained model has less "
        f"than {shape.high_loss:g}",
        "1.2, 2.4",
        start,
        numbers={"level": shape.end},
    )


def falls_to_the_end(shape: Shape) -> bool:
    """Whether the end still makes a good part of the fall, so that more of the same would learn more.

    In what the rate adds up to, nearly every run of an epoch or two falls to its end. It is worth a word where the
    loss is high, where little was learnt in all, or where the fall shows in the steps too, as a reader sees them.
    """
    if len(shape.losses) < FEWEST_POINTS or shape.time[0] > START_GUESSED:
        return False
    late = _still_falling(shape, shape.time)
    wanted, wanted_seen = STILL_FALLING_HIGH if shape.high else STILL_FALLING_SHARE, SEEN_SHARE
    if shape.time[0] > START_SEEN:
        wanted = wanted_seen = STILL_FALLING_HIDDEN
    if late.share < wanted or not late.clear or late.fall < LATE_SHARE * late.end:
        return False
    if shape.high or late.whole < SLOW_SHARE * late.end:
        return True
    seen = _still_falling(shape, shape.steps / shape.steps[-1])
    return seen.share >= wanted_seen and seen.clear


def under_fitting(shape: Shape) -> Finding | None:
    """Loss that still falls when the run ends: no plateau yet."""
    if not falls_to_the_end(shape):
        return None
    late = _still_falling(shape, shape.time)
    start = int(shape.steps[int(np.searchsorted(shape.time, LATE_SINCE))])
    return Finding(
        "under-fitting",
        f"no plateau yet: training loss {shape.start:.3g} → {shape.end:.3g}; {late.name} still makes {late.share:.0%} "
        "of its fall in the last third of the learning rate's sum",
        "1.1, 2.2",
        start,
        numbers={"from": shape.start, "to": shape.end, "late_share": late.share},
    )


def _still_falling(shape: Shape, time: Array) -> Late:
    """The late fall of the loss that shows it most exactly, training's or an evaluation's, over a time in [0, 1]."""
    found = [_late(time, shape.losses, shape.start, "training loss")]
    # Rows known by heart make steps down at epochs: that is no want of learning.
    since = shape.steps[int(np.searchsorted(time, LATE_SINCE))]
    stairs = sum(drop for step, drop, _ in epoch_drops(shape) if step >= since)
    if stairs > 0 and found[0].fall > 0:
        found[0] = replace(found[0], fall=max(0.0, found[0].fall - stairs))
    for name, points in shape.curve.evaluations.items():
        known = finite(points)
        if len(known) < FEWEST_POINTS:
            continue
        losses = np.array([point.loss for point in known])
        # What was learnt before the first evaluation counts too, as far as training loss fell by then beyond its noise.
        then = max(shape.near(known[0].step), 1e-12)
        error = float(np.hypot(shape.start_error, shape.near_error))
        start = float(losses[0]) * max(1.0, (shape.start - LATE_CLEAR * error) / then)
        times = np.interp([point.step for point in known], shape.steps, time)
        found.append(_late(times, losses, start, f"evaluation loss of {name}" if name else "evaluation loss"))
    # Where training loss alone falls on, rows are being learnt and no more: more of that is no remedy.
    stopped = [late for late in found[1:] if late.fall <= 0]
    return stopped[0] if stopped else min(found, key=lambda late: late.error / max(late.whole, 1e-12))


def _late(time: Array, losses: Array, start: float, name: str) -> Late:
    end = float(losses[-max(1, len(losses) // 10) :].mean())
    late = losses[time >= LATE_SINCE]
    if len(late) < FEWEST_IN_A_LINE:
        since = float(np.interp(LATE_SINCE, time, losses))
        return Late(start - end, since - end, float(np.sqrt(2)) * noise(losses), end, name)
    fall, error = late_fall(time, losses, LATE_SINCE)
    return Late(start - float(late.mean()) + fall / 2, fall, error, end, name)
