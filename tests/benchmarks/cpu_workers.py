"""On the CPU: two workers of one thread, or one worker of two? Training tokens a second of either, in turns.

`make bench-cpu-workers`. The default model and data; prints a table, asserts nothing.
"""

import statistics
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from sweep.devices import Slot
from sweep.launchers.local import LocalLauncher
from tests.benchmarks.setups import DEFAULT
from trials.config import TrialConfig

CONFIG = TrialConfig(
    lora_target=("q_proj", "v_proj"),
    per_device_train_batch_size=8,
    gradient_accumulation_steps=1,
    max_rows=16,
    evaluations=1,
    cutoff_len=128,
)


def tokens_a_second(slots: list[Slot], dtype: str, folder: Path) -> float:
    """Trains one trial a slot at once; training tokens of all over the time until the last is done."""
    launcher = LocalLauncher(replace(DEFAULT, dtype=dtype), slots)
    tokens: list[int] = []

    def train(number: int, name: str) -> None:
        for report in launcher.start(CONFIG, folder / f"{name}-{number}", lambda moved: None):
            tokens.append(report.tokens)

    def wave(name: str) -> None:
        threads = [threading.Thread(target=train, args=(number, name)) for number in range(len(slots))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    try:
        wave("warm-up")
        tokens.clear()
        started = time.monotonic()
        wave("measured")
        return sum(tokens) / (time.monotonic() - started)
    finally:
        launcher.close()


def main() -> None:
    """Measures both layouts in turns, three times each."""
    layouts = {"2 workers of 1 thread": [Slot((), 1), Slot((), 1)], "1 worker of 2 threads": [Slot((), 2)]}
    for dtype in ("bf16", "fp32"):
        rates: dict[str, list[float]] = {name: [] for name in layouts}
        for _ in range(3):
            for name, slots in layouts.items():
                with tempfile.TemporaryDirectory() as folder:
                    rates[name].append(tokens_a_second(slots, dtype, Path(folder)))
        for name, measured in rates.items():
            print(f"{dtype}  {name}: {statistics.median(measured):.0f} tokens a second {sorted(map(round, measured))}")


if __name__ == "__main__":
    main()
