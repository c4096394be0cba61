"""Says what a learning curve shows, by the guide's rules (1.2), and what to change (section 2). Torch-free.

What it does not know: other runs. A run that is healthy by itself may still be the worse of two.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from trials.finding import Diagnosis, Finding
from trials.logged import NOTHING_KNOWN, LoggedCurve, Settings
from trials.remedies import remedy
from trials.shape import Shape, finite, thirds
from trials.symptoms_evaluation import over_fitting
from trials.symptoms_level import (
    FEWEST_EVALUATIONS,
    FEWEST_POINTS,
    HIDDEN_SHARE,
    HIGH_LOSS,
    falls_to_the_end,
    resolution,
    stagnation,
    under_fitting,
)
from trials.symptoms_lost import divergence
from trials.symptoms_swings import calmness, oscillation

# A diagnosis, a function: it looks at the whole curve and says what it found. The gravest first.
DIAGNOSES: Mapping[str, Callable[[Shape], Finding | None]] = {
    "divergence": divergence,
    "oscillation": oscillation,
    "over-fitting": over_fitting,
    "stagnation": stagnation,
    "under-fitting": under_fitting,
}
# What cannot hold beside what: a lost run has no plateau, and one that swings about is not stuck.
EXCLUDES: Mapping[str, frozenset[str]] = {
    "divergence": frozenset({"oscillation", "over-fitting", "stagnation", "under-fitting"}),
    "oscillation": frozenset({"stagnation", "under-fitting"}),
    "over-fitting": frozenset({"stagnation", "under-fitting"}),
    "stagnation": frozenset({"under-fitting"}),
}


def diagnose(curve: LoggedCurve, settings: Settings = NOTHING_KNOWN, *, high_loss: float = HIGH_LOSS) -> Diagnosis:
    """Says which states a curve is in, with evidence and remedies.

    Args:
        curve: One run's points; `LoggedCurve.of` makes one of this program's reports.
        settings: What is known of the run's settings; what is not known is advised in relative words.
        high_loss: Nats per token from which a plateau is too high for a pretrained model. Infinite for whoever knows
            better, as a study does whose other trials show what its model can reach.
    """
    shape = Shape(curve, high_loss)
    known = _known(settings, curve)
    findings: list[Finding] = []
    short = _too_short(shape)
    for kind, look in DIAGNOSES.items():
        if short and kind != "divergence":
            break
        if kind == "under-fitting" and not shape.finished:
            continue
        if any(kind in EXCLUDES.get(found.kind, ()) for found in findings):
            continue
        if (finding := look(shape)) is not None:
            findings.append(replace(finding, remedy=remedy(finding, known)))
    if not findings:
        findings.append(short or _too_noisy(shape) or _healthy(shape))
    calm = (
        calmness(shape) if not {"oscillation", "divergence", "too short to tell"} & {f.kind for f in findings} else ""
    )
    return Diagnosis(tuple(findings), (*curve.notes, *_notes(shape)), calm)


def _known(settings: Settings, curve: LoggedCurve) -> Settings:
    """The settings, and from the log what they do not say: its highest rate is the rate it was started with."""
    rate = settings.learning_rate if settings.learning_rate is not None else curve.peak_learning_rate
    return replace(settings, learning_rate=rate)


def _too_short(shape: Shape) -> Finding | None:
    points, evaluations = len(shape.losses), max(map(len, shape.curve.evaluations.values()), default=0)
    if points < FEWEST_POINTS and evaluations < FEWEST_EVALUATIONS:
        return Finding(
            "too short to tell",
            f"{points} training losses and {evaluations} evaluations; {FEWEST_POINTS} or {FEWEST_EVALUATIONS} are "
            "the least that show a trend",
        )
    rates = shape.rates
    if rates is not None and points > 1 and rates[-1] == rates.max() and rates[-1] > rates[-2] and not shape.finished:
        return Finding(
            "too short to tell", f"the learning rate is still warming up at the last step, {shape.curve.last_step}"
        )
    return None


def _too_noisy(shape: Shape) -> Finding | None:
    if not len(shape.losses):
        return None
    hidden, (first, last, error) = resolution(shape), thirds(shape)
    if hidden < HIDDEN_SHARE or first - last > 2 * error:
        return None
    if any(len(finite(points)) >= FEWEST_EVALUATIONS for points in shape.curve.evaluations.values()):
        return None
    return Finding(
        "too short to tell",
        f"a fall by {hidden:.0%} of the loss would be hidden in the noise of {len(shape.losses)} points",
    )


def _healthy(shape: Shape) -> Finding:
    said = []
    if len(shape.losses):
        said.append(f"training loss {shape.start:.3g} → {shape.end:.3g}")
    for name, points in shape.curve.evaluations.items():
        losses = [point.loss for point in finite(points)]
        if losses:
            said.append(f"evaluation loss{f' of {name}' if name else ''} {losses[0]:.3g} → {losses[-1]:.3g}")
    return Finding("healthy", ", ".join(said))


def _notes(shape: Shape) -> list[str]:
    notes = []
    curve = shape.curve
    for name, points in curve.evaluations.items():
        lost = len(points) - len(finite(points))
        if lost:
            which = f"evaluation loss{f' of {name}' if name else ''}"
            notes.append(
                f"{which} is not a number in {lost} of {len(points)} evaluations: half precision overflows, "
                "or no evaluation row has a label"
            )
    lost = sum(not math.isfinite(point.loss) for point in curve.training)
    if lost and math.isfinite(curve.training[-1].loss):
        notes.append(f"training loss is not finite at {lost} of {len(curve.training)} points, and recovers")
    below = int((shape.losses < 0).sum())
    if below:
        notes.append(f"training loss is below 0 at {below} points: it is no cross-entropy, and its level says nothing")
    norms = sum(point.grad_norm is not None and not math.isfinite(point.grad_norm) for point in curve.training)
    if norms:
        notes.append(f"the gradient norm is not finite at {norms} points; the loss is what counts")
    if curve.total_steps and curve.training and not shape.finished:
        falls = ", where the loss still falls" if falls_to_the_end(shape) else ""
        notes.append(f"the log ends at step {curve.last_step} of {curve.total_steps}{falls}")
    return notes
