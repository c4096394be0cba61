"""A run as its log tells it: training and evaluation losses over steps, and the settings if they are known."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from trials.config import TrialConfig
from trials.report import Report


class TrainingPoint(NamedTuple):
    """What a run logged of training at one step.

    Attributes:
        step: Optimizer steps taken.
        epoch: Passes over the training rows; None when the log does not say.
        loss: Mean loss since the last point; may be NaN or infinite.
        learning_rate: None when the log does not say.
        grad_norm: None when the log does not say; NaN happens in healthy runs too.
    """

    step: int
    epoch: float | None
    loss: float
    learning_rate: float | None = None
    grad_norm: float | None = None


class EvaluationPoint(NamedTuple):
    """One evaluation: optimizer steps taken before it, passes over the rows if known, and its loss."""

    step: int
    epoch: float | None
    loss: float


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is known of a run's settings, with LLaMA-Factory's names; None is not known.

    Attributes:
        usual_learning_rate: The highest rate that is usual for the run's model; None takes the guide's, which is meant
            for models of billions of parameters.
    """

    learning_rate: float | None = None
    lr_scheduler_type: str | None = None
    warmup_ratio: float | None = None
    num_train_epochs: float | None = None
    per_device_train_batch_size: int | None = None
    gradient_accumulation_steps: int | None = None
    lora_rank: int | None = None
    lora_alpha: float | None = None
    val_size: float | None = None
    usual_learning_rate: float | None = None

    @classmethod
    def of(cls, config: TrialConfig) -> "Settings":
        """The settings of one of this program's own trials."""
        names = {known.name for known in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in config.to_dict().items() if name in names})


NOTHING_KNOWN = Settings()


@dataclass(frozen=True)
class LoggedCurve:
    """One run's points, oldest first, each step once.

    Attributes:
        training: Training losses.
        evaluations: Evaluation losses by the evaluation set's name; "" is a run's only set.
        total_steps: Optimizer steps of the whole run; None when not known.
        notes: What was odd in the log and how it was read, a line each.
    """

    training: tuple[TrainingPoint, ...]
    evaluations: Mapping[str, tuple[EvaluationPoint, ...]] = field(default_factory=dict)
    total_steps: int | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, reports: Sequence[Report]) -> "LoggedCurve":
        """The curve of one of this program's own trials.

        A training loss is the mean since the last report, so that there are as many points as reports.
        """
        return cls(
            tuple(TrainingPoint(r.step, r.epoch, r.train_loss, r.learning_rate, r.grad_norm) for r in reports),
            {"": tuple(EvaluationPoint(r.step, r.epoch, r.eval_loss) for r in reports)} if reports else {},
            reports[-1].total_steps if reports else None,
        )

    @property
    def last_step(self) -> int:
        """The last step that has a point; 0 for a curve without any."""
        ends = [self.training[-1].step] if self.training else []
        return max([*ends, *(points[-1].step for points in self.evaluations.values() if points)], default=0)

    @property
    def peak_learning_rate(self) -> float | None:
        """The highest rate that was logged; None when none was."""
        rates = [point.learning_rate for point in self.training if point.learning_rate is not None]
        return max((rate for rate in rates if math.isfinite(rate) and rate > 0), default=None)

    @property
    def epochs(self) -> float | None:
        """Passes over the training rows at the last training point; None when the log does not say."""
        return next((point.epoch for point in reversed(self.training) if point.epoch is not None), None)
