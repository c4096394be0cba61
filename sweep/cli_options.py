"""The commands' options, with the help that a user reads; those of `sweep run` are variables of `make sweep`."""

from pathlib import Path
from typing import Annotated

import typer

Space = Annotated[str, typer.Option("--space", help="A shipped space (`sweep spaces`) or a YAML file.")]
Model = Annotated[
    str, typer.Option("--model", help="Folder or hub name. Default: SmolLM2-135M-Instruct, from a package.")
]
FromStudy = Annotated[
    str,
    typer.Option(
        "--from-study",
        help="Second stage: start from that study's best trial, its adapter merged into its model.",
        metavar="STUDY",
    ),
]
Dataset = Annotated[
    str,
    typer.Option(
        "--dataset",
        help="A json, jsonl, csv or parquet file, a folder of them, or a hub name; alpaca, sharegpt, messages or "
        "plain text. Default: chitchat for stage sft, pydoc for stage pt.",
    ),
]
Study = Annotated[str, typer.Option("--study", help="The study's name. Default: the space's.")]
Storage = Annotated[
    str,
    typer.Option(
        "--storage",
        help="SQLite file or database URL that holds the study. A URL with a password is safer in the environment, and "
        "the password itself in ~/.pgpass: other users can read a command line.",
        metavar="FILE_OR_URL",
        envvar="STORAGE",
    ),
]
Trials = Annotated[
    int | None,
    typer.Option(
        "--n-trials",
        help="Finished trials that the study is to have in all, earlier sessions included. Default: 12, or all of a "
        "factorial design's.",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--max-steps",
        help="A trial's length in optimizer steps of 16 rows (or of effective_batch_size when it is fixed): every "
        "trial sees as many rows, whatever its batch. Default: 8 on the CPU, none on a GPU.",
    ),
]
Samples = Annotated[
    int | None,
    typer.Option("--max-samples", help="Distinct training rows, seen num_train_epochs times. Default: 1000 on a GPU."),
]
ValSize = Annotated[
    float | None,
    typer.Option("--val-size", help="Evaluation rows, or their share when below 1. Default: 200, on the CPU 32."),
]
Seed = Annotated[int, typer.Option("--seed", help="Fixes split, order, evaluation set, first weights and sampler.")]
Gpus = Annotated[str, typer.Option("--gpus", help="Indices like 0,1, or cpu. Default: every GPU, else the CPU.")]
GpusPerTrial = Annotated[int, typer.Option("--gpus-per-trial", help="GPUs that one trial's model is spread over.")]
TrialsPerGpu = Annotated[
    str,
    typer.Option(
        "--trials-per-gpu",
        help="Trials that a device trains at once, on one base model. auto: as many as keep a GPU busy, measured; 1 a "
        "core on the CPU.",
        metavar="auto|N",
    ),
]
RowsAtOnce = Annotated[
    int | None,
    typer.Option(
        "--per-device-train-batch-size",
        help="Rows in one forward pass at most; the rest of effective_batch_size is accumulated. Default: by the "
        "device's memory (guide 3.3).",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Fix or widen a knob: lora_rank=16, learning_rate=1e-5..1e-2, lora_target=qv,all. Can be repeated.",
        metavar="KNOB=VALUE",
    ),
]
ScaleLr = Annotated[
    str,
    typer.Option(
        "--scale-lr",
        help="Move learning rates by the model's width, (4096 / hidden size)^0.78. auto: those of shipped spaces, for "
        "models below a billion parameters. on: any model's, and those of your own file. off: never.",
        metavar="auto|on|off",
    ),
]
Expand = Annotated[
    bool,
    typer.Option(
        "--expand",
        help="Grow a range, within its limits, when the best trials crowd its edge; also when a study goes on.",
    ),
]
Advisor = Annotated[
    bool,
    typer.Option(
        "--advisor/--no-advisor",
        help="Try what the guide would change about a trial whose curve is sick, in one trial of three at most. Not in "
        "a factorial design.",
    ),
]
Pruner = Annotated[
    str,
    typer.Option(
        "--pruner",
        help="promote parks trials that do not lead and goes on with the best; trend stops those that are heading "
        "clearly behind; median; none. Default: promote, in a factorial design none.",
    ),
]
Audit = Annotated[
    float,
    typer.Option(
        "--audit",
        help="Share of the trials to be pruned that run on all the same, to see what pruning would have cost: 0.05.",
    ),
]
Design = Annotated[
    str,
    typer.Option(
        "--design",
        help="tpe searches; factorial runs every combination of the knobs named by --over, at shared seeds.",
    ),
]
Over = Annotated[
    str,
    typer.Option(
        "--over",
        help="Knobs of a factorial design, the one to compare first; the others are held at the space's starting "
        "point. Default: all that the space searches.",
        metavar="KNOB,KNOB",
    ),
]
Levels = Annotated[int, typer.Option("--levels", help="Values of a range in a factorial design, from end to end.")]
Seeds = Annotated[int, typer.Option("--seeds", help="Seeds at which a factorial design, or a leader, is run.")]
Patience = Annotated[
    int,
    typer.Option(
        "--early-stopping-patience",
        help="Evaluations without improvement that end a trial as complete; 0 for never.",
    ),
]
KeepAdapters = Annotated[
    int, typer.Option("--keep-adapters", help="Adapters to keep: those of the best so many trials.")
]
Dtype = Annotated[str, typer.Option("--dtype", help="Of the base model's weights: auto, bf16 or fp32.")]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Let a hub model run its own code.")]
Force = Annotated[bool, typer.Option("--force", help="Give the study a new name when this one is of something else.")]
Output = Annotated[Path, typer.Option("--output", help="Folder of logs, pictures and adapters.")]
Artifacts = Annotated[
    str,
    typer.Option(
        "--artifacts",
        help="Where pictures, checkpoints and best adapters go for other machines: a shared folder, "
        "s3://bucket/prefix, or another address of fsspec's. Default: artifacts/ in --output.",
        metavar="FOLDER_OR_URL",
        envvar="LORA_SWEEP_ARTIFACTS",
    ),
]
Launcher = Annotated[
    str,
    typer.Option(
        "--launcher",
        help="What starts the workers: local, on this machine; ray, on a Ray cluster; slurm, as jobs.",
        metavar="local|ray|slurm",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", help="Workers that ray or slurm keeps. Default: as many as the Ray cluster has room for."
    ),
]
LauncherOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--launcher-option",
        help="ray: cpus. slurm: partition, time, cpus, mem, account, qos, constraint, notice, host, cluster. Can be "
        "repeated.",
        metavar="NAME=VALUE",
    ),
]

