"""Records whole, unpruned learning curves of many configurations, as `tests/benchmarks/curves/` holds them.

`nice -n 19 python -m tests.benchmarks.record_curves small --first 456 --until 546 --to FOLDER`: goes on with those
configurations that the pool's file there does not have yet, one process on one CPU thread. A curve is a JSON line; its
lists have a value for each evaluation.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.curve_pools import POOLS, TEMPLATE, Pool, config, draw, seeds, write_pairs
from trials.data import DataSpec, PreparedData, prepare_data
from trials.model import BaseModel, linear_modules, load_base, tokenizer_fingerprint
from trials.passing import mean_losses, pass_together
from trials.paths import cache_dir
from trials.run import LoraRun
from trials.schedule import report_steps

# Rows in a forward pass at most.
MICRO = 16
DATA_SEED = 7


class _Recorded(LoraRun):
    """A run that is stepped from outside, and writes no checkpoints."""

    @property
    def rate(self) -> float:
        """The rate that the last step used."""
        return self._rate

    def step_once(self) -> tuple[float, int]:
        """Takes an optimizer step; returns its loss, summed over the label tokens, and their number."""
        step = self.step
        while self.step == step:
            pass_together(self._base, [self])
        return self._step_loss, self._step_labels


def record(
    pool: Pool, index: int, seed: int, base: BaseModel, data: PreparedData, folder: Path, start: float
) -> dict[str, Any]:
    """Trains one run to its end; returns its line. The loss before training is given."""
    knobs = draw(pool, index)
    run = _Recorded(config(pool, knobs, seed, linear_modules(base.model), MICRO), base, data, folder)
    columns: dict[str, list[Any]] = {
        name: [] for name in ("step", "eval_loss", "train_loss", "learning_rate", "train_seconds", "eval_seconds")
    }
    try:
        for step in report_steps(run.total_steps, pool.evaluations):
            started, total, labels = time.process_time(), 0.0, 0
            while run.step < step:
                loss, count = run.step_once()
                total, labels = total + loss, labels + count
            trained = time.process_time()
            eval_loss = run.evaluate()
            evaluated = time.process_time()
            columns["step"].append(step)
            columns["eval_loss"].append(_rounded(eval_loss, 5))
            columns["train_loss"].append(_rounded(total / max(1, labels), 4))
            columns["learning_rate"].append(_rounded(run.rate, 3))
            columns["train_seconds"].append(_rounded(trained - started, 3))
            columns["eval_seconds"].append(_rounded(evaluated - trained, 3))
    finally:
        run.close()
    about = {"pool": pool.name, "index": index, "seed": seed, "knobs": knobs, "rows": pool.rows}
    return {**about, "start_loss": _rounded(start, 5), **columns}


def _rounded(value: float, digits: int) -> float | None:
    """To so many digits; None where a run diverged, as JSON has no such number."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def recorded(path: Path) -> set[tuple[int, int]]:
    """The index and seed of every curve in a file; a last line that a kill left half is cut off."""
    if not path.exists():
        return set()
    text = path.read_text(encoding="utf8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf8")
    lines = [json.loads(line) for line in whole.splitlines()]
    return {(line["index"], line["seed"]) for line in lines}


def record_pool(pool: Pool, indices: Iterable[int], path: Path) -> None:
    """Records what is missing of a pool's configurations."""
    done = recorded(path)
    missing = [(index, seed) for index in indices for seed in seeds(index) if (index, seed) not in done]
    if not missing:
        return
    base = load_base(pool.model(cache_dir()), pool.name, pool.dtype)
    base.tokenizer.chat_template = TEMPLATE
    start = 0.0
    with tempfile.TemporaryDirectory() as temporary, path.open("a", encoding="utf8") as file:
        folder = Path(temporary)
        chats = write_pairs(pool, folder / "chats.jsonl")
        for index, seed in missing:
            rows = pool.training_rows(draw(pool, index))
            spec = DataSpec(str(chats), "sft", pool.cutoff_len, rows, pool.evaluation_rows, DATA_SEED)
            data = prepare_data(spec, base.tokenizer, tokenizer_fingerprint(base.tokenizer), folder)
            start = start or mean_losses(base, data.evaluation, [None])[0]  # of the same rows for all of a pool's runs
            started = time.process_time()
            line = record(pool, index, seed, base, data, folder / "run", start)
            file.write(json.dumps(line) + "\n")
            file.flush()
            _say(line, data, time.process_time() - started)


def _say(line: dict[str, Any], data: PreparedData, seconds: float) -> None:
    knobs, losses = line["knobs"], line["eval_loss"]
    finite = [loss for loss in losses if loss is not None]
    print(
        f"{line['pool']} {line['index']} seed {line['seed']}: rate {knobs['learning_rate']:g}, "
        f"{len(data.train)} rows of {data.facts.mean_tokens:.0f} tokens, {losses[0]} -> {losses[-1]}, "
        f"best {min(finite, default=None)}, {seconds:.1f} CPU s",
        flush=True,
    )


def main() -> None:
    """Records the configurations that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", choices=POOLS)
    parser.add_argument("--first", type=int, default=0, help="index of the first configuration")
    parser.add_argument("--until", type=int, required=True, help="index after the last one")
    parser.add_argument("--to", type=Path, required=True, help="folder of the pool's file")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.to.mkdir(parents=True, exist_ok=True)
    record_pool(POOLS[asked.pool], range(asked.first, asked.until), asked.to / f"{asked.pool}.jsonl")


if __name__ == "__main__":
    main()
