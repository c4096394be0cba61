"""The command line: `sweep run`, `show`, `list`, `export`, `dashboard`, `spaces`, `space`.

Imports inside the commands keep `sweep --help` quick.
"""

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from spaces.errors import SpaceError
from sweep.errors import SweepError
from sweep.options import DEFAULT_OUTPUT, DEFAULT_STORAGE, DEFAULT_TRIALS, SweepOptions
from trials.errors import TrialsError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Searches LoRA hyper-parameters: short trials on your GPUs, pruned by the trend of their validation loss, "
    "recorded in a database that optuna-dashboard opens.",
)

StudyArgument = Annotated[str, typer.Argument(help="The study's name; `sweep list` shows them.")]
StorageOption = Annotated[
    str,
    typer.Option("--storage", help="SQLite file or database URL that holds the study.", metavar="FILE_OR_URL"),
]
OutputOption = Annotated[Path, typer.Option("--output", help="Folder of logs, pictures and adapters.")]


@app.command()
def run(
    space: Annotated[str, typer.Option(help="A shipped space (`sweep spaces`) or a YAML file.")],
    model: Annotated[
        str, typer.Option(help="Folder or hub name. Default: SmolLM2-135M-Instruct, from a package.")
    ] = "",
    dataset: Annotated[
        str,
        typer.Option(
            help="A json, jsonl, csv or parquet file, a folder of them, or a hub name; alpaca, sharegpt, messages or "
            "plain text. Default: chitchat for stage sft, pydoc for stage pt."
        ),
    ] = "",
    study: Annotated[str, typer.Option(help="The study's name. Default: the space's.")] = "",
    storage: StorageOption = DEFAULT_STORAGE,
    n_trials: Annotated[
        int, typer.Option(help="Finished trials that the study is to have in all, earlier sessions included.")
    ] = DEFAULT_TRIALS,
    max_steps: Annotated[
        int | None,
        typer.Option(
            help="A trial's length in optimizer steps of 16 rows (or of effective_batch_size when it is fixed): every "
            "trial sees as many rows, whatever its batch. Default: 8 on the CPU, none on a GPU."
        ),
    ] = None,
    max_samples: Annotated[
        int | None,
        typer.Option(help="Distinct training rows, seen num_train_epochs times. Default: 1000 on a GPU."),
    ] = None,
    val_size: Annotated[
        float | None,
        typer.Option(help="Evaluation rows, or their share when below 1. Default: 200, on the CPU 32."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes split, order, evaluation set, first weights and sampler.")] = 42,
    gpus: Annotated[str, typer.Option(help="Indices like 0,1, or cpu. Default: every GPU, else the CPU.")] = "",
    gpus_per_trial: Annotated[int, typer.Option(help="GPUs that one trial's model is spread over.")] = 1,
    trials_per_gpu: Annotated[
        int | None, typer.Option(help="Trials at once on a device. Default: 1 a GPU, 1 a core on the CPU.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Fix or widen a knob: lora_rank=16, learning_rate=1e-5..1e-2, lora_target=qv,all. Can be repeated.",
            metavar="KNOB=VALUE",
        ),
    ] = None,
    pruner: Annotated[str, typer.Option(help="trend, median or none.")] = "trend",
    early_stopping_patience: Annotated[
        int, typer.Option(help="Evaluations without improvement that end a trial as complete; 0 for never.")
    ] = 5,
    keep_adapters: Annotated[int, typer.Option(help="Adapters to keep: those of the best so many trials.")] = 3,
    dtype: Annotated[str, typer.Option(help="Of the base model's weights: auto, bf16 or fp32.")] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let a hub model run its own code.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Give the study a new name when this one is of something else.")
    ] = False,
    output: OutputOption = DEFAULT_OUTPUT,
) -> None:
    """Run a sweep, or go on with one: the same line again continues it to N_TRIALS."""
    from sweep.commands import run_command

    options = SweepOptions(
        space=space,
        model=model,
        dataset=dataset,
        study=study,
        storage=storage,
        n_trials=n_trials,
        max_steps=max_steps,
        max_samples=max_samples,
        val_size=val_size,
        seed=seed,
        gpus=gpus,
        gpus_per_trial=gpus_per_trial,
        trials_per_gpu=trials_per_gpu,
        assignments=tuple(set_ or ()),
        pruner=pruner,
        early_stopping_patience=early_stopping_patience,
        keep_adapters=keep_adapters,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        force=force,
        output=output,
    )
    raise typer.Exit(run_command(options))


@app.command()
def show(study: StudyArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Show a study's trials from best to worst, why each ended, and what was found."""
    from sweep.commands import show_command

    show_command(study, storage)


@app.command("list")
def list_(storage: StorageOption = DEFAULT_STORAGE) -> None:
    """List the studies of a database."""
    from sweep.commands import list_command

    list_command(storage)


@app.command()
def export(
    study: StudyArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    trial: Annotated[int | None, typer.Option(help="A trial's number. Default: the best one.")] = None,
    to: Annotated[Path | None, typer.Option(help="Folder to write to. Default: exports/STUDY.")] = None,
    output: OutputOption = DEFAULT_OUTPUT,
) -> None:
    """Write the best trial as a LLaMA-Factory training file and a PEFT adapter."""
    from sweep.commands import export_command

    export_command(study, storage, trial, to, output)


@app.command()
def dashboard(
    storage: StorageOption = DEFAULT_STORAGE,
    host: Annotated[str, typer.Option(help="Address to listen on. The dashboard has no login.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    output: OutputOption = DEFAULT_OUTPUT,
) -> None:
    """Serve optuna-dashboard with the studies, their curves, logs and notes."""
    from sweep.commands import dashboard_command

    dashboard_command(storage, host, port, output)


@app.command()
def spaces() -> None:
    """List the shipped search spaces."""
    from sweep.commands import spaces_command

    spaces_command()


@app.command("space")
def space_(
    name_or_file: Annotated[str, typer.Argument(help="A shipped space's name, or a YAML file.")],
) -> None:
    """Show what a space tries: its knobs, how many settings, and an example."""
    from sweep.commands import space_command

    space_command(name_or_file)


def main() -> None:
    """Entry point: errors that a user can cause are one or two lines and exit status 2."""
    # Optuna calls heartbeats, metric names and multivariate TPE experimental, at every use.
    warnings.filterwarnings("ignore", message=".* is experimental", module="optuna|sweep")
    try:
        app()
    except (SweepError, SpaceError, TrialsError) as error:
        print(f"sweep: {error}", file=sys.stderr)
        sys.exit(2)
