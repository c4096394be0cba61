"""Starts, watches, interrupts and reads sweeps as a user would."""

import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

# Far beyond what any step takes on a slow machine: a limit that only a hang reaches.
PATIENCE_SECONDS = 180


@dataclass
class Driver:
    """One user's folder.

    Attributes:
        tiny: Where the tiny model and data are.
        folder: The working folder of all commands; studies are in `runs/` below it.
        environment: The commands' environment.
    """

    tiny: Path
    folder: Path
    environment: dict[str, str]
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    python: str = sys.executable

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts `sweep ARGUMENTS`."""
        process = subprocess.Popen(
            [self.python, "-m", "sweep", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def run(self, *arguments: str) -> tuple[int, str]:
        """Runs `sweep ARGUMENTS` to its end; exit status and all that it printed."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, output

    def sweep_arguments(self, *more: str) -> list[str]:
        """A sweep of the tiny model on one CPU worker in fp32; later options win."""
        return [
            "run",
            *("--space", "sft_lora", "--model", str(self.tiny / "model"), "--dataset", str(self.tiny / "chats.jsonl")),
            *("--val-size", "8", "--dtype", "fp32", "--gpus", "cpu", "--trials-per-gpu", "1"),
            *more,
        ]

    def wait_for_line(self, process: subprocess.Popen[str], *words: str) -> str:
        """Reads a command's output until a line that has all the words; all that was read."""
        read = ""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            assert process.stdout is not None
            line = process.stdout.readline()
            read += line
            if all(word in line for word in words):
                return read
            if not line:
                break
        raise AssertionError(f"no line with {words} came; what came: {read}")

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Waits for a command; exit status and what it printed since it was last read."""
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, output

    def workers_of(self, process: subprocess.Popen[str]) -> list[psutil.Process]:
        """The worker processes of a running sweep."""
        return [
            child for child in psutil.Process(process.pid).children() if "trials.worker" in " ".join(child.cmdline())
        ]

    def wait_until_gone(self, processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
        """Those of the processes that still live after so many seconds."""
        _, alive = psutil.wait_procs(processes, timeout=seconds)
        return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]

    def query(self, statement: str, database: str = "runs/sweep.db") -> list[tuple[Any, ...]]:
        """Rows of a query on the study's database."""
        connection = sqlite3.connect(self.folder / database)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def curves(self, study: str = "sft_lora") -> dict[int, list[tuple[float, float]]]:
        """Each trial's (train_loss, eval_loss) at its evaluations."""
        rows = self.query(
            "select trial_number, train_loss, eval_loss from sweep_reports "
            f"where study_name = '{study}' order by trial_number, evaluation"
        )
        curves: dict[int, list[tuple[float, float]]] = {}
        for number, train_loss, eval_loss in rows:
            curves.setdefault(number, []).append((train_loss, eval_loss))
        return curves

    def kill_all(self) -> None:
        """Kills what still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
