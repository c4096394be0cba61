"""Logs as trainers write them, made small: LLaMA-Factory's lines and transformers' state."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from trials.logged import EvaluationPoint, LoggedCurve, TrainingPoint

Record = dict[str, Any]


def line(step: int, loss: float | None = None, total: int = 300, /, **more: Any) -> Record:
    """One record of a trainer_log.jsonl."""
    record: Record = {"current_steps": step, "total_steps": total}
    if loss is not None:
        record |= {"loss": loss, "lr": 1e-4}
    return record | {"epoch": round(3 * step / total, 2), "percentage": round(100 * step / total, 2)} | more


def lines(path: Path, records: Iterable[Mapping[str, Any]], ending: str = "\n") -> Path:
    """Writes a trainer_log.jsonl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(json.dumps(record) + ending for record in records).encode())
    return path


def state(path: Path, history: Iterable[Mapping[str, Any]], **head: Any) -> Path:
    """Writes a trainer_state.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"best_metric": None, "log_history": list(history), "max_steps": 300, **head}, indent=2))
    return path


def falling(step: int) -> float:
    """A healthy loss."""
    return float(round(1.0 + 1.2 * 0.97 ** (step / 3), 4))


def healthy(total: int = 300, every: int = 10) -> list[Record]:
    """The records of a healthy run."""
    return [line(step, falling(step), total) for step in range(every, total + 1, every)]


def curve(
    loss: Callable[[float], float],
    points: int = 60,
    evaluation: Callable[[float], float] | None = None,
    evaluations: int = 10,
    noise: float = 0.003,
    every: int = 10,
    epochs: float = 3.0,
    rate: float | None = 1e-4,
    total: int | None = None,
) -> LoggedCurve:
    """A curve of functions of the run's share, with a little alternating noise that nothing remembers."""
    signs = [((7 * i * i + 3 * i) % 11 - 5) / 3.3 for i in range(points)]
    training = tuple(
        TrainingPoint(
            every * (i + 1), epochs * (i + 1) / points, loss((i + 1) / points) * (1 + noise * signs[i]), rate, 1.0
        )
        for i in range(points)
    )
    places = [round(points * (i + 1) / evaluations) for i in range(evaluations)] if evaluation else []
    points_of_it = tuple(EvaluationPoint(every * p, None, evaluation(p / points)) for p in places) if evaluation else ()
    return LoggedCurve(training, {"": points_of_it} if points_of_it else {}, total or every * points)
