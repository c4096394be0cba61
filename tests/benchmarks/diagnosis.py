"""What reading and diagnosing a log costs, and how often the diagnosis is right.

`python -m tests.benchmarks.diagnosis` prints CPU seconds for both forms of log at several lengths, the median of
`REPEATS`, without the imports and the picture; then the confusion matrices of drawn and of recorded curves.
"""

import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import drawn_curves, state_curves
from trials.diagnosis import diagnose
from trials.logs import read_log

POINTS = (5, 1_000, 100_000)
REPEATS = 5
EVALUATED_EVERY = 100  # points
DRAWN, SEED = 300, 2027


def history(points: int) -> Iterator[dict[str, Any]]:
    """What a healthy run logs at each point, with white noise of 5 %; every so often an evaluation too."""
    signs = np.random.default_rng(0).standard_normal(points)
    for point in range(1, points + 1):
        share = point / points
        level = 1.0 + 1.2 * math.exp(-8 * share)
        record = {"epoch": round(3 * share, 4), "step": 10 * point}
        loss = round(level * (1 + 0.05 * float(signs[point - 1])), 4)
        yield record | {"loss": loss, "grad_norm": 1.25, "learning_rate": 1e-4 * (1 - share)}
        if point % EVALUATED_EVERY == 0:
            yield record | {"eval_loss": round(level, 4), "eval_runtime": 4.2, "eval_samples_per_second": 100.0}


def write_state(path: Path, points: int) -> Path:
    """A `trainer_state.json` as transformers writes it."""
    path.write_text(json.dumps({"max_steps": 10 * points, "log_history": list(history(points))}, indent=2))
    return path


def write_lines(path: Path, points: int) -> Path:
    """A `trainer_log.jsonl` as LLaMA-Factory writes it."""
    names = {"step": "current_steps", "learning_rate": "lr"}
    kept = ("loss", "eval_loss", "learning_rate", "epoch", "step")
    with path.open("w", encoding="utf8") as file:
        for record in history(points):
            told = {names.get(name, name): value for name, value in record.items() if name in kept}
            share = round(record["step"] / points * 10, 2)
            told |= {"total_steps": 10 * points, "percentage": share, "elapsed_time": "0:12:34"}
            file.write(json.dumps(told | {"remaining_time": "1:23:45"}) + "\n")
    return path


def seconds(path: Path) -> tuple[float, float]:
    """CPU seconds of reading a log, and of diagnosing its run."""
    started = time.process_time()
    (run,) = read_log(path)
    read = time.process_time()
    diagnose(run)
    return read - started, time.process_time() - read


def main() -> None:
    """Prints the times and both matrices."""
    with tempfile.TemporaryDirectory() as folder:
        for points in POINTS:
            for path in (
                write_lines(Path(folder, "trainer_log.jsonl"), points),
                write_state(Path(folder, "trainer_state.json"), points),
            ):
                times = sorted((seconds(path) for _ in range(REPEATS)), key=sum)
                read, diagnosed = (statistics.median(part) for part in zip(*times, strict=True))
                print(
                    f"{points:>7,} points {path.name:<18} {read + diagnosed:.3f} CPU s "
                    f"(read {read:.3f}, diagnosed {diagnosed:.3f}; least {sum(times[0]):.3f})"
                )
    print(f"\ndrawn curves, {DRAWN} of each class, seed {SEED}")
    drawn_curves.print_matrix(DRAWN, SEED)
    for part in ("seen", "unseen"):
        print(f"\nrecorded curves, {part}")
        state_curves.print_part(part)


if __name__ == "__main__":
    main()
