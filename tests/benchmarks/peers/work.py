"""The work of all contestants: sixteen trials on the same tokens in the same order, evaluated at the same steps."""

import dataclasses
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loads torch, which our coordinator never does
    from trials.data import PreparedData

RANKS = (4, 8, 16, 32)
SEED = 42
WARMUP = 0.1  # share of a trial's steps


@dataclass(frozen=True)
class Work:
    """What is to be done, and where it is told.

    Attributes:
        model: The base model's folder; "" for ours stands for the default one.
        folder: The base model's folder, always.
        dataset: As `sweep run` takes it; "" for the default data of the stage.
        stage: "sft" for chats of uneven length, "pt" for blocks of equal length.
        cutoff_len: Tokens of a row at most.
        rows: Distinct training rows.
        evaluation_rows: Rows that are evaluated on.
        steps: Optimizer steps of a trial.
        evaluations: Evaluations of a trial.
        batch: Rows of a step.
        rates: Learning rates, each tried with each rank.
        prunes: Whether trials are pruned, by each contestant's own means.
        cache: Where the tokenised rows lie.
        log: Where a contestant says when trials begin and what their evaluations find.
    """

    model: str
    folder: str
    dataset: str
    stage: str
    cutoff_len: int
    rows: int
    evaluation_rows: int
    steps: int
    evaluations: int
    batch: int
    rates: tuple[float, ...]
    prunes: bool
    cache: str
    log: str

    @classmethod
    def read(cls, path: str) -> "Work":
        """What `write` wrote."""
        values = json.loads(Path(path).read_text(encoding="utf8"))
        return cls(**{**values, "rates": tuple(values["rates"])})

    def write(self, path: Path) -> None:
        """Leaves it for a contestant's process."""
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf8")

    @property
    def configs(self) -> list[tuple[int, float]]:
        """Rank and learning rate of every trial."""
        return [(rank, rate) for rank in RANKS for rate in self.rates]

    @property
    def evaluated_after(self) -> list[int]:
        """The steps after which a trial is evaluated: equal shares of it."""
        return [-(-self.steps * i // self.evaluations) for i in range(1, self.evaluations + 1)]

    @property
    def warmup_steps(self) -> int:
        """Steps in which the learning rate rises."""
        return math.ceil(WARMUP * self.steps)

    def data(self, tokenizer: object) -> "PreparedData":
        """The tokenised rows; out of the cache, but for the first who asks."""
        from trials.data import DataSpec, prepare_data
        from trials.model import tokenizer_fingerprint

        spec = DataSpec(
            self.dataset,
            self.stage,  # type: ignore[arg-type]
            self.cutoff_len,
            self.rows,
            self.evaluation_rows,
            SEED,
        )
        return prepare_data(spec, tokenizer, tokenizer_fingerprint(tokenizer), Path(self.cache))

    def say_begun(self, trial: str) -> None:
        """Says that a trial has taken its first step."""
        self.say("begun", trial=trial)

    def say_evaluated(self, trial: str, step: int, loss: float) -> None:
        """Says what an evaluation found. A pruned trial may be killed, so that none says its own end."""
        self.say("evaluated", trial=trial, step=step, loss=loss)

    def say(self, event: str, **values: str | float) -> None:
        """Says what has happened, and when."""
        with Path(self.log).open("a", encoding="utf8") as file:
            file.write(json.dumps({"event": event, "time": time.time(), **values}) + "\n")


def trial_name(rank: int, rate: float) -> str:
    """What all contestants call a trial."""
    return f"{rank}:{rate:g}"
