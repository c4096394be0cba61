"""What a sweep says while it runs: the views that trials fill in, and the plain way to print them.

A trial's thread owns its `TrialView`, changes it and tells a `Progress`. `LiveProgress` (sweep/live.py) draws
it on a terminal; `PlainProgress`, here, prints one line an event, for logs and pipes.
"""

from dataclasses import dataclass, field
from math import isfinite, nan
from threading import Lock
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.text import Text


@dataclass
class TrialView:
    """What the progress shows of one trial. Its trial's thread writes it, the view's thread reads it.

    Attributes:
        number: The trial's number in its study.
        lora_rank: The adapter's rank.
        lora_alpha: The adapter's alpha.
        lora_target: The name of the adapted layers' set.
        learning_rate: The peak rate.
        total_evaluations: Evaluations that the whole trial makes.
        eval_losses: The loss of each evaluation so far, in nats per token.
        step: Optimizer steps taken.
        total_steps: Optimizer steps of the whole trial; 0 until it is known.
        train_loss: The last training loss, in nats per token.
        tokens_per_second: Training tokens a second; 0 until it is known.
        state: running, complete, pruned, failed or interrupted.
        reason: Why it ended, where there is a reason.
        best: Whether it is the best of the study so far.
    """

    number: int
    lora_rank: int
    lora_alpha: int
    lora_target: str
    learning_rate: float
    total_evaluations: int = 0
    eval_losses: list[float] = field(default_factory=list)
    step: int = 0
    total_steps: int = 0
    train_loss: float = nan
    tokens_per_second: float = 0.0
    state: str = "running"
    reason: str = ""
    best: bool = False

    @property
    def best_loss(self) -> float:
        """The lowest finite evaluation loss, in nats per token; NaN where there is none."""
        return min((loss for loss in tuple(self.eval_losses) if isfinite(loss)), default=nan)

    @property
    def evaluations(self) -> str:
        """How far it is, as `6 of 10`."""
        return f"{len(self.eval_losses)} of {self.total_evaluations}"

    @property
    def fraction(self) -> float:
        """The share of its steps that are taken, from 0 to 1."""
        return min(self.step / self.total_steps, 1.0) if self.total_steps > 0 else 0.0


@dataclass
class StudyView:
    """What the progress shows of the study.

    Attributes:
        name: The study's name.
        total: Finished trials that the study is to have.
        finished: Finished (complete and pruned) trials so far, of every session and machine.
        best_value: The best trial's value, in nats per token; None before the first.
        steps_spent: Optimizer steps taken by finished trials.
        steps_saved: Optimizer steps that pruning spared.
    """

    name: str
    total: int
    finished: int
    best_value: float | None
    steps_spent: int
    steps_saved: int


