"""This program, as a user starts it: `sweep run` on a grid of the work's ranks and learning rates."""

import atexit
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.peers.work import RANKS, SEED, Work

SPACE = """
stage: {stage}
fixed:
  lora_target: [q_proj, v_proj]
  lr_scheduler_type: cosine
  warmup_ratio: 0.0
  num_train_epochs: 1000
  weight_decay: 0.0
  cutoff_len: {cutoff}
  effective_batch_size: {batch}
search:
  lora_rank: {{choice: {ranks}}}
  learning_rate: {{choice: {rates}}}
derived:
  lora_alpha: lora_rank * 2
"""


def main(path: str) -> None:
    """Does the work that a file tells."""
    work = Work.read(path)
    folder = Path(work.log).parent
    text = SPACE.format(
        stage=work.stage, cutoff=work.cutoff_len, batch=work.batch, ranks=list(RANKS), rates=list(work.rates)
    )
    (folder / "work.yaml").write_text(text, encoding="utf8")
    ended = threading.Event()
    watcher = threading.Thread(target=watch, args=(work, folder / "runs", ended))
    watcher.start()
    command = [
        *["run", "--space", "work.yaml", "--storage", "sweep.db", "--output", "runs"],
        *["--model", work.model, "--dataset", work.dataset, "--max-samples", str(work.rows)],
        *["--val-size", str(work.evaluation_rows), "--seed", str(SEED), "--early-stopping-patience", "0"],
        *["--max-steps", str(work.steps), "--gpus", "cpu", "--trials-per-gpu", "1", "--dtype", "fp32"],
        *["--scale-lr", "off", "--no-advisor", "--per-device-train-batch-size", str(work.batch)],
        *["--design", "factorial", "--seeds", "1", "--pruner", "promote" if work.prunes else "none"],
    ]
    try:
        subprocess.run([sys.executable, "-m", "tests.benchmarks.peers.ours", path, *command], check=True)
    finally:
        ended.set()
        watcher.join()
    for line in trials(folder):
        work.say("end", **line)


def sweep(path: str, command: list[str]) -> None:
    """The `sweep` command, with the work's number of evaluations: the device decides it otherwise."""
    from sweep import budget, cli

    budget.CPU_BUDGET = replace(budget.CPU_BUDGET, evaluations=Work.read(path).evaluations)
    atexit.register(lambda: Work.read(path).say("coordinator", cpu=time.process_time()))
    sys.argv = ["sweep", *command]
    cli.main()


def watch(work: Work, runs: Path, ended: threading.Event) -> None:
    """Says when each trial has taken its first step: when its log begins."""
    seen: set[Path] = set()
    while not ended.is_set():
        for log in set(runs.glob("*/trials/*/trainer_log.jsonl")) - seen:
            seen.add(log)
            work.say("begin")
        time.sleep(0.02)


def trials(folder: Path) -> list[dict[str, float]]:
    """Best loss and steps of every trial, out of the study."""
    import optuna

    from sweep.results import Results
    from sweep.storage import open_storage

    storage = open_storage(str(folder / "sweep.db"), create=False)
    (name,) = optuna.study.get_all_study_names(storage)
    results = Results(storage.engine, name)
    curves = [results.curve(row["trial_number"]) for row in results.trials()]
    return [
        {"loss": curve.best.eval_loss, "steps": curve.reports[-1].step} for curve in curves if curve.best is not None
    ]


def start_up(repeats: int = 5) -> list[str]:
    """Seconds of `sweep --help`, the least of several."""
    seconds = []
    for _ in range(repeats):
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "sweep", "--help"], check=True, capture_output=True, env=dict(os.environ))
        seconds.append(time.monotonic() - began)
    return [f"`sweep --help`: {min(seconds):.2f} s ({json.dumps([round(each, 2) for each in seconds])})"]


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(sys.argv[1])
    else:
        sweep(sys.argv[1], sys.argv[2:])
