"""What a trial leaves in its folder, and what of it goes to the dashboard.

A folder holds `trainer_log.jsonl` (LLaMA-Factory's fields), `config.json`, `curve.png`, the adapter in PEFT's
format, and checkpoints while the trial runs.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from sweep.errors import SweepError
from sweep.kept import best_rows, going_on
from sweep.plots import TrainingPoint
from trials.config import TrialConfig
from trials.errors import ConfigError
from trials.folders import ADAPTER, ADAPTER_WRITING, CHECKPOINTS
from trials.protocol import Moved
from trials.report import Report

LOG, CONFIG, CURVE = "trainer_log.jsonl", "config.json", "curve.png"
LARGEST_CONFIG = 2**20  # bytes; ours has a thousand


def check_output(output: Path) -> None:
    """Finds out whether the output folder can be written, without making it when it is not there yet.

    Raises:
        SweepError: It cannot.
    """
    try:
        folder = next(parent for parent in (output.absolute(), *output.absolute().parents) if parent.exists())
        probe = folder / f".{uuid4().hex}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SweepError(f"--output {output} cannot be made or written: {error.strerror or error}") from error


def study_folder(output: Path, study_name: str) -> Path:
    """A study's folder. A name that is no plain file name gets a safe one with a hash of its own."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", study_name).strip(".-")[:80]
    if safe != study_name or not safe:
        digest = sha256(study_name.encode(errors="surrogatepass")).hexdigest()
        safe = f"{safe or 'study'}-{digest[:8]}"
    return output / safe


def trial_folder(output: Path, study_name: str, number: int) -> Path:
    """A trial's folder."""
    return study_folder(output, study_name) / "trials" / f"{number:05d}"


class TrainerLog:
    """A trial's `trainer_log.jsonl`: a line a step, and one an evaluation, in LLaMA-Factory's words."""

    def __init__(self, folder: Path, reports: Sequence[Report], next_step: int) -> None:
        """Opens the log for writing from `next_step` on.

        Args:
            folder: The trial's folder.
            reports: The evaluations before that step.
            next_step: The first step that is still to be written; an earlier session's lines from there on,
                which its checkpoint did not hold, are dropped.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / LOG
        steps = [line for line in _lines(self._path) if "loss" in line and line["current_steps"] < next_step]
        evaluations = [_report_line(report) for report in reports]
        lines = sorted(steps + evaluations, key=lambda line: (line["current_steps"], "eval_loss" in line))
        with self._path.open("w", encoding="utf8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def add_step(self, moved: Moved, seconds: float) -> None:
        """Writes an optimizer step. `seconds` is the time that the trial has taken so far."""
        losses = {"loss": moved.train_loss, "lr": moved.learning_rate}
        self._append(_line(moved.step, moved.total_steps, moved.epoch, seconds, losses))

    def add_report(self, report: Report) -> None:
        """Writes an evaluation."""
        self._append(_report_line(report))

    def _append(self, line: Mapping[str, Any]) -> None:
        with self._path.open("a", encoding="utf8") as file:
            file.write(json.dumps(line) + "\n")


def _report_line(report: Report) -> dict[str, Any]:
    losses = {"eval_loss": report.eval_loss}
    return _line(report.step, report.total_steps, report.epoch, report.seconds, losses)


def _line(step: int, total: int, epoch: float, seconds: float, losses: Mapping[str, float]) -> dict[str, Any]:
    return {
        "current_steps": step,
        "total_steps": total,
        **losses,
        "epoch": round(epoch, 4),
        "percentage": round(100 * step / total, 2),
        "elapsed_time": clock(seconds),
        "remaining_time": clock(seconds / max(1, step) * (total - step)),
    }


def logged_steps(folder: Path) -> list[TrainingPoint]:
    """The optimizer steps in a trial's log, oldest first."""
    lines = [line for line in _lines(folder / LOG) if "loss" in line]
    return [TrainingPoint(line["current_steps"], line["loss"], line["lr"]) for line in lines]


def write_config(folder: Path, config: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Writes a trial's final settings: every training field, and what the space gave."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"config": config, "params": params}, indent=2) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf8")


def read_config(folder: Path) -> TrialConfig | None:
    """The settings that `write_config` wrote; None where there are none, or those of another program."""
    file = folder / CONFIG
    try:
        if not file.is_file() or file.stat().st_size > LARGEST_CONFIG:
            return None
        return TrialConfig.from_dict(json.loads(file.read_text(encoding="utf8"))["config"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ConfigError):
        return None


def delete_adapter(folder: Path) -> None:
    """Deletes a trial's adapter, if it has one."""
    for name in (ADAPTER, ADAPTER_WRITING):
        shutil.rmtree(folder / name, ignore_errors=True)


def delete_losing_adapters(rows: Sequence[Mapping[str, Any]], output: Path, keep: int) -> None:
    """Deletes the adapters of all ended trials but the best `keep` complete ones.

    Args:
        rows: Of `sweep_trials`.
        output: The folder of all studies.
        keep: So many.
    """
    kept = {row["folder"] for row in (*best_rows(rows, keep), *going_on(rows))}
    for row in rows:
        if row["folder"] not in kept:
            delete_adapter(output / row["folder"])


def delete_checkpoints(folder: Path) -> None:
    """Deletes a trial's checkpoints, which a trial that has ended needs no more."""
    for name in CHECKPOINTS:
        shutil.rmtree(folder / name, ignore_errors=True)


def clock(seconds: float) -> str:
    """Seconds as LLaMA-Factory writes them: "0:08:23"."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}"


def _lines(path: Path) -> list[dict[str, Any]]:
    """The log's whole lines; a last one that a kill cut off is dropped."""
    lines = []
    if path.exists():
        for text in path.read_text(encoding="utf8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue
    return lines
