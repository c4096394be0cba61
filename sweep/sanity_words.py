"""What `sweep sanity` prints: the trial, the checks, the loss of each pass, and what came of it."""

import math
from collections.abc import Sequence

from sweep import header
from sweep.checks import faults
from sweep.data_checks import percent
from sweep.numbers import number
from sweep.overfitting import LEAST_FALL, Overfitting
from sweep.sanity import PASSES, Trial
from sweep.sparkline import sparkline
from trials.remedies import PROBING
from trials.report import Report


def opening(trial: Trial) -> list[str]:
    """Model, data, trial and checks; what is wrong as notes behind them."""
    found = faults(trial.checks)
    return [
        header.labelled("model", header.model_line(trial.plan)),
        header.labelled("data", header.data_line(trial.plan)),
        header.labelled("trial", trial_line(trial)),
        *(header.labelled("check", f"{check.name}: {check.told}") for check in trial.checks),
        *(header.labelled("note", fault) for fault in found),
        "  pass  training  held out",
    ]


def trial_line(trial: Trial) -> str:
    """The trial's settings."""
    config = trial.config
    rate = f"learning rate {number(config.learning_rate)} ({PROBING:g} × {number(trial.usual_rate)}, guide 2.4)"
    return (
        f"{trial.plan.space.name}: rank {config.lora_rank}, alpha {config.lora_alpha:g} on "
        f"{', '.join(config.lora_target)}; {rate}, batch {config.effective_batch_size}, {PASSES} passes over "
        f"{trial.plan.train_rows} rows"
    )


def pass_line(report: Report) -> str:
    """One pass."""
    return f"  {report.evaluation:>4}  {report.train_loss:>8.3f}  {report.eval_loss:>8.3f}"


def verdict(found: Overfitting, trial: Trial, reports: Sequence[Report]) -> list[str]:
    """What came of it, and what to look at when it is not as it should be."""
    curve = sparkline([report.train_loss for report in reports])
    loss = f"training loss {found.first:.3f} -> {found.last:.3f} {curve}, {_change(found)}"
    if found.passed:
        faulty = faults(trial.checks)
        told = [f"Over-fits, as it should: {loss}. Rows, labels and adapter work together."]
        return told + ([f"Still, see the note{'' if len(faulty) == 1 else 's'} above."] if faulty else [])
    told = [f"Does not over-fit: {loss}; good rows lose {percent(LEAST_FALL)} and more by then."]
    return [*told, *_look_at(found, trial)]


def _change(found: Overfitting) -> str:
    if not math.isfinite(found.fall):
        return "lost on the way"
    by = f"{percent(found.fall)} less" if found.fall >= 0 else f"{percent(-found.fall)} more"
    return f"{by} than in the second pass"


def _look_at(found: Overfitting, trial: Trial) -> list[str]:
    """What may be at fault, the most likely first."""
    rate, data = _rate(found, trial), trial.plan.ready.data
    rows = [
        ("template", "is it the one that the model was trained with? Take MODEL's instruct variant, with its own"),
        ("columns", f"are question and answer read from the right ones? The rows were read as {data['form']}"),
        ("labels", "are the answers words that follow from the question, and not noise?"),
        ("cutoff_len", f"{trial.config.cutoff_len}: is enough of an answer within it?"),
    ]
    rows = [*rows, rate] if found.kind == "learns too little" else [rate, *rows]
    return ["Look at (guide 2.4):", *(f"  {name:<14} {text}" for name, text in rows)]


def _rate(found: Overfitting, trial: Trial) -> tuple[str, str]:
    """The learning rate to try. What SET says is raised as the starting point's is."""
    lower, higher = (number(float(f"{trial.usual_rate * by:.2g}")) for by in (1 / PROBING, PROBING))
    now = number(trial.config.learning_rate)
    if found.kind == "diverges":
        return "learning rate", f"{now} is too high for it? SET=learning_rate={lower} makes it a fifth"
    return "learning rate", f"{now} is too low for it? SET=learning_rate={higher} makes it five times as high"