class Progress(Protocol):
    """Where a sweep tells how it goes. Every method may be called from any thread, and none waits long.

    Nothing that is told is read as markup: a name with `[red]` in it is shown with `[red]` in it. Call
    `study_moved` before `trial_ended`, so that a trial's last line counts that trial.
    """

    def trial_started(self, trial: TrialView) -> None:
        """A trial begins, or goes on where it was interrupted when it has evaluations already."""

    def trial_moved(self, trial: TrialView) -> None:
        """A trial took a step."""

    def trial_reported(self, trial: TrialView) -> None:
        """A trial made an evaluation: the last of `eval_losses`."""

    def trial_ended(self, trial: TrialView) -> None:
        """A trial ended, as its state and reason say."""

    def study_moved(self, study: StudyView) -> None:
        """The study's counts or its best value changed."""

    def say(self, line: str) -> None:
        """Print a line that stays, above a live view."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def make_progress(console: Console, total_slots: int) -> Progress:
    """Choose a live view for a terminal that can draw it, and plain lines for all else.

    Args:
        console: Where to print. A terminal whose encoding is not Unicode cannot draw the bars: plain lines.
        total_slots: Trials that run at the same time here, from 1.
    """
    if console.is_interactive and not console.options.ascii_only:
        # Here, since live.py reads the views above.
        from sweep.live import LiveProgress

        return LiveProgress(console, total_slots)
    return PlainProgress(console)


class PlainProgress:
    """One line an event, with no colour and no cursor movement. Safe to call from several threads."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._study: StudyView | None = None
        self._lock = Lock()

    def trial_started(self, trial: TrialView) -> None:
        """Print the trial's settings."""
        settings = f"{trial.lora_rank}:{trial.lora_alpha} {trial.lora_target}"
        settings += f" lr {format_learning_rate(trial.learning_rate)}"
        if trial.eval_losses:
            self._print(trial, "resumed", f"{settings}  from {trial.evaluations}")
        else:
            self._print(trial, "started", settings)

    def trial_moved(self, trial: TrialView) -> None:
        """Print nothing: a line a step would bury the evaluations."""

    def trial_reported(self, trial: TrialView) -> None:
        """Print the newest evaluation."""
        facts = [f"step {trial.step} of {trial.total_steps}"]
        if isfinite(trial.train_loss):
            facts.append(f"train {trial.train_loss:.2f}")
        if trial.eval_losses:
            facts.append(f"eval {trial.eval_losses[-1]:.3f}")
        if trial.tokens_per_second > 0:
            facts.append(format_speed(trial.tokens_per_second))
        self._print(trial, trial.evaluations, "  ".join(facts))

    def trial_ended(self, trial: TrialView) -> None:
        """Print how the trial ended, and in brackets where the study is."""
        facts = [trial.evaluations]
        if isfinite(trial.best_loss):
            facts.append(f"best {trial.best_loss:.3f}")
        if trial.best:
            facts.append("best so far")
        if trial.reason:
            facts.append(one_line(trial.reason))
        with self._lock:
            study = study_facts(self._study) if self._study else []
        told = f"   [{', '.join(study)}]" if study else ""
        self._print(trial, trial.state, "  ".join(facts) + told)

    def study_moved(self, study: StudyView) -> None:
        """Keep the study's counts for the next trial that ends."""
        with self._lock:
            self._study = study

    def say(self, line: str) -> None:
        """Print a line."""
        # A log in ASCII shows ? for ±: a lesser evil than a sweep that stops on its own words.
        encoding = self._console.encoding
        line = printable(line).encode(encoding, errors="replace").decode(encoding)
        with self._lock:
            # soft_wrap: an event stays one line, however narrow rich believes a pipe to be.
            self._console.print(Text(line), soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def _print(self, trial: TrialView, word: str, rest: str) -> None:
        self.say(f"trial {trial.number}  {word:<9} {rest}")


def study_facts(study: StudyView) -> list[str]:
    """Say where a study is: `16 of 24`, `best 2.581`, `41 % of steps saved`; what is unknown is left out."""
    facts = [f"{study.finished} of {study.total}"]
    if study.best_value is not None:
        facts.append(f"best {study.best_value:.3f}")
    steps = study.steps_spent + study.steps_saved
    if steps > 0:
        facts.append(f"{round(100 * study.steps_saved / steps)} % of steps saved")
    return facts


def format_learning_rate(rate: float) -> str:
    """Write a rate with two digits, as `7.1e-4`."""
    if not isfinite(rate):
        return str(rate)
    digits, exponent = f"{rate:.1e}".split("e")
    return f"{digits}e{int(exponent)}"


def format_speed(tokens_per_second: float) -> str:
    """Write a speed in few characters, as `212 tok/s` or `21k tok/s`."""
    if tokens_per_second < 9_999.5:
        return f"{tokens_per_second:.0f} tok/s"
    return f"{tokens_per_second / 1000:.0f}k tok/s"


def format_duration(seconds: float) -> str:
    """Write an estimate as roughly as it is known: `about 3 min`, `about 2 h 10 min`, `about 3 days`."""
    if not isfinite(seconds):
        return "an unknown time"
    if seconds < 60:
        return "less than 1 min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    tens = round(seconds / 600)
    if tens < 60:
        hours, rest = divmod(tens * 10, 60)
        return f"about {hours} h {rest} min" if rest else f"about {hours} h"
    hours = round(seconds / 3600)
    return f"about {hours} h" if hours < 48 else f"about {round(hours / 24)} days"


def printable(text: str) -> str:
    """Take control characters out of text: an error message must not move the cursor or set colours."""
    return "".join(character if character.isprintable() or character == "\n" else " " for character in text)


def one_line(text: str) -> str:
    """Join a text's lines and spaces into one printable line."""
    return " ".join(printable(text).split())
