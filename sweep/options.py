"""What a sweep is asked to do: the options of `sweep run`, which are the variables of `make sweep`."""

from dataclasses import dataclass
from pathlib import Path

from sweep.design import CONFIRM, DEFAULT_LEVELS, DEFAULT_SEEDS, DESIGNS, MOST_CELLS, TPE
from sweep.devices import AUTO
from sweep.errors import SweepError

DEFAULT_STORAGE = "runs/sweep.db"
DEFAULT_OUTPUT = Path("runs")
DEFAULT_TRIALS = 12
LARGEST_SEED = 2**32 - 1  # NumPy's generators take no larger one
# Of `sweep confirm`: leaders, and seeds at which each runs again.
DEFAULT_TOP = 3
CONFIRM_SEEDS = 3


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """One sweep's options.

    Attributes:
        space: A shipped space's name, or a YAML file.
        model: A local folder or a hub name; empty for the default model.
        from_study: A study whose best trial, its adapter merged, is the model; empty for none.
        dataset: A file, folder or hub name; empty for the default data of the space's stage.
        study: The study's name; empty for the space's.
        storage: A SQLite file or a database URL.
        n_trials: Finished trials that the study is to have in all; None for 12, or for all of a design's cells.
        max_steps: Optimizer steps of a trial, counted at a batch of 16 rows; None for the device's default.
        max_samples: Distinct training rows; None for the device's default.
        val_size: Evaluation rows, or their share when below 1; None for the device's default.
        seed: Fixes split, order, evaluation set, first weights and the sampler.
        gpus: Indices like "0,1", "cpu", or empty for every GPU there is.
        gpus_per_trial: GPUs that one trial's model is spread over.
        trials_per_gpu: Trials at once on one device: a number or "auto".
        per_device_train_batch_size: Rows in one forward pass at most; None to decide by the device.
        assignments: Knobs that are fixed or widened, each like `lora_rank=16` or `learning_rate=1e-5..1e-2`.
        scale_lr: "auto", "on" or "off": whether the guide's learning rates move to fit the model's width.
        expand: Whether a range grows when the best trials crowd its edge.
        advisor: Whether what the guide would change about a sick trial is tried, as one trial in three at most.
        pruner: A name in `sweep.pruners.PRUNERS`; empty for trend in a search and none in a grid.
        audit: Share of the trials condemned by the pruner that run on all the same, from 0 to 1.
        design: "tpe" searches, "factorial" runs a grid; `sweep confirm` sets "confirm".
        over: Knobs of the grid, with commas; empty for all that the space searches.
        levels: Values of a range in the grid.
        seeds: Seeds at which the grid is run.
        early_stopping_patience: Evaluations without improvement that end a trial; 0 for never.
        keep_adapters: Adapters that are kept: those of the best so many trials.
        dtype: "auto", "bf16" or "fp32": of the base model's weights.
        trust_remote_code: Whether a hub model may bring its own code.
        force: Give the study another name when one of this name is of something else.
        output: The folder of logs and adapters.
        artifacts: Where other machines find pictures, states and adapters (`sweep.store`); empty for the output folder.
        launcher: What starts workers: a name in `sweep.launchers.registry.LAUNCHERS`.
        workers: How many, where an engine starts them; None for as many as there is room for.
        launcher_options: The launcher's own, each like `partition=gpu`.
    """

    space: str
    model: str = ""
    dataset: str = ""
    study: str = ""
    storage: str = DEFAULT_STORAGE
    n_trials: int | None = None
    max_steps: int | None = None
    max_samples: int | None = None
    val_size: float | None = None
    seed: int = 42
    gpus: str = ""
    gpus_per_trial: int = 1
    trials_per_gpu: str = AUTO
    per_device_train_batch_size: int | None = None
    assignments: tuple[str, ...] = ()
    scale_lr: str = "auto"
    expand: bool = False
    advisor: bool = True
    pruner: str = ""
    audit: float = 0.0
    design: str = TPE
    over: str = ""
    levels: int = DEFAULT_LEVELS
    seeds: int = DEFAULT_SEEDS
    early_stopping_patience: int = 5
    keep_adapters: int = 3
    dtype: str = "auto"
    trust_remote_code: bool = False
    force: bool = False
    from_study: str = ""
    output: Path = DEFAULT_OUTPUT
    artifacts: str = ""
    launcher: str = "local"
    workers: int | None = None
    launcher_options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value, least in (
            ("N_TRIALS", self.n_trials, 1),
            ("keep_adapters", self.keep_adapters, 1),
            ("early_stopping_patience", self.early_stopping_patience, 0),
            ("WORKERS", self.workers, 1),
            ("PER_DEVICE_TRAIN_BATCH_SIZE", self.per_device_train_batch_size, 1),
        ):
            if value is not None and value < least:
                raise SweepError(f"{name} is {value}; allowed: a whole number of at least {least}")
        for name, value, least, most in (
            ("SEED", self.seed, 0, LARGEST_SEED),
            ("SEEDS", self.seeds, 1, MOST_CELLS),
        ):
            if not least <= value <= most:
                raise SweepError(
                    f"{name} is {value}; allowed: a whole number of at least {least}, and at most {most:,}"
                )
        if not 0.0 <= self.audit <= 1.0:
            raise SweepError(f"AUDIT is {self.audit:g}; allowed: a share of the pruned trials, from 0 to 1")
        if self.dtype not in ("auto", "bf16", "fp32"):
            raise SweepError(f"dtype is {self.dtype!r}; allowed: auto, bf16, fp32")
        if self.scale_lr not in ("auto", "on", "off"):
            raise SweepError(f"SCALE_LR is {self.scale_lr!r}; allowed: auto, on, off")
        if self.design not in (*DESIGNS, CONFIRM):
            raise SweepError(f"design is {self.design!r}; allowed: {', '.join(DESIGNS)}")
        if self.over and self.design == TPE:
            raise SweepError(f"--over {self.over} names the knobs of a grid; add --design factorial")