# Those of `sweep import`.
Value = Annotated[
    str,
    typer.Option(
        "--value", help="Column that holds the loss. Default: the one of eval_loss, test_nll, loss.", metavar="COLUMN"
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", help="Rows to take: model=NAME. Can be repeated.", metavar="COLUMN=VALUE"),
]
ExtraKnob = Annotated[
    list[str] | None,
    typer.Option(
        "--knob", help="A column that is a knob though its name is not a setting's. Can be repeated.", metavar="COLUMN"
    ),
]

# Those of `sweep compare`.
By = Annotated[
    str,
    typer.Option(
        "--by",
        help="What to compare: ratio, lora_target, any knob, or two like lora_rank,ratio.",
        metavar="KNOB[,KNOB]",
    ),
]
Reference = Annotated[
    str, typer.Option("--reference", help="The level to compare with. Default: the most frequent.", metavar="LEVEL")
]
At = Annotated[
    list[str] | None,
    typer.Option("--at", help="Trials to look at: learning_rate=1e-3. Can be repeated.", metavar="KNOB=VALUE"),
]

# Those of `sweep plan`.
DataFiles = Annotated[
    list[str] | None,
    typer.Argument(
        help="Files or folders whose rows are counted: plain text is domain data, chats are instructions.",
        metavar="[DATA]...",
    ),
]
DomainRows = Annotated[
    str, typer.Option("--domain", help="Rows of domain text, when they are not to be counted.", metavar="ROWS")
]
InstructionRows = Annotated[
    str, typer.Option("--instructions", help="Rows of instructions, when they are not to be counted.", metavar="ROWS")
]
DomainDataset = Annotated[
    str, typer.Option("--domain-dataset", help="What the commands call the domain data.", metavar="DATASET")
]
InstructionDataset = Annotated[
    str, typer.Option("--instruction-dataset", help="What the commands call the instructions.", metavar="DATASET")
]
