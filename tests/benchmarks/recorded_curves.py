"""The recorded learning curves of `tests/benchmarks/curves/`: read, and how far chance moves them."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trials.schedule import learning_progress, warmup_steps

CURVES = Path(__file__).parent / "curves"
# What rules and settings are made on, and what they are judged by: a folder each, no configuration in both.
PARTS = ("development", "verdict")


@dataclass(frozen=True)
class Curve:
    """One whole run.

    Attributes:
        index: Of its configuration.
        seed: The run's.
        knobs: Its settings.
        losses: Evaluation losses in nats per token, one a report; NaN where it diverged.
        seconds: What each report cost, training and evaluation.
        warmup_reports: Reports that fall in warm-up.
        progress: Progress at each report (`trials.schedule.learning_progress`); even where nothing else is said.
        start: The loss before training; None where it is not known.
    """

    index: int
    seed: int
    knobs: Mapping[str, Any]
    losses: tuple[float, ...]
    seconds: tuple[float, ...]
    warmup_reports: int = 0
    progress: tuple[float, ...] = ()
    start: float | None = None

    def __post_init__(self) -> None:
        if not self.progress:
            object.__setattr__(self, "progress", tuple((i + 1) / self.horizon for i in range(self.horizon)))

    @property
    def horizon(self) -> int:
        """Reports of the whole run."""
        return len(self.losses)

    @property
    def value(self) -> float:
        """What a study that ran it to its end would know of it: its best loss."""
        return self.best_until(self.horizon)

    def best_until(self, report: int) -> float:
        """Its best loss in the first reports; infinite before the first."""
        return min((loss for loss in self.losses[:report] if math.isfinite(loss)), default=math.inf)


# The curves of each configuration, one a seed, by the configuration's index.
Configurations = Mapping[int, Sequence[Curve]]


def read_curves(path: Path) -> dict[int, list[Curve]]:
    """The curves of a file, by configuration."""
    found: dict[int, list[Curve]] = {}
    for text in path.read_text(encoding="utf8").splitlines():
        curve = _curve(json.loads(text))
        found.setdefault(curve.index, []).append(curve)
    return dict(sorted(found.items()))


def true_value(curves: Sequence[Curve]) -> float:
    """What a configuration is good for: the mean over its seeds."""
    return statistics.fmean(curve.value for curve in curves)


def seed_noise(configurations: Configurations) -> float:
    """Standard deviation of a value between seeds, in nats, among the better half of those that have two.

    The better half, since a choice is made among the good; bad ones diverge by chance.
    """
    twice = sorted((curves for curves in configurations.values() if len(curves) > 1), key=true_value)
    better = twice[: max(1, (len(twice) + 1) // 2)]
    if not twice:
        return math.nan
    return math.sqrt(statistics.fmean(statistics.variance([curve.value for curve in curves]) for curves in better))


def kendall(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau between two rankings, ties counted as neither; NaN for fewer than two."""
    pairs = agreeing = 0
    for i in range(len(first)):
        for j in range(i):
            product = _sign(first[i], first[j]) * _sign(second[i], second[j])
            pairs, agreeing = pairs + 1, agreeing + product
    return agreeing / pairs if pairs else math.nan


def _sign(one: float, other: float) -> int:
    return (one > other) - (one < other)


def _curve(line: Mapping[str, Any]) -> Curve:
    losses = tuple(math.nan if loss is None else float(loss) for loss in line["eval_loss"])
    knobs, steps = line["knobs"], line["step"]
    name, ratio = knobs["lr_scheduler_type"], knobs["warmup_ratio"]
    warmup = warmup_steps(ratio, steps[-1]) if name != "constant" else 0
    progress = tuple(learning_progress(name, ratio, steps[-1], steps))
    seconds = tuple(a + b for a, b in zip(line["train_seconds"], line["eval_seconds"], strict=True))
    warmup_reports = sum(step <= warmup for step in steps)
    return Curve(line["index"], line["seed"], knobs, losses, seconds, warmup_reports, progress, line["start_loss"])
