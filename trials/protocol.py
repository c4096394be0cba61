"""What a coordinator and a worker say to each other over their pipe. Torch-free.

The coordinator sends a `WorkerSetup` once, then `Job` and `Stop`; closing the pipe ends the worker. The worker
answers the setup with `Ready` or `Failed`; each job with `Told` messages of its number: `Moved` (a step), `Report`
(an evaluation) and one closing message, `Finished`, `Saved` or `Failed`. Several jobs may be under way at once. What a
worker learns of its device's room it tells as `Limits`, and takes as such what others have learnt. A worker on a
machine that a cluster's engine chose says `Arrived` before anything else, and `Leaving` when the engine takes the
machine back.
"""

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trials.config import TrialConfig
from trials.errors import TrialsError
from trials.failure import FailureClass, class_of
from trials.merged import Merge
from trials.report import Report

# Characters of a traceback that go to the coordinator: its end says what went wrong.
DETAIL_CHARACTERS = 4000


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker loads once and keeps: a base model and tokenised data on one device.

    Attributes:
        model: A local folder or a hub name; empty for the default model.
        dataset: A file, folder or hub name; empty for the stage's default data.
        stage: "sft" or "pt".
        cutoff_len: Tokens at which a row is cut.
        max_samples: Training rows at most; None for all.
        val_size: Evaluation rows: below 1 a share of all rows, else their number.
        seed: Fixes split, order and evaluation set.
        dtype: "auto", "bf16" or "fp32": of the base model's weights.
        quantization_bit: 4 or 8 for a base whose linear weights are quantised, "auto" for 4 where that runs on a
            GPU; None for a plain base.
        threads: CPU threads of this worker; 0 leaves torch's choice.
        trust_remote_code: Whether a hub model may bring its own code.
        cache_dir: Where prepared models and data are kept.
        merge: How `model` is made when it is a merged model that is not there yet.
        start_loss: Whether to measure the loss before training; one worker does, for all.
        busy_tokens: Whether to measure how many tokens a pass must have to keep a GPU busy; one worker does, for all.
    """

    model: str
    dataset: str
    stage: str
    cutoff_len: int
    max_samples: int | None
    val_size: float
    seed: int
    dtype: str
    quantization_bit: int | str | None
    threads: int
    trust_remote_code: bool
    cache_dir: Path
    merge: Merge | None = None
    start_loss: bool = False
    busy_tokens: bool = False


@dataclass(frozen=True)
class ModelFacts:
    """What a coordinator needs to know of a base model without loading it.

    Attributes:
        name: For people.
        model_type: The architecture's name in transformers ("llama").
        layers: Hidden layers.
        hidden_size: Width of the residual stream.
        vocab_size: Rows of the output embedding.
        parameters: Number of weights.
        linear_modules: Leaf names of the linear modules but for the output embedding.
        linear_sizes: Inputs and outputs of all modules of a leaf name, summed: an adapter's weights a rank.
        dtype: Of the weights in memory: "bf16" or "fp32"; of those that are not quantised.
        fingerprint: 16 hex characters of the weights as they are stored and the settings, the same on every machine.
        quantization_bit: 4 or 8 when its linear weights are held in so many bits; None for a plain base.
        not_quantized: Why a base that was to be quantised where possible is not; else empty.
        gradient_checkpointing: Whether activations are computed again in the backward pass instead of kept.
    """

    name: str
    model_type: str
    layers: int
    hidden_size: int
    vocab_size: int
    parameters: int
    linear_modules: tuple[str, ...]
    dtype: str
    fingerprint: str
    quantization_bit: int | None = None
    not_quantized: str = ""
    gradient_checkpointing: bool = False
    linear_sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DeviceFacts:
    """Where a worker runs.

    Attributes:
        name: "cpu", or the GPU's own name.
        memory_bytes: All memory of the device (of all its devices together when it has several).
        free_bytes: What was free once the base model was loaded.
        used_bytes: What the base model takes of a GPU; 0 where that cannot be told from the rest.
    """

    name: str
    memory_bytes: int
    free_bytes: int
    used_bytes: int = 0

    @property
    def kind(self) -> str:
        """What devices have in common whose times and needs of memory compare: "cpu, 24 GB"."""
        return f"{self.name}, {self.memory_bytes / (1 << 30):.0f} GB"


@dataclass(frozen=True)
class Ready:
    """A worker has loaded everything and waits for jobs.

    `data` is `trials.data.DataFacts` as plain data, and under "tokens" `trials.token_checks.TokenFacts`, None in stage
    pt. Of its values only the data set's name and fingerprint take part in what a study is of. `start_loss` is the loss
    before training on the evaluation rows, in nats per token; None where it was not asked for or is not finite.
    `busy_tokens` are those that a pass must have to keep the GPU busy; None where that was not measured.
    """

    model: ModelFacts
    data: dict[str, object]
    device: DeviceFacts
    start_loss: float | None = None
    busy_tokens: int | None = None


@dataclass(frozen=True)
class Job:
    """One run to do in `folder`, going on from its checkpoint there when it has one.

    `number` is the coordinator's name for it.
    """

    number: int
    config: TrialConfig
    folder: Path


@dataclass(frozen=True)
class Stop:
    """End a job, or all: at its next evaluation with a checkpoint if `save`, else at once.

    One that has not begun is let go at once. `number` is the job's, None for all.
    """

    save: bool
    number: int | None = None


@dataclass(frozen=True)
class Moved:
    """One optimizer step was taken.

    Attributes:
        step: Optimizer steps taken so far.
        total_steps: Of the whole run.
        epoch: Passes over the training rows, as a fraction.
        train_loss: Mean loss over this step's label tokens, in nats per token.
        learning_rate: The rate that this step used.
        tokens_per_second: Training tokens over this step's wall time.
    """

    step: int
    total_steps: int
    epoch: float
    train_loss: float
    learning_rate: float
    tokens_per_second: float


@dataclass(frozen=True)
class Finished:
    """The job is over: its horizon reached, stopped early, or closed.

    `trainable_parameters` counts the adapter's weights; `early` says that patience ran out.
    """

    trainable_parameters: int
    early: bool


@dataclass(frozen=True)
class Saved:
    """The job was stopped at an evaluation and its checkpoint lies in its folder."""


@dataclass(frozen=True)
class Failed:
    """The setup or the job failed.

    `expected` is an error of this room: its message alone says all, and the worker can go on.
    """

    message: str
    detail: str
    expected: bool
    failure: FailureClass = FailureClass.UNKNOWN

    @classmethod
    def of(cls, error: Exception) -> "Failed":
        """What is told of an error: our own need no traceback."""
        if isinstance(error, TrialsError):
            return cls(str(error), "", expected=True, failure=class_of(error))
        detail = "".join(traceback.format_exception(error))[-DETAIL_CHARACTERS:]
        return cls(f"{type(error).__name__}: {error}", detail, expected=False, failure=class_of(error))


@dataclass(frozen=True)
class Limits:
    """What a device was found to have room for: more did not fit, and is tried by no worker of the study again.

    Attributes:
        tokens: Of one pass at most, unless a row alone has more; None while any number has fitted.
        runs: In one pass at most; None as well.
        checkpointing: Whether activations have to be computed twice instead of kept.
    """

    tokens: int | None = None
    runs: int | None = None
    checkpointing: bool = False

    def joined(self, other: "Limits") -> "Limits":
        """The narrower of both in each."""
        return Limits(
            _least(self.tokens, other.tokens), _least(self.runs, other.runs), self.checkpointing or other.checkpointing
        )


def _least(one: int | None, other: int | None) -> int | None:
    return min((number for number in (one, other) if number is not None), default=None)


Message = Moved | Report | Finished | Saved | Failed


@dataclass(frozen=True)
class Told:
    """What a worker says of the job `number`."""

    number: int
    message: Message


@dataclass(frozen=True)
class Place:
    """Where a worker is to be that a cluster's engine starts on a machine of its choice.

    Attributes:
        folder: The coordinator's working folder, from which relative paths are seen where a machine has it too.
        sign: A file in OUTPUT: a machine on which it lies shares that folder.
        gpus: GPUs that the engine gives the worker; 0 for the CPU.
        threads: CPU threads; 0 leaves the library's choice.
    """

    folder: Path
    sign: Path
    gpus: int
    threads: int


@dataclass(frozen=True)
class Arrived:
    """The process of worker `number` runs on `machine`; `shares` says whether OUTPUT is the coordinator's there."""

    number: int
    machine: str
    shares: bool


@dataclass(frozen=True)
class Leaving:
    """The worker is being taken away: it saves its jobs at their next evaluation, takes no other, and ends."""


Answer = Ready | Failed | Told | Limits | Arrived | Leaving
Command = WorkerSetup | Job | Stop | Limits
