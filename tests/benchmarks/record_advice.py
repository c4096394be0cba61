"""Records the runs that `tests.benchmarks.advice` searches among, into `tests/data/advice_runs.jsonl`.

`nice -n 10 python -m tests.benchmarks.record_advice`: fine-tunes the tiny pretrained Llama of `record_states` at every
point of a grid, on one CPU thread, twice: with rows enough, and with few rows seen many times, where strong settings
over-fit. A run is a JSON line: its knobs, the training loss of every step, and step and loss of every evaluation. A run
that is there already is not repeated.
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import torch

from tests.benchmarks.advice_grid import CURVES, TASKS, config, grid
from tests.benchmarks.pretrained import pretrained
from tests.benchmarks.record_states import Plan, record
from trials.model import load_base
from trials.paths import cache_dir


def main() -> None:
    """Records what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=CURVES)
    to: Path = parser.parse_args().to
    torch.set_num_threads(1)
    base = load_base(pretrained(cache_dir() / "state-curves-model"), "tiny pretrained", "fp32")
    to.parent.mkdir(parents=True, exist_ok=True)
    lines = to.read_text(encoding="utf8").splitlines() if to.exists() else []
    there = [(line["task"], line["knobs"]) for line in map(json.loads, lines)]
    with to.open("a", encoding="utf8") as file:
        for task, knobs in grid():
            if (task, knobs) in there:
                continue
            started = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                run = record(Plan("grid", 0, TASKS[task][0], 1, config(task, knobs)), base, Path(folder))
            losses = [loss for _, _, loss, _ in run["training"]]
            line = {"task": task, "knobs": knobs, "training": losses, "evaluation": run["evaluation"]}
            file.write(json.dumps(line) + "\n")
            file.flush()
            best = min((loss for _, loss in run["evaluation"] if math.isfinite(loss)), default=math.nan)
            print(f"{task} {knobs}: {best:.3f}, {time.process_time() - started:.1f} CPU s", flush=True)


if __name__ == "__main__":
    main()
