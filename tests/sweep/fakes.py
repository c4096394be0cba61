"""A launcher that plays lists of reports, and a whole sweep around it on a real study in a real SQLite file."""

import functools
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from optuna_dashboard import get_note
from rich.console import Console

from spaces.reading import read_space
from spaces.space import SearchSpace
from spaces.yamlfile import parse_yaml
from sweep.artifacts import Artifacts
from sweep.budget import Budget
from sweep.errors import TrialFailed, TrialInterrupted, WorkerDied
from sweep.objective import Session, clean_up
from sweep.plan import Plan
from sweep.progress import PlainProgress
from sweep.pruners import PRUNERS
from sweep.results import Results
from sweep.searching import Search
from sweep.storage import open_storage
from sweep.study import Identity, create_study
from sweep.sweep_storage import SweepStorage
from trials.config import TrialConfig
from trials.folders import ADAPTER, CHECKPOINT
from trials.protocol import DeviceFacts, Finished, Limits, ModelFacts, Moved, Ready
from trials.report import Report
from trials.row_checks import RowFacts
from trials.token_checks import TokenFacts

GIB = 1 << 30
LLAMA_MODULES = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
BUDGET = Budget(max_rows=80, max_samples=80, val_size=16, evaluations=5, cutoff_len=64)
# Rows and tokens in which there is nothing wrong.
GOOD_ROWS = RowFacts(
    unlabelled=0,
    empty_share=0.0,
    same_share=0.05,
    cut_in_answer_share=0.1,
    endless_share=0.0,
    ends=((2, 1.0),),
    fitting_cutoff_len=96,
)
GOOD_TOKENS = TokenFacts(("<|im_start|>", "<|im_end|>"), (), "<|im_end|>", 1.0)
SPACE = """
stage: sft
fixed: {lora_target: qv, effective_batch_size: 8, warmup_ratio: 0.0}
search:
  learning_rate: {float: [1e-4, 1e-2], log: true}
  lora_rank: {choice: [8, 16, 32]}
  alpha_ratio: {choice: [1, 2]}
derived: {lora_alpha: lora_rank * alpha_ratio}
"""


def make_space(text: str = SPACE, name: str = "demo") -> SearchSpace:
    """A space from YAML text."""
    return read_space(parse_yaml(text.encode()), name, f"{name}.yaml")


def make_ready(
    *, train_rows: int = 80, device: str = "cpu", free_bytes: int = 64 * GIB, model: str = "tiny", data: str = "chats"
) -> Ready:
    """What a worker says of a Llama of two layers, a data set and a device."""
    facts = ModelFacts(model, "llama", 2, 32, 200, 40_000, LLAMA_MODULES, "fp32", f"{model}-fingerprint")
    rows = {"train_rows": train_rows, "eval_rows": 16, "twins_dropped": 0, "cut_share": 0.25, "label_share": 0.4}
    described = {"dataset": data, "stage": "sft", "form": "messages", "fingerprint": f"{data}-fingerprint", **rows}
    checks = {"checks": asdict(GOOD_ROWS), "tokens": asdict(GOOD_TOKENS), "cutoff_len": BUDGET.cutoff_len}
    return Ready(facts, described | checks, DeviceFacts(device, 2 * free_bytes, free_bytes))


def make_plan(space: SearchSpace | None = None, budget: Budget = BUDGET, ready: Ready | None = None) -> Plan:
    """A plan for the tiny model."""
    return Plan(space or make_space(), budget, ready or make_ready(), seed=7, early_stopping_patience=5)


def report(evaluation: int, eval_loss: float, *, train_loss: float | None = None, total: int = 5) -> Report:
    """One evaluation of a run that makes two steps between evaluations."""
    return Report(
        evaluation=evaluation,
        total_evaluations=total,
        step=2 * evaluation,
        total_steps=2 * total,
        tokens=100 * evaluation,
        epoch=evaluation / total,
        train_loss=eval_loss if train_loss is None else train_loss,
        eval_loss=eval_loss,
        learning_rate=1e-3,
        grad_norm=1.0,
        seconds=10.0 * evaluation,
        peak_memory_bytes=1000,
    )


def curve(*eval_losses: float, train_losses: Sequence[float] = (), total: int = 5) -> list[Report]:
    """Reports 1, 2, … of a run."""
    trains = train_losses or eval_losses
    pairs = enumerate(zip(eval_losses, trains, strict=True), start=1)
    return [report(index, loss, train_loss=train, total=total) for index, (loss, train) in pairs]


def moved(step: int, *, total: int = 10, train_loss: float = 2.5) -> Moved:
    """One optimizer step."""
    return Moved(step, total, step / total, train_loss, 1e-3, 200.0)


# What happens in a run: a report, a step, its end, an error that it raises, or something that the test does meanwhile.
Event = Report | Moved | Finished | TrialFailed | WorkerDied | TrialInterrupted | Callable[[], None]


