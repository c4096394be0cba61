"""How much time a sweep takes beside a plain training loop, and what users would take instead: `make bench`.

Sixteen trials, four ranks by four learning rates, on the same tokens in the same order with as many evaluations,
one trial at a time in one thread, each contestant a process of its own, in turns. `floor` is a plain PyTorch and PEFT
loop in one process; the others are what is named, all with that loop but for Trainer and ours. Asserts nothing.

    make bench [PART=tiny|default] [REPEATS=3] [ROWS=chats|blocks]
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.peers import ours
from tests.benchmarks.peers.work import Work
from trials.default_model import default_model
from trials.paths import cache_dir

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv-peers" / "bin" / "python"
# What a contestant is, and the package without which it is not there.
CONTESTANTS = {
    "floor": ("floor", "peft"),
    "ours": ("ours", "sweep"),
    "Optuna, a process a trial": ("optuna_process", "optuna"),
    "Trainer.hyperparameter_search": ("trainer_search", "optuna"),
    "Ray Tune, reuse_actors": ("ray_tune", "ray"),
    "Syne Tune, local backend": ("syne", "syne_tune"),
}


@dataclass(frozen=True)
class Measured:
    """One contestant's run.

    Attributes:
        wall: Seconds from its start to its end.
        cpu: CPU seconds of it and its children, user and system; Ray's workers are nobody's children.
        first_step: Seconds from its start to its first trial's first step.
        trials: Trials that ended.
        steps: Optimizer steps of all trials.
        best: The lowest evaluation loss that was found; None where it is not told.
        coordinator: CPU seconds of the process that leads the others, where that is told.
    """

    wall: float
    cpu: float
    first_step: float
    trials: int
    steps: int
    best: float | None
    coordinator: float | None


def measure(module: str, work: Work, folder: Path) -> Measured:
    """Runs a contestant on one core.

    Raises:
        RuntimeError: It failed; with the end of what it said.
    """
    work = dataclasses.replace(work, log=str(folder / "log.jsonl"))
    work.write(folder / "work.json")
    Path(work.log).touch()
    interpreter = sys.executable if module in ("floor", "ours") or not PEERS.exists() else str(PEERS)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.time()
    with (folder / "said.txt").open("w", encoding="utf8") as said:
        ended = subprocess.run(
            [interpreter, "-m", f"tests.benchmarks.peers.{module}", str(folder / "work.json")],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            check=False,
        )
    wall = time.time() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise RuntimeError((folder / "said.txt").read_text(encoding="utf8", errors="replace")[-2000:])
    events = [json.loads(line) for line in Path(work.log).read_text(encoding="utf8").splitlines()]
    ends = [event for event in events if event["event"] == "end"]
    losses = [event["loss"] for event in ends if "loss" in event]
    return Measured(
        wall=wall,
        cpu=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        first_step=min(event["time"] for event in events if event["event"] == "begin") - began,
        trials=sum(event["event"] == "begin" for event in events),
        steps=sum(event["steps"] for event in ends),
        best=min(losses) if losses else None,
        coordinator=next((event["cpu"] for event in events if event["event"] == "coordinator"), None),
    )


def works(part: str, rows: str, folder: Path, prunes: bool) -> Work:
    """The work of a part, in this state of pruning."""
    blocks = rows == "blocks"
    common = {"prunes": prunes, "cache": str(cache_dir()), "log": "", "stage": "pt" if blocks else "sft"}
    if part == "tiny":
        from tests.tiny import make_tiny_chats, make_tiny_model

        model, chats = folder / "model", folder / "chats.jsonl"
        if not model.exists():
            make_tiny_model(model)
            make_tiny_chats(chats, rows=300)
        return Work(
            model=str(model),
            folder=str(model),
            dataset="" if blocks else str(chats),
            cutoff_len=64 if blocks else 128,
            rows=200,
            evaluation_rows=32,
            steps=60,
            evaluations=6,
            batch=8,
            rates=(1e-3, 3e-3, 1e-2, 3e-2),
            **common,  # type: ignore[arg-type]
        )
    return Work(
        model="",
        folder=str(default_model(cache_dir())),
        dataset="",
        cutoff_len=128,
        rows=64,
        evaluation_rows=8,
        steps=4,
        evaluations=4,
        batch=8,
        rates=(2e-4, 5e-4, 1e-3, 2e-3),
        **common,  # type: ignore[arg-type]
    )


def installed(package: str, module: str) -> bool:
    """Whether a contestant can run."""
    if module in ("floor", "ours") or not PEERS.exists():
        return importlib.util.find_spec(package) is not None
    return subprocess.run([str(PEERS), "-c", f"import {package}"], capture_output=True, check=False).returncode == 0


def table(work: Work, runs: dict[str, list[Measured]], absent: Sequence[str]) -> list[str]:
    """The medians, in Markdown."""
    floor = statistics.median(run.wall for run in runs["floor"])
    lines = [
        "| | wall s | times the floor | CPU s | first step after s | trials | steps | best |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, measured in runs.items():
        if not measured:
            lines.append(f"| {name} | failed | | | | | | |")
            continue
        wall, cpu, first = (
            statistics.median(getattr(run, field) for run in measured) for field in ("wall", "cpu", "first_step")
        )
        last = measured[-1]
        best = "" if last.best is None else f"{last.best:.3f}"
        spent = "" if name.startswith("Ray") else f"{cpu:.1f}"
        spread = f"{min(run.wall for run in measured):.1f} to {max(run.wall for run in measured):.1f}"
        lines.append(
            f"| {name} | {wall:.1f} ({spread}) | {wall / floor:.2f} | {spent} | {first:.1f} | {last.trials} | "
            f"{last.steps} | {best} |"
        )
    shares = [run.coordinator / run.cpu for run in runs.get("ours", []) if run.coordinator is not None]
    share = [f"\nOur coordinator took {100 * statistics.median(shares):.1f} % of the CPU time."] if shares else []
    return [*lines, *(f"| {name} | not installed | | | | | | |" for name in absent), *share]


def main(given: Sequence[str] | None = None) -> None:
    """Runs everyone in turns and prints a table for each state of pruning."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("tiny", "default"), default="tiny")
    parser.add_argument("--rows", choices=("chats", "blocks"), default="chats")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--pruning", choices=("off", "on", "both"), default="both")
    asked = parser.parse_args(given)
    chosen = {name: CONTESTANTS[name] for name in dict.fromkeys(["floor", *asked.only])}
    absent = [name for name, (module, package) in chosen.items() if not installed(package, module)]
    with tempfile.TemporaryDirectory() as temporary:
        for prunes in {"off": [False], "on": [True], "both": [False, True]}[asked.pruning]:
            work = works(asked.part, asked.rows, Path(temporary), prunes)
            runs: dict[str, list[Measured]] = {name: [] for name in chosen if name not in absent}
            for repeat in range(asked.repeats):
                for name in runs:
                    folder = Path(temporary) / f"{CONTESTANTS[name][0]}-{prunes}-{repeat}"
                    folder.mkdir()
                    try:
                        runs[name].append(measure(CONTESTANTS[name][0], work, folder))
                    except RuntimeError as error:
                        print(f"  {name} failed: {error}", file=sys.stderr, flush=True)
                    else:
                        print(f"  {name}: {runs[name][-1].wall:.1f} s", file=sys.stderr, flush=True)
            pruning = "each with its own pruning (the floor has none)" if prunes else "no pruning"
            print(f"\n{asked.part} model, {asked.rows}, 16 trials of {work.steps} steps, {pruning}\n")
            print("\n".join(table(work, runs, absent)))
    print("\n" + "\n".join(ours.start_up()))


if __name__ == "__main__":
    main()
