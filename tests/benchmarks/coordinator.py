"""What a sweep costs beside training: CPU of the coordinator a report, start of a warm trial, memory of the worker.

`make bench-coordinator`. Prints a table; asserts nothing. The coordinator is measured with a tiny model, whose
training is nearly free, so that what is left is ours; the start of a trial with the default model.
"""

import resource
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import optuna
import psutil
from rich.console import Console

from sweep.devices import Slot
from sweep.launchers.local import LocalLauncher
from sweep.options import SweepOptions
from sweep.results import Results
from sweep.storage import open_storage
from sweep.sweeper import run_sweep
from tests.benchmarks.setups import DEFAULT, tiny_setup
from tests.tiny import make_tiny_chats, make_tiny_model
from trials.config import TrialConfig
from trials.protocol import Moved
from trials.schedule import report_steps


def coordinator_cost(folder: Path, trials: int, slots: int) -> tuple[int, float]:
    """Runs a sweep of the tiny model in this process; reports made, and CPU seconds of this process."""
    storage = str(folder / f"sweep-{slots}.db")
    options = SweepOptions(
        space="sft_lora",
        model=str(folder / "model"),
        dataset=str(folder / "chats.jsonl"),
        storage=storage,
        n_trials=trials,
        val_size=8,
        gpus="cpu",
        trials_per_gpu=str(slots),
        dtype="fp32",
        pruner="none",
        output=folder / f"runs-{slots}",
    )
    started = time.process_time()
    with (folder / "progress.txt").open("w", encoding="utf8") as file:
        run_sweep(options, Console(file=file))
    seconds = time.process_time() - started
    results = Results(open_storage(storage, create=False).engine, "sft_lora")
    rows = results.trials()
    reports = sum(len(results.curve(row["trial_number"]).reports) for row in rows)
    # A trial of fewer steps than evaluations has one a step; one that stopped early says so.
    due = sum(len(report_steps(row["total_steps"], row["config"]["evaluations"])) for row in rows)
    complete = sum(row["state"] == "complete" for row in rows)
    early = sum(bool(row["reason"]) for row in rows)
    print(f"{slots} slots: {complete} of {trials} trials complete ({early} early), {reports} of {due} reports stored")
    return reports, seconds


def warm_starts(folder: Path, trials: int) -> tuple[float, list[float]]:
    """Seconds until a cold worker is ready, and from asking to training of each warm trial after it.

    From asking to the first step's end, less the time of the second step, which has as many rows.
    """
    config = TrialConfig(
        lora_target=("q_proj", "v_proj"),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        max_rows=3,
        evaluations=1,
        cutoff_len=128,
    )
    started = time.monotonic()
    launcher = LocalLauncher(DEFAULT, [Slot((), 1)])
    starts = []
    try:
        launcher.ready()
        cold = time.monotonic() - started
        for number in range(trials):
            moments: list[float] = []

            def note(moved: Moved, moments: list[float] = moments) -> None:
                moments.append(time.monotonic())

            asked = time.monotonic()
            for _ in launcher.start(config, folder / f"warm-{number}", note):
                pass
            starts.append((moments[0] - asked) - (moments[1] - moments[0]))
    finally:
        launcher.close()
    return cold, starts


def worker_memory(folder: Path, trials: int) -> list[int]:
    """Resident memory of one worker after each of many trials of the tiny model, in bytes."""
    launcher = LocalLauncher(tiny_setup(folder), [Slot((), 1)])
    memory = []
    try:
        launcher.ready()
        process = psutil.Process(launcher.pids[0])
        for number in range(trials):
            config = TrialConfig(
                lora_rank=(8, 16, 32)[number % 3], max_rows=64, gradient_accumulation_steps=8, evaluations=4
            )
            for _ in launcher.start(config, folder / f"memory-{number}", lambda moved: None):
                pass
            memory.append(process.memory_info().rss)
    finally:
        launcher.close()
    return memory


def main() -> None:
    """Runs all and prints the figures."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # as the command does
    warnings.filterwarnings("ignore", message=".* is experimental")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_tiny_model(folder / "model")
        make_tiny_chats(folder / "chats.jsonl")
        cold, starts = warm_starts(folder, 20)
        print(f"default model: cold worker ready after {cold:.1f} s; warm trial starts to train after")
        print(f"  median {statistics.median(starts):.2f} s, most {max(starts):.2f} s of {len(starts)}")
        memory = [used / 2**20 for used in worker_memory(folder, 50)]
        print(f"worker's memory: {memory[4]:.0f} MiB after 5 trials, {memory[-1]:.0f} MiB after {len(memory)}")
        reports, seconds = coordinator_cost(folder, 20, 2)
        print(f"coordinator, 2 slots: {1000 * seconds / reports:.1f} ms of CPU a report, all of it included")
        reports, seconds = coordinator_cost(folder, 200, 8)
        print(f"coordinator, 8 slots: {1000 * seconds / reports:.1f} ms of CPU a report, all of it included")
        print(f"coordinator's peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
