"""The command line: a command a function, each with its options and one sentence of help.

Imports inside the commands keep `sweep --help` quick.
"""

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from spaces.errors import SpaceError
from sweep import bundle_commands
from sweep import cli_options as options
from sweep.design import DEFAULT_LEVELS, DEFAULT_SEEDS, TPE
from sweep.devices import AUTO
from sweep.errors import EnvironmentFault, SweepError
from sweep.options import CONFIRM_SEEDS, DEFAULT_OUTPUT, DEFAULT_STORAGE, DEFAULT_TOP, SweepOptions
from sweep.progress import printable
from trials.errors import TrialsError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Searches LoRA hyper-parameters: short trials on your GPUs, pruned by the trend of their validation loss, "
    "recorded in a database that optuna-dashboard opens.",
)

bundle_commands.register(app)

StudyArgument = Annotated[str, typer.Argument(help="The study's name; `sweep list` shows them.")]


@app.command()
def run(
    space: options.Space,
    model: options.Model = "",
    from_study: options.FromStudy = "",
    dataset: options.Dataset = "",
    study: options.Study = "",
    storage: options.Storage = DEFAULT_STORAGE,
    n_trials: options.Trials = None,
    max_steps: options.Steps = None,
    max_samples: options.Samples = None,
    val_size: options.ValSize = None,
    seed: options.Seed = 42,
    gpus: options.Gpus = "",
    gpus_per_trial: options.GpusPerTrial = 1,
    trials_per_gpu: options.TrialsPerGpu = AUTO,
    per_device_train_batch_size: options.RowsAtOnce = None,
    set_: options.Set = None,
    scale_lr: options.ScaleLr = "auto",
    expand: options.Expand = False,
    advisor: options.Advisor = True,
    pruner: options.Pruner = "",
    audit: options.Audit = 0.0,
    design: options.Design = TPE,
    over: options.Over = "",
    levels: options.Levels = DEFAULT_LEVELS,
    seeds: options.Seeds = DEFAULT_SEEDS,
    early_stopping_patience: options.Patience = 5,
    keep_adapters: options.KeepAdapters = 3,
    dtype: options.Dtype = "auto",
    trust_remote_code: options.TrustRemoteCode = False,
    force: options.Force = False,
    output: options.Output = DEFAULT_OUTPUT,
    artifacts: options.Artifacts = "",
    launcher: options.Launcher = "local",
    workers: options.Workers = None,
    launcher_option: options.LauncherOptions = None,
) -> None:
    """Run a sweep, or go on with one: the same line again continues it to N_TRIALS."""
    from sweep.commands import run_command

    asked = SweepOptions(
        space=space,
        model=model,
        from_study=from_study,
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
        per_device_train_batch_size=per_device_train_batch_size,
        assignments=tuple(set_ or ()),
        scale_lr=scale_lr,
        expand=expand,
        advisor=advisor,
        pruner=pruner,
        audit=audit,
        design=design,
        over=over,
        levels=levels,
        seeds=seeds,
        early_stopping_patience=early_stopping_patience,
        keep_adapters=keep_adapters,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        force=force,
        output=output,
        artifacts=artifacts,
        launcher=launcher,
        workers=workers,
        launcher_options=tuple(launcher_option or ()),
    )
    raise typer.Exit(run_command(asked))


@app.command()
def show(study: StudyArgument, storage: options.Storage = DEFAULT_STORAGE) -> None:
    """Show a study's trials from best to worst, why each ended, and what was found."""
    from sweep.commands import show_command

    show_command(study, storage)


@app.command("list")
def list_(storage: options.Storage = DEFAULT_STORAGE) -> None:
    """List the studies of a database."""
    from sweep.commands import list_command

    list_command(storage)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV file whose first line names its columns; a line a run.")],
    study: Annotated[str, typer.Option("--study", help="The study's name. Default: the file's, and --where's.")] = "",
    storage: options.Storage = DEFAULT_STORAGE,
    value: options.Value = "",
    where: options.Where = None,
    knob: options.ExtraKnob = None,
) -> None:
    """Make a study of a table of finished runs, to show and compare them."""
    from sweep.commands import import_command

    import_command(file, study, storage, value, where or (), knob or ())


