"""How much time a sweep takes beside a plain training loop, and what users would take instead: `make bench`.

Sixteen trials, four ranks by four learning rates, on the same tokens in the same order with as many evaluations,
one trial at a time in one thread, in turns. Each contestant is held to one core with all its processes, so that what
leads the trials is paid for in time as it is in CPU seconds; `CORES=2` gives it a core of its own. `floor` is a plain
PyTorch and PEFT loop in one process; the others are what is named, all with that loop but for Trainer and ours. Asserts
nothing.

    make bench [PART=tiny|default] [REPEATS=3] [ROWS=chats|blocks] [PRUNING=off|on|both] [CORES=1]
"""

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks.bench_table import FLOOR, Measured, agreement, digest, median, table
from tests.benchmarks.peers import ours
from tests.benchmarks.peers.work import Work
from trials.default_model import default_model
from trials.paths import cache_dir

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv-peers" / "bin" / "python"
# What a contestant is, and the package without which it is not there.
CONTESTANTS = {
    FLOOR: ("floor", "peft"),
    "ours": ("ours", "sweep"),
    "Optuna, a process a trial": ("optuna_process", "optuna"),
    "Trainer.hyperparameter_search": ("trainer_search", "optuna"),
    "Ray Tune, reuse_actors": ("ray_tune", "ray"),
    "Syne Tune, local backend": ("syne", "syne_tune"),
}


def measure(module: str, work: Work, folder: Path) -> Measured:
    """Runs a contestant, on the cores that this process is held to.

    Raises:
        RuntimeError: It failed; with the end of what it said.
    """
    work = dataclasses.replace(work, log=str(folder / "log.jsonl"))
    work.write(folder / "work.json")
    Path(work.log).touch()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    before, began = cpu_of_children(), time.time()
    with (folder / "said.txt").open("w", encoding="utf8") as said:
        ended = subprocess.run(
            [interpreter(module), "-m", f"tests.benchmarks.peers.{module}", str(folder / "work.json")],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            check=False,
        )
    wall = time.time() - began
    cpu = cpu_of_children() - before
    if ended.returncode:
        text = (folder / "said.txt").read_text(encoding="utf8", errors="replace")
        raise RuntimeError(f"exit status {ended.returncode}\n{text[-2000:]}")
    events = [json.loads(line) for line in Path(work.log).read_text(encoding="utf8").splitlines()]
    try:
        return digest(events, began, wall, cpu)
    except ValueError as error:
        raise RuntimeError(str(error)) from error


def interpreter(module: str) -> str:
    """The Python that a contestant runs with."""
    return sys.executable if module in ("floor", "ours") or not PEERS.exists() else str(PEERS)


def cpu_of_children() -> float:
    """CPU seconds, user and system, of all children that have ended, and of theirs."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def hold_to(cores: int) -> None:
    """Holds this process and all that it starts to so many cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])


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
        evaluation_rows=4,
        steps=2,
        evaluations=2,
        batch=4,
        rates=(2e-4, 5e-4, 1e-3, 2e-3),
        **common,  # type: ignore[arg-type]
    )


def installed(package: str, module: str) -> bool:
    """Whether a contestant can run."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return (
        subprocess.run([interpreter(module), "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode == 0
    )


def in_turns(chosen: Mapping[str, str], work: Work, folder: Path, repeats: int) -> dict[str, list[Measured]]:
    """Runs everyone once, then once more; a contestant that fails has no run.

    Args:
        chosen: The contestants' modules by their names.
        work: What all of them do.
        folder: For their files.
        repeats: How often.
    """
    runs: dict[str, list[Measured]] = {name: [] for name in chosen}
    for _ in range(repeats):
        for name, module in chosen.items():
            try:
                runs[name].append(measure(module, work, Path(tempfile.mkdtemp(prefix=f"{module}-", dir=folder))))
            except RuntimeError as error:
                print(f"  {name} failed: {error}", file=sys.stderr, flush=True)
            else:
                last, load = runs[name][-1], os.getloadavg()[0]
                print(
                    f"  {name}: {last.wall:.1f} s, {last.cpu:.1f} CPU s, load {load:.1f}", file=sys.stderr, flush=True
                )
    return runs


def overhead(runs: Mapping[str, Sequence[Measured]]) -> list[str]:
    """What our own program adds to the floor."""
    ours_, floor = runs.get("ours", []), runs[FLOOR]
    if not ours_:
        return []
    added = [
        f"{words} {100 * (median(ours_, field) / median(floor, field) - 1):+.1f} %"
        for words, field in (
            ("all of it", "wall"),
            ("from the first step to the last evaluation", "span"),
            ("CPU", "cpu"),
        )
    ]
    shares = [run.coordinator / run.cpu for run in ours_ if run.coordinator is not None]
    share = f" Our coordinator took {100 * statistics.median(shares):.1f} % of our CPU time." if shares else ""
    return [f"\nOurs beside the floor: {', '.join(added)}.{share}"]


def main(given: Sequence[str] | None = None) -> None:
    """Runs everyone in turns and prints a table for each state of pruning."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("tiny", "default"), default="tiny")
    parser.add_argument("--rows", choices=("chats", "blocks"), default="chats")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--pruning", choices=("off", "on", "both"), default="both")
    parser.add_argument("--cores", type=int, default=1)
    asked = parser.parse_args(given)
    chosen = {name: CONTESTANTS[name] for name in dict.fromkeys([FLOOR, *asked.only])}
    absent = [name for name, (module, package) in chosen.items() if not installed(package, module)]
    modules = {name: module for name, (module, _) in chosen.items() if name not in absent}
    hold_to(asked.cores)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for prunes in {"off": [False], "on": [True], "both": [False, True]}[asked.pruning]:
            work = works(asked.part, asked.rows, folder, prunes)
            runs = in_turns(modules, work, folder, asked.repeats)
            if not runs[FLOOR]:
                sys.exit("The floor failed: there is nothing to compare with.")
            pruning = "each with its own pruning (the floor has none)" if prunes else "no pruning"
            cores = "one core" if asked.cores == 1 else f"{asked.cores} cores"
            print(f"\n{asked.part} model, {asked.rows}, 16 trials of {work.steps} steps, {pruning}, {cores}\n")
            print("\n".join([*table(runs, absent, work.batch), *overhead(runs)]))
            if not prunes:
                print(agreement(runs))
    print("\n" + "\n".join(ours.start_up()))


if __name__ == "__main__":
    main()
