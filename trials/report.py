"""One point of a learning curve: what a run says at an evaluation."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Report:
    """What a run measured at one evaluation.

    Attributes:
        evaluation: Which evaluation of the run this is, from 1 to `total_evaluations`.
        total_evaluations: Evaluations that the whole run makes: its horizon.
        step: Optimizer steps taken.
        total_steps: Optimizer steps of the whole run.
        tokens: Training tokens seen (context and label, no padding).
        epoch: Passes over the training rows, as a fraction.
        train_loss: Mean loss over the label tokens since the last report, in nats per token.
        eval_loss: Mean loss over the evaluation set's label tokens, in nats per token.
        learning_rate: The rate that the last optimizer step used.
        grad_norm: The gradient's norm before clipping, at the last optimizer step.
        seconds: Wall time spent in training and evaluation, over all sessions of the run.
        peak_memory_bytes: Highest memory use so far: the device's on a GPU, the process's on the CPU.
    """

    evaluation: int
    total_evaluations: int
    step: int
    total_steps: int
    tokens: int
    epoch: float
    train_loss: float
    eval_loss: float
    learning_rate: float
    grad_norm: float
    seconds: float
    peak_memory_bytes: int