@app.command()
def compare(
    study: StudyArgument,
    by: options.By,
    storage: options.Storage = DEFAULT_STORAGE,
    reference: options.Reference = "",
    at: options.At = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Compare the levels of a knob with the others held fixed: better, worse, or not distinguishable."""
    from sweep.commands import compare_command

    compare_command(study, storage, by, reference, at or (), json)


@app.command()
def confirm(
    study: StudyArgument,
    storage: options.Storage = DEFAULT_STORAGE,
    top: Annotated[int, typer.Option("--top", help="Leaders to run again.")] = DEFAULT_TOP,
    seeds: options.Seeds = CONFIRM_SEEDS,
    name: Annotated[str, typer.Option("--study", help="The confirmation's own name. Default: STUDY-confirm.")] = "",
    max_steps: options.Steps = None,
    max_samples: options.Samples = None,
    gpus: options.Gpus = "",
    gpus_per_trial: options.GpusPerTrial = 1,
    trials_per_gpu: options.TrialsPerGpu = AUTO,
    trust_remote_code: options.TrustRemoteCode = False,
    output: options.Output = DEFAULT_OUTPUT,
    artifacts: options.Artifacts = "",
    launcher: options.Launcher = "local",
    workers: options.Workers = None,
    launcher_option: options.LauncherOptions = None,
) -> None:
    """Run the leaders of a study again at fresh seeds, unpruned: is the winner real?"""
    from sweep.commands import confirm_command

    asked = SweepOptions(
        space="",
        study=name,
        storage=storage,
        max_steps=max_steps,
        max_samples=max_samples,
        gpus=gpus,
        gpus_per_trial=gpus_per_trial,
        trials_per_gpu=trials_per_gpu,
        trust_remote_code=trust_remote_code,
        output=output,
        artifacts=artifacts,
        seeds=seeds,
        launcher=launcher,
        workers=workers,
        launcher_options=tuple(launcher_option or ()),
    )
    raise typer.Exit(confirm_command(study, asked, top))


@app.command()
def diagnose(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="trainer_log.jsonl, trainer_state.json, or folders of them; or a study's name, or one of its trials "
            "like sft_lora/7.",
            metavar="FILE_OR_TRIAL…",
        ),
    ],
    storage: options.Storage = DEFAULT_STORAGE,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    picture: Annotated[bool, typer.Option(help="Draw each curve with the findings marked, beside its log.")] = True,
    to: Annotated[Path | None, typer.Option(help="Folder for the pictures. Default: each beside its log.")] = None,
    output: options.Output = DEFAULT_OUTPUT,
) -> None:
    """Say what the curves of finished or running fine-tunings show, and what to change."""
    from sweep.diagnose_command import diagnose_command

    diagnose_command(files, json, picture, to, storage, output)


@app.command()
def export(
    study: StudyArgument,
    storage: options.Storage = DEFAULT_STORAGE,
    trial: Annotated[int | None, typer.Option(help="A trial's number. Default: the best one.")] = None,
    to: Annotated[Path | None, typer.Option(help="Folder to write to. Default: exports/STUDY.")] = None,
    output: options.Output = DEFAULT_OUTPUT,
    artifacts: options.Artifacts = "",
    form: Annotated[
        str, typer.Option("--format", help="Whose training file: llamafactory, trl or axolotl.")
    ] = "llamafactory",
) -> None:
    """Write the best trial as a training file of the program that you use, and its PEFT adapter."""
    from sweep.commands import export_command

    export_command(study, storage, trial, to, output, form, artifacts)


@app.command()
def report(
    study: StudyArgument,
    storage: options.Storage = DEFAULT_STORAGE,
    form: Annotated[
        str, typer.Option("--format", help="html: one file for any browser; md: for a wiki; png: the plots, a folder.")
    ] = "html",
    to: Annotated[
        Path | None, typer.Option("-o", "--to", help="File, for png a folder. Default: in reports/.", metavar="FILE")
    ] = None,
    output: options.Output = DEFAULT_OUTPUT,
) -> None:
    """Write what a study found, and what it rests on, as one page; also while it runs."""
    from sweep.report_command import report_command

    report_command(study, storage, form, to, output)


@app.command()
def dashboard(
    storage: options.Storage = DEFAULT_STORAGE,
    host: Annotated[str, typer.Option(help="Address to listen on. The dashboard has no login.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    output: options.Output = DEFAULT_OUTPUT,
    artifacts: options.Artifacts = "",
) -> None:
    """Serve optuna-dashboard with the studies, their curves, logs and notes."""
    from sweep.commands import dashboard_command

    dashboard_command(storage, host, port, output, artifacts)


@app.command()
def plan(
    files: options.DataFiles = None,
    domain: options.DomainRows = "",
    instructions: options.InstructionRows = "",
    domain_dataset: options.DomainDataset = "",
    instruction_dataset: options.InstructionDataset = "",
    model: options.Model = "",
) -> None:
    """Say which stages suit the data, pre-training, SFT or both, and print the commands."""
    from sweep.plan_command import plan_command

    plan_command(files or (), domain, instructions, domain_dataset, instruction_dataset, model)


@app.command()
def sanity(
    space: options.Space = "sft_lora",
    model: options.Model = "",
    dataset: options.Dataset = "",
    seed: options.Seed = 42,
    gpus: options.Gpus = "",
    gpus_per_trial: options.GpusPerTrial = 1,
    per_device_train_batch_size: options.RowsAtOnce = None,
    set_: options.Set = None,
    scale_lr: options.ScaleLr = "auto",
    dtype: options.Dtype = "auto",
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Check template, labels and schedule, and that one trial learns a hundred rows by heart."""
    from sweep.sanity_command import sanity_command

    asked = SweepOptions(
        space=space,
        model=model,
        dataset=dataset,
        seed=seed,
        gpus=gpus,
        gpus_per_trial=gpus_per_trial,
        per_device_train_batch_size=per_device_train_batch_size,
        assignments=tuple(set_ or ()),
        scale_lr=scale_lr,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    raise typer.Exit(sanity_command(asked))


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
    """Entry point: errors that a user can cause are one or two lines and exit status 2; faults, exit status 1."""
    # Optuna calls heartbeats, metric names and multivariate TPE experimental, at every use.
    warnings.filterwarnings("ignore", message=".* is experimental", module="optuna|sweep")
    try:
        app()
    except (SweepError, SpaceError, TrialsError) as error:
        print(f"sweep: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
    except EnvironmentFault as fault:
        print(f"sweep: {printable(str(fault))}", file=sys.stderr)
        sys.exit(1)
