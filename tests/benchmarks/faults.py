"""The table of faults: each done many times at random moments to real sweeps of a tiny model, seen from outside.

`make bench-faults [TIMES=20] [FAULT=name]`. Prints a row a fault: how often it was done, trials lost, duplicated,
processes orphaned, databases or curves corrupt, errors. Exit status 1 when a figure is not 0.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.fault_kinds import FAULTS, Fault
from tests.benchmarks.faulty_sweep import Cell, Counts, Curve, FaultySweep
from tests.tiny import make_tiny_chats, make_tiny_model

# Trials of a study, all cells of a grid: their settings do not depend on what was interrupted when.
TOTAL = 24
GRID = (
    *("--design", "factorial", "--over", "learning_rate,lora_rank", "--levels", "4", "--seeds", "2"),
    *("--set", "lora_target=qv", "--set", "alpha_ratio=1", "--set", "effective_batch_size=8"),
    *("--max-steps", "30", "--trials-per-gpu", "2"),
)
# Share of the faults that come while a session still loads.
EARLY = 0.2
EARLY_SECONDS, LATE_SECONDS = 5.0, 2.5
HEADING = ("what was done", "times", "sessions", "lost", "duplicated", "orphaned", "corrupt", "errors", "seconds")


def uninterrupted(tiny: Path, folder: Path) -> dict[Cell, Curve]:
    """Each cell's curve when nothing happens to the study."""
    counts = Counts()
    sweep = FaultySweep(tiny, folder, TOTAL, GRID, counts)
    sweep.start()
    sweep.wait_ended()
    sweep.check_end()
    if not counts.clean:
        raise RuntimeError(f"the study that nothing happens to is not whole: {counts.told}")
    cells, curves = sweep.cells(), sweep.curves()
    return {cells[number]: curve for number, curve in curves.items()}


def suffer(
    fault: Fault, times: int, tiny: Path, folder: Path, reference: dict[Cell, Curve], seed: int
) -> tuple[Counts, int]:
    """Does a fault so many times, to one study after another.

    Returns:
        What came of it, and how many sessions it took.
    """
    counts, chance, sessions, studies = Counts(), random.Random(seed), 0, 0
    while counts.done < times:
        sweep = FaultySweep(tiny, folder / str(studies), TOTAL, GRID, counts)
        studies += 1
        try:
            live_through(sweep, fault, times, chance)
            sweep.check_end(reference)
        finally:
            sweep.close()
        sessions += sweep.sessions
    return counts, sessions


def live_through(sweep: FaultySweep, fault: Fault, times: int, chance: random.Random) -> None:
    """Runs a study to its end, with the fault again and again until it was done so many times."""
    while len(sweep.finished()) < sweep.total and sweep.counts.errors < 10:
        sweep.start()
        early = chance.random() < EARLY
        while sweep.alive and sweep.counts.done < times:
            if early:
                time.sleep(chance.uniform(0, EARLY_SECONDS))
            elif sweep.wait_active():
                time.sleep(chance.uniform(0, LATE_SECONDS))
            early = False
            if sweep.alive and len(sweep.finished()) < sweep.total:
                fault(sweep, chance)
                sweep.counts.done += 1
                sweep.check()
        if sweep.alive:
            sweep.wait_ended()
        sweep.check()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--fault", default="", help="only those whose name has this in it")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chosen = {name: fault for name, fault in FAULTS.items() if asked.fault in name}
    if not chosen:
        parser.error(f"no fault is called {asked.fault!r}; there are: {', '.join(FAULTS)}")
    print(row(HEADING), flush=True)
    clean = True
    with tempfile.TemporaryDirectory(prefix="lora-sweep-faults-") as name:
        folder = Path(name)
        make_tiny_model(folder / "tiny" / "model")
        make_tiny_chats(folder / "tiny" / "chats.jsonl")
        reference = uninterrupted(folder / "tiny", folder / "uninterrupted")
        for place, (title, fault) in enumerate(chosen.items()):
            began = time.monotonic()
            counts, sessions = suffer(fault, asked.times, folder / "tiny", folder / str(place), reference, asked.seed)
            numbers = (counts.lost, counts.duplicated, counts.orphaned, counts.corrupt, counts.errors)
            print(row((title, counts.done, sessions, *numbers, f"{time.monotonic() - began:.0f}")), flush=True)
            for words in counts.told[:5]:
                print(f"    {words}", flush=True)
            clean &= counts.clean
    sys.exit(0 if clean else 1)


def row(cells: tuple[object, ...]) -> str:
    """A line of the table."""
    return f"{cells[0]!s:<36}" + "".join(f"{cell!s:>11}" for cell in cells[1:])


if __name__ == "__main__":
    main()
