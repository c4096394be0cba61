"""This program, as a user starts it: `sweep run` on a grid of the work's ranks and learning rates."""

import atexit
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from tests.benchmarks.peers.work import RANKS, SEED, WARMUP, Work, trial_name

SPACE = """
stage: {stage}
fixed:
  lora_target: [q_proj, v_proj]
  lr_scheduler_type: cosine
  warmup_ratio: {warmup}
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
        stage=work.stage,
        cutoff=work.cutoff_len,
        batch=work.batch,
        warmup=WARMUP,
        ranks=list(RANKS),
        rates=list(work.rates),
    )
    (folder / "work.yaml").write_text(text, encoding="utf8")
    command = [
        *["run", "--space", "work.yaml", "--storage", "sweep.db", "--output", "runs"],
        *["--model", work.model, "--dataset", work.dataset, "--max-samples", str(work.rows)],
        *["--val-size", str(work.evaluation_rows), "--seed", str(SEED), "--early-stopping-patience", "0"],
        *["--max-steps", str(work.steps), "--gpus", "cpu", "--trials-per-gpu", "1", "--dtype", "fp32"],
        *["--scale-lr", "off", "--no-advisor", "--per-device-train-batch-size", str(work.batch)],
        *["--design", "factorial", "--seeds", "1", "--pruner", "promote" if work.prunes else "none"],
    ]
    subprocess.run([sys.executable, "-m", "tests.benchmarks.peers.ours", path, *command], check=True)


def sweep(path: str, command: list[str]) -> None:
    """The `sweep` command, with the work's number of evaluations, which the device decides otherwise."""
    from sweep import budget, cli, follow
    from sweep.trial_files import CONFIG, TrainerLog
    from trials.protocol import Moved
    from trials.report import Report

    work = Work.read(path)
    budget.CPU_BUDGET = replace(budget.CPU_BUDGET, evaluations=work.evaluations)

    class TellingLog(TrainerLog):
        """A trial's log that says the same as the other contestants' loops."""

        def __init__(self, folder: Path, reports: Sequence[Report], next_step: int) -> None:
            super().__init__(folder, reports, next_step)
            config = json.loads((folder / CONFIG).read_text(encoding="utf8"))["config"]
            self._name = trial_name(config["lora_rank"], config["learning_rate"])

        def add_step(self, moved: Moved, seconds: float) -> None:
            super().add_step(moved, seconds)
            if moved.step == 1:
                work.say_begun(self._name)

        def add_report(self, report: Report) -> None:
            super().add_report(report)
            work.say_evaluated(self._name, report.step, report.eval_loss)

    atexit.register(lambda: work.say("coordinator", cpu=time.process_time()))
    sys.argv = ["sweep", *command]
    with patch.object(follow, "TrainerLog", TellingLog):
        cli.main()


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
