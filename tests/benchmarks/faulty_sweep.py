"""A sweep that faults are done to, and what is seen of it from outside: its database and the list of processes."""

import json
import os
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.injection import make_injectable

# The variable by which a sweep's processes are known, also those that have lost their parent.
MARK = "SWEEP_UNDER_FAULTS"
# Seconds in which whatever should happen has happened, on a slow machine too.
PATIENCE = 240.0
# Seconds in which a dead coordinator's workers have ended.
GONE = 20.0
# How far a loss may be from an uninterrupted run's: rounding, as rows may be split and packed otherwise (fp32).
NEAR = 2e-4
# Exit statuses of a sweep that finished, was stopped, or was killed; any other one is an error.
ENDINGS = (0, 130, -9, -15)

Curve = list[tuple[float, float]]
Cell = tuple[Any, ...]


@dataclass
class Counts:
    """What faults did.

    Attributes:
        done: Faults.
        lost: Finished trials that are not there any more, or are missing in the total.
        duplicated: Trials that finished beyond the total, or settings that finished twice.
        orphaned: Processes that outlived their coordinator.
        corrupt: Databases that fail their check, trials whose rows contradict each other, and curves that are not those
            of an uninterrupted run.
        errors: Tracebacks, and exit statuses that no ending has.
        told: What was wrong, in words.
    """

    done: int = 0
    lost: int = 0
    duplicated: int = 0
    orphaned: int = 0
    corrupt: int = 0
    errors: int = 0
    told: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong."""
        return not (self.lost or self.duplicated or self.orphaned or self.corrupt or self.errors)

    def add(self, kind: str, words: str, count: int = 1) -> None:
        """Counts something that is wrong."""
        setattr(self, kind, getattr(self, kind) + count)
        self.told.append(f"{kind}: {words}")


class FaultySweep:
    """One study in a folder of its own, run by one line that is started again whenever it has ended."""

    def __init__(self, tiny: Path, folder: Path, total: int, options: Sequence[str], counts: Counts) -> None:
        """Starts nothing.

        Args:
            tiny: Where the tiny model and data are, and their cache.
            folder: The study's; made.
            total: Finished trials that the study is to have.
            options: Of `sweep run`, beside those for the tiny model.
            counts: What goes wrong is added here.
        """
        folder.mkdir(parents=True)
        self.folder, self.total, self.counts = folder, total, counts
        self.database = folder / "runs" / "sweep.db"
        self.log = folder / "log.txt"
        data = ("--model", str(tiny / "model"), "--dataset", str(tiny / "chats.jsonl"))
        small = ("--space", "sft_lora", "--val-size", "8", "--dtype", "fp32", "--gpus", "cpu", "--pruner", "none")
        self._line = ["run", *data, *small, "--n-trials", str(total), *options]
        self._environment = {
            **os.environ,
            MARK: uuid.uuid4().hex,
            "LORA_SWEEP_CACHE": str(tiny / "cache"),
            "HF_HUB_OFFLINE": "1",
            "PYTHONUNBUFFERED": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        make_injectable(self._environment, folder / "hook")
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: dict[int, tuple[str, float | None]] = {}
        self.sessions = 0

    # --- the coordinator and its workers

    @property
    def coordinator(self) -> psutil.Process:
        """The coordinator's process; of one that has ended as well."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    @property
    def alive(self) -> bool:
        """Whether the coordinator runs."""
        return self._process is not None and self._process.poll() is None

    def workers(self) -> list[psutil.Process]:
        """The worker processes that are there."""
        return [process for process in self._marked() if "trials.worker" in _command(process)]

    def start(self) -> None:
        """Types the line."""
        self.sessions += 1
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sweep", *self._line],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_active(self) -> bool:
        """Waits until a trial of this session runs; False when the session has ended before."""
        deadline = time.monotonic() + PATIENCE
        while self.alive and time.monotonic() < deadline:
            if self._process and self._process.pid in self._owners():
                return True
            time.sleep(0.05)
        if self.alive:
            self.counts.add("errors", f"no trial began in {PATIENCE:.0f} s: {self.tail()}")
            self.coordinator.kill()
        return False

    def wait_ended(self) -> int | None:
        """Waits for the coordinator to end; its exit status, None when it hangs and was killed."""
        assert self._process is not None
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.counts.add("errors", f"did not end in {PATIENCE:.0f} s: {self.tail()}")
            self._process.kill()
            self._process.wait()
            return None

    def wait_gone(self) -> None:
        """Once the coordinator is dead: counts and kills what outlives it."""
        deadline = time.monotonic() + GONE
        while (left := self._marked()) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in left:
            self.counts.add("orphaned", _command(process))
            process.kill()

    def tail(self) -> str:
        """The end of what the sweep printed."""
        return self.log.read_text(encoding="utf8", errors="replace")[-600:]

    def close(self) -> None:
        """Kills what is left."""
        for process in self._marked():
            process.kill()
        if self._process is not None:
            self._process.wait()

    # --- what is seen

    def check(self) -> None:
        """Compares with what was seen before: what had finished has to be there, as it was; nobody lives on alone."""
        if not self.alive and self._process is not None:
            status = self._process.wait()
            if status not in ENDINGS:
                self.counts.add("errors", f"exit status {status}: {self.tail()}")
            self.wait_gone()
        text = self.log.read_text(encoding="utf8", errors="replace") if self.log.exists() else ""
        if "Traceback" in text:
            self.counts.add("errors", text[text.index("Traceback") :][:2000])
            self.log.rename(self.log.with_suffix(f".{self.sessions}.txt"))
            self.log.touch()
        now = self.finished()
        for number, ending in self._seen.items():
            if now.get(number) != ending:
                self.counts.add("lost", f"trial {number} was {ending}, is {now.get(number)}")
        self._seen = now
        if len(now) > self.total:
            self.counts.add("duplicated", f"{len(now)} of {self.total} trials finished", len(now) - self.total)

    def check_end(self, reference: dict[Cell, Curve] | None = None, *, complete: bool = True) -> None:
        """Looks at the whole database, once the study has its total if it is `complete`."""
        self.check()
        now = self.finished()
        if complete and len(now) < self.total:
            self.counts.add("lost", f"{len(now)} of {self.total} trials finished", self.total - len(now))
        for (word,) in self.query("pragma integrity_check"):
            if word != "ok":
                self.counts.add("corrupt", str(word))
        cells = self.cells()
        for cell, times in Counter(cells[number] for number in now if number in cells).items():
            if times > 1:
                self.counts.add("duplicated", f"{cell} finished {times} times", times - 1)
        self._check_rows(now)
        if reference is not None:
            self._check_curves(reference, now)

    def _check_rows(self, now: dict[int, tuple[str, float | None]]) -> None:
        """Our tables against Optuna's."""
        query = "select trial_number, state, value from sweep_trials"
        ours = {number: (state, value) for number, state, value in self.query(query)}
        made = dict(
            self.query(
                "select number, count(*) from trials join trial_intermediate_values using (trial_id) group by number"
            )
        )
        curves = self.curves()
        for number, (state, value) in now.items():
            mine = ours.get(number, ("missing", None))
            if mine[0] != state.lower() or (state == "COMPLETE" and mine[1] != value):
                self.counts.add("corrupt", f"trial {number} is {state} {value}, in our table {mine}")
            if len(curves.get(number, [])) != made.get(number):
                self.counts.add(
                    "corrupt", f"trial {number} has {made.get(number)} reports, in our table another number"
                )

    def _check_curves(self, reference: dict[Cell, Curve], now: dict[int, tuple[str, float | None]]) -> None:
        curves, cells = self.curves(), self.cells()
        for number, (state, _) in now.items():
            if state != "COMPLETE":
                continue  # one that was made to diverge
            mine, other = curves.get(number, []), reference.get(cells[number], [])
            near = [
                abs(a - b) < NEAR for one, two in zip(mine, other, strict=False) for a, b in zip(one, two, strict=True)
            ]
            if len(mine) != len(other) or not all(near):
                self.counts.add("corrupt", f"trial {number} has the curve {mine}, uninterrupted {other}")

    def finished(self) -> dict[int, tuple[str, float | None]]:
        """Optuna's state and value of each trial that counts."""
        rows = self.query(
            "select number, state, value from trials left join trial_values using (trial_id) "
            "where state in ('COMPLETE', 'PRUNED')"
        )
        return {number: (state, value) for number, state, value in rows}

    def cells(self) -> dict[int, Cell]:
        """Each trial's settings."""
        names = ("learning_rate", "lora_rank", "lora_alpha", "effective_batch_size", "seed", "lora_target")
        rows = self.query("select trial_number, config from sweep_trials")
        found = {}
        for number, text in rows:
            config = json.loads(text)
            config["effective_batch_size"] = (
                config["per_device_train_batch_size"] * config["gradient_accumulation_steps"]
            )
            found[number] = tuple(str(config[name]) for name in names)
        return found

    def curves(self) -> dict[int, Curve]:
        """Each trial's (train_loss, eval_loss) at its evaluations."""
        found: dict[int, Curve] = {}
        for number, train, evaluation in self.query(
            "select trial_number, train_loss, eval_loss from sweep_reports order by trial_number, evaluation"
        ):
            found.setdefault(number, []).append((train or 0.0, evaluation or 0.0))
        return found

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of a query; none where the database or its tables are not there yet."""
        if not self.database.exists():
            return []
        try:
            with closing(sqlite3.connect(self.database, timeout=60)) as connection:
                return connection.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise

    def _owners(self) -> set[int]:
        """The processes that running trials name as their owner."""
        rows = self.query(
            "select value_json from trials join trial_user_attributes using (trial_id) "
            "where state = 'RUNNING' and key = 'owner'"
        )
        return {json.loads(text)["pid"] for (text,) in rows}

    def _marked(self) -> list[psutil.Process]:
        """This sweep's living processes, whoever their parent is."""
        found = []
        for process in psutil.process_iter():
            try:
                mine = process.environ().get(MARK) == self._environment[MARK]
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return f"process {process.pid}"
