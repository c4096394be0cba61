"""Hundreds of trials with a random fault every few seconds, seen from outside: nothing may be lost, twice, or corrupt.

`make soak [MINUTES=60] [TRIALS=500]`. At the end: the faults that were done, the counts, memory and open files of the
coordinator over its life. A soak that its time ends before its total says how far it came. Exit status 1 when anything
was wrong.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.benchmarks.fault_kinds import FAULTS
from tests.benchmarks.faulty_sweep import Counts, FaultySweep
from tests.tiny import make_tiny_chats, make_tiny_model

# Trials that cost next to nothing, three steps with an evaluation each; all cells of a grid, which are run once each.
OPTIONS = (
    *(
        "--design",
        "factorial",
        "--over",
        "learning_rate,lora_rank",
        "--set",
        "lora_target=qv",
        "--set",
        "alpha_ratio=1",
    ),
    *("--set", "effective_batch_size=8", "--max-steps", "3", "--trials-per-gpu", "2"),
    *("--keep-adapters", "1"),
)
SEEDS, RANKS = 4, 3
# Seconds from one fault to the next, once the session's trials run.
SPARE = (1.0, 8.0)
# A coordinator that lives so long, in seconds, is one whose memory and files can be compared with what they were.
OLD = 30.0
# What a coordinator may grow by at most in the rest of its life: what SQLite and Python keep for later, and no more.
MOST_MEMORY, MOST_FILES = 24.0, 8


@dataclass
class Watch:
    """Memory and open files of coordinators, by their age."""

    first: list[tuple[float, int]] = field(default_factory=list)
    last: list[tuple[float, int]] = field(default_factory=list)
    _process: psutil.Process | None = None
    _began: float = 0.0
    _at_first: tuple[float, int] | None = None
    _newest: tuple[float, int] | None = None

    def look(self, process: psutil.Process) -> None:
        """Takes a sample of a living coordinator."""
        try:
            if self._process != process:
                self.close()
                self._process, self._began = process, time.monotonic()
            sample = (process.memory_info().rss / 2**20, process.num_fds())
        except psutil.Error:
            return
        # What is first needed is there once some trials have run.
        if self._at_first is None and time.monotonic() - self._began > OLD / 3:
            self._at_first = sample
        self._newest = sample

    def close(self) -> None:
        """Keeps what a coordinator had at first and at last, if it lived long enough."""
        if self._at_first and self._newest and time.monotonic() - self._began > OLD:
            self.first.append(self._at_first)
            self.last.append(self._newest)
        self._process = self._at_first = self._newest = None

    @property
    def memory(self) -> list[float]:
        """By how many MiB each coordinator grew."""
        return [last[0] - first[0] for first, last in zip(self.first, self.last, strict=True)]

    @property
    def files(self) -> list[int]:
        """By how many open files each coordinator grew."""
        return [last[1] - first[1] for first, last in zip(self.first, self.last, strict=True)]

    @property
    def flat(self) -> bool:
        """Whether none grew by more than it may."""
        return max(self.memory, default=0) <= MOST_MEMORY and max(self.files, default=0) <= MOST_FILES

    def told(self) -> str:
        """What came of it, in words."""
        if not self.first:
            return f"no coordinator lived for {OLD:.0f} s"
        memory, files = self.memory, self.files
        return (
            f"{len(memory)} coordinators that lived for {OLD:.0f} s and more: memory by {min(memory):+.0f} to "
            f"{max(memory):+.0f} MiB, open files by {min(files):+d} to {max(files):+d}"
        )


def soak(sweep: FaultySweep, chance: random.Random, until: float, calm: float) -> tuple[Counter[str], Watch]:
    """Does faults until the study has its total or the time is over.

    Args:
        sweep: Not yet started.
        chance: Draws faults and pauses.
        until: When it is over, by the monotonic clock.
        calm: Share of sessions in which nothing is done for a while, so that a coordinator grows old.

    Returns:
        How often each fault was done, and what coordinators needed.
    """
    done, watch = Counter[str](), Watch()
    while len(sweep.finished()) < sweep.total and time.monotonic() < until and sweep.counts.errors < 10:
        sweep.start()
        sweep.wait_active()
        rest = time.monotonic() + (2 * OLD if chance.random() < calm else chance.uniform(*SPARE))
        while sweep.alive and time.monotonic() < until:
            watch.look(sweep.coordinator)
            if time.monotonic() < rest:
                time.sleep(0.5)
                continue
            name = chance.choice(list(FAULTS))
            FAULTS[name](sweep, chance)
            done[name] += 1
            sweep.counts.done += 1
            sweep.check()
            rest = time.monotonic() + chance.uniform(*SPARE)
        if not sweep.alive:
            sweep.check()
    watch.close()
    return done, watch


def main() -> None:
    """Soaks, and says what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calm", type=float, default=0.1)
    asked = parser.parse_args()
    began = time.monotonic()
    levels = -(-asked.trials // (SEEDS * RANKS))
    with tempfile.TemporaryDirectory(prefix="lora-sweep-soak-") as name:
        tiny = Path(name) / "tiny"
        make_tiny_model(tiny / "model")
        make_tiny_chats(tiny / "chats.jsonl")
        counts = Counts()
        options = (*OPTIONS, "--levels", str(levels), "--seeds", str(SEEDS))
        sweep = FaultySweep(tiny, Path(name) / "study", asked.trials, options, counts)
        try:
            done, watch = soak(sweep, random.Random(asked.seed), began + 60 * asked.minutes, asked.calm)
            if sweep.alive:
                sweep.coordinator.terminate()
                sweep.wait_ended()
            finished = len(sweep.finished())
            sweep.check_end(complete=finished >= asked.trials)
        finally:
            sweep.close()
    print(f"{finished} of {asked.trials} trials, {counts.done} faults, {sweep.sessions} sessions, ", end="")
    print(f"{(time.monotonic() - began) / 60:.0f} minutes")
    for title, times in done.most_common():
        print(f"  {times:>4}  {title}")
    print(
        f"lost {counts.lost}, duplicated {counts.duplicated}, orphaned {counts.orphaned}, corrupt {counts.corrupt}, "
        f"errors {counts.errors}"
    )
    for words in counts.told[:20]:
        print(f"  {words}")
    print(watch.told())
    sys.exit(0 if counts.clean and watch.flat else 1)


if __name__ == "__main__":
    main()