class FakeRun:
    """Plays its events; saved at the next report when its launcher is told so."""

    def __init__(self, launcher: "FakeLauncher", events: Sequence[Event], on_step: Callable[[Moved], None]) -> None:
        self._launcher, self._events, self._on_step = launcher, events, on_step
        self.finished: Finished | None = None
        self.closed = False

    def __iter__(self) -> Iterator[Report]:
        for event in self._events:
            if self.closed:
                return
            if isinstance(event, Report):
                yield event
                if self._launcher.saving:
                    raise TrialInterrupted
            elif isinstance(event, Moved):
                self._on_step(event)
            elif isinstance(event, Finished):
                self.finished = event
                return
            elif isinstance(event, BaseException):
                raise event
            else:
                event()
        self.finished = Finished(trainable_parameters=1234, early=False)

    def close(self) -> None:
        """As a local run's: a worker that is told to stop answers that it has finished."""
        self.closed = True
        self.finished = self.finished or Finished(trainable_parameters=1234, early=False)


@dataclass
class FakeLauncher:
    """Gives each start the next list of events, and lays an adapter and a checkpoint in the folder.

    Attributes:
        plays: The events of the runs to come.
        slots: Runs at once.
        saving: Whether it was told to stop.
        started: Settings and folder of every run.
        runs: The runs themselves.
        limits: What its workers have learnt.
    """

    plays: list[Sequence[Event]]
    slots: int = 1
    saving: bool = False
    started: list[tuple[TrialConfig, Path]] = field(default_factory=list)
    runs: list[FakeRun] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)

    def narrow(self, limits: Limits) -> None:
        self.limits = self.limits.joined(limits)

    def ready(self) -> Ready:
        return make_ready()

    def widen(self, trials: int) -> None:
        self.slots = trials

    def start(self, config: TrialConfig, folder: Path, on_step: Callable[[Moved], None]) -> FakeRun:
        for name, file in ((ADAPTER, "adapter_config.json"), (CHECKPOINT, "state.json")):
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / file).write_text("{}", encoding="utf8")
        run = FakeRun(self, self.plays[len(self.started)], on_step)
        self.started.append((config, folder))
        self.runs.append(run)
        return run

    def stop(self, *, save: bool) -> None:
        self.saving = save

    def close(self) -> None:
        pass


@functools.cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "empty.db"
        open_storage(str(file), create=True).engine.dispose()
        return file.read_bytes()


def new_storage(file: Path) -> SweepStorage:
    """A new database with all its tables; making them takes most of a second, copying them nothing."""
    file.write_bytes(_empty_database())
    return open_storage(str(file), create=True)


class FakeSweep:
    """A study in `tmp_path/sweep.db` whose trials a `FakeLauncher` plays."""

    def __init__(
        self,
        tmp_path: Path,
        *plays: Sequence[Event],
        space: SearchSpace | None = None,
        keep_adapters: int = 3,
        pruner: str = "trend",
        start_loss: float | None = None,
    ) -> None:
        plan = make_plan(space, ready=replace(make_ready(), start_loss=start_loss))
        self.output = tmp_path / "runs"
        self.said = io.StringIO()
        self.launcher = FakeLauncher(list(plays))
        self.storage: SweepStorage = new_storage(tmp_path / "sweep.db")
        identity = Identity.of(plan.space, plan.budget, plan.seed, plan.ready)
        self.study = create_study(self.storage, "demo", identity, plan.space)
        self.study.sampler = optuna.samplers.RandomSampler(seed=0)
        self.study.pruner = PRUNERS[pruner](plan.budget.evaluations)
        self.results = Results(self.storage.engine, "demo")
        self.session = Session(
            plan=plan,
            launcher=self.launcher,
            results=self.results,
            artifacts=Artifacts(self.output),
            progress=PlainProgress(Console(file=self.said, width=200)),
            output=self.output,
            total=10,
            keep_adapters=keep_adapters,
        )

    def play(self) -> None:
        """Runs trials until every list of events has been played."""
        while len(self.launcher.started) < len(self.launcher.plays):
            self.run(1)

    def run(self, n_trials: int) -> None:
        """Runs trials as a sweep does."""
        Search(self.session, self.study, [clean_up(self.session)]).run(n_trials)

    def trial(self, number: int = 0) -> optuna.trial.FrozenTrial:
        return self.study.get_trials()[number]

    def note(self, number: int = 0) -> str:
        """What the dashboard shows beside the trial."""
        return str(get_note(optuna.Trial(self.study, self.trial(number)._trial_id)))

    def row(self, number: int = 0) -> dict[str, Any]:
        """The trial's row in our own table."""
        return self.results.trials()[number]

    def folder(self, number: int = 0) -> Path:
        folder: Path = self.output / self.row(number)["folder"]
        return folder


def trial_row(number: int, value: float | None, **changes: Any) -> dict[str, Any]:
    """A row of `sweep_trials`, as tables, findings and exports read it."""
    row: dict[str, Any] = {
        "trial_number": number,
        "state": "complete",
        "value": value,
        "reason": "",
        "lora_rank": 8,
        "lora_alpha": 16.0,
        "lora_target": "qv",
        "learning_rate": 1e-3,
        "effective_batch_size": 8,
        "folder": f"demo/trials/{number:05d}",
    }
    row["config"] = TrialConfig(lora_target=("q_proj", "v_proj")).to_dict()
    row |= changes
    row.setdefault("params", {"learning_rate": row["learning_rate"]})
    return row
