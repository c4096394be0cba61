"""Logs that are odd as a whole: none may end in a traceback, and what can be read of them is read right."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trials.logs import Record, falling, healthy, line, lines, state
from trials.diagnosis import diagnose
from trials.finding import Diagnosis
from trials.log_records import NotALog
from trials.logged import LoggedCurve
from trials.logs import find_logs, read_log


def one(path: Path) -> LoggedCurve:
    """The only run of a log."""
    (curve,) = read_log(path)
    return curve


def said(path: Path, records: list[Record]) -> Diagnosis:
    return diagnose(one(lines(path, records)))


def history(until: int) -> Iterator[Record]:
    for step in range(10, until + 1, 10):
        yield {"step": step, "epoch": step / 100, "loss": falling(step), "learning_rate": 1e-4}


def test_a_folder_of_one_runs_checkpoints_is_one_run_as_its_newest_has_it(tmp_path: Path) -> None:
    for step in (900, 1000, 200):
        state(tmp_path / f"checkpoint-{step}" / "trainer_state.json", history(step), max_steps=1000)
    (log,) = find_logs(tmp_path)
    assert one(log).last_step == 1000


def test_marks_of_byte_order_in_either_order(tmp_path: Path) -> None:
    text = "".join(json.dumps(record) + "\n" for record in healthy())
    for place, encoding in enumerate(("utf-8-sig", "utf-16", "utf-16-be")):
        path = tmp_path / f"{place}.jsonl"
        path.write_bytes(("\ufeff" if encoding == "utf-16-be" else "").encode(encoding) + text.encode(encoding))
        assert len(one(path).training) == 30


def test_commas_between_lines_are_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("\n,\n".join(json.dumps(record) + "," for record in healthy()))
    curve = one(path)
    assert (len(curve.training), curve.notes) == (30, ())


def test_percentages_of_any_form_are_passed_over(tmp_path: Path) -> None:
    forms = [33, "33%", "33.3", None, 33.333, [33]]
    plain = one(lines(tmp_path / "plain.jsonl", healthy()))
    for form in forms:
        assert one(lines(tmp_path / "log.jsonl", [record | {"percentage": form} for record in healthy()])) == plain


@pytest.mark.parametrize("step", [0, 7])
def test_steps_that_are_all_one_are_counted_in_their_order(step: int, tmp_path: Path) -> None:
    records = [line(step, 2.0), line(step, 1.9), line(step, eval_loss=1.8), line(step, 1.7), line(step, eval_loss=1.6)]
    curve = one(lines(tmp_path / "log.jsonl", records))
    assert [(point.step, point.loss) for point in curve.training] == [(1, 2.0), (2, 1.9), (3, 1.7)]
    assert [(point.step, point.loss) for point in curve.evaluations[""]] == [(2, 1.8), (3, 1.6)]
    assert curve.notes == ("every point is logged at the same step: they are counted in their order",)


def test_two_points_at_one_step_are_two_processes(tmp_path: Path) -> None:
    curve = one(lines(tmp_path / "log.jsonl", [line(5, 2.0), line(5, 1.0)]))
    assert [(point.step, point.loss) for point in curve.training] == [(5, 1.5)]


def test_a_negative_loss_is_noted(tmp_path: Path) -> None:
    found = said(tmp_path / "log.jsonl", [line(10 * i, round(0.5 * 0.8**i - 0.2, 4)) for i in range(1, 31)])
    assert found.kinds == ("healthy",)
    assert found.notes == ("training loss is below 0 at 26 points: it is no cross-entropy, and its level says nothing",)


def test_numbers_that_no_trainer_has_are_infinite(tmp_path: Path) -> None:
    found = said(tmp_path / "log.jsonl", [line(i, 1e300 if i > 20 else 1.0) for i in range(1, 41)])
    assert found.kinds == ("divergence",)
    assert found.findings[0].evidence == "training loss is inf from step 21 to the end, 1 before"
    assert one(lines(tmp_path / "log.jsonl", [line(2**53, 1.0), line(2**54, 1.0)])).training[0].step == 2**53


def preference(loss: float, until: float, noise: float, seed: int) -> list[Record]:
    """A run of preference tuning: it leaves its start late, and its noise grows with its margins."""
    draw = np.random.default_rng(seed)
    records = []
    for i in range(60):
        level = loss + (until - loss) * (1 - math.exp(-max(0, i - 3) / 12))
        value = abs(level + noise * min(1.0, i / 15) * float(draw.standard_normal()))
        records.append(line(10 * i + 10, round(value, 4), 600, **{"rewards/chosen": 0.1, "accuracy": 0.6}))
    return records


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("loss", "until", "noise"),
    [(0.6931, 0.45, 0.03), (0.6931, 0.02, 0.02), (0.5, 0.3, 0.02), (0.6931, 0.2, 0.08)],
    ids=["DPO", "DPO that tells all pairs apart", "KTO", "reward model"],
)
def test_preference_tuning_that_leaves_its_start_is_healthy(
    loss: float, until: float, noise: float, seed: int, tmp_path: Path
) -> None:
    assert said(tmp_path / "log.jsonl", preference(loss, until, noise, seed)).kinds == ("healthy",)


def test_preference_tuning_that_stays_at_ln_2_is_stuck(tmp_path: Path) -> None:
    assert said(tmp_path / "log.jsonl", preference(0.6931, 0.6931, 0.002, 0)).kinds == ("stagnation",)


DEEP = 100_000


@pytest.mark.parametrize(
    "text",
    [
        '{"log_history":' + "[" * DEEP,
        '{"log_history": [' + '{"a":' * DEEP,
        '{"a":' * DEEP,
        '{"current_steps": 1, "loss": 1, "x": ' + "[" * DEEP + "]" * DEEP + "}",
        "{" * DEEP,
        ("{" * 100 + "\n") * 1000,
        "x" * 5_000_000,
        '{"current_steps": 1, "loss": ' + "1" * 10_000 + "}",
        "\n" * DEEP,
        "\0" * DEEP,
        "",
    ],
    ids=range(11),
)
def test_bombs_and_nothing_are_no_logs(text: str, tmp_path: Path) -> None:
    path = tmp_path / "trainer_log.jsonl"
    path.write_text(text)
    with pytest.raises(NotALog) as caught:
        read_log(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_pipe_is_read_to_its_end() -> None:
    out, into = os.pipe()
    os.write(into, "".join(json.dumps(record) + "\n" for record in healthy()).encode())
    os.close(into)
    try:
        assert len(one(Path(f"/dev/fd/{out}")).training) == 30
    finally:
        os.close(out)


def test_deep_but_sound_values_and_very_long_lines_are_passed_over(tmp_path: Path) -> None:
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    assert len(one(lines(tmp_path / "log.jsonl", [r | {"x": deep} for r in healthy()])).training) == 30
    assert len(one(lines(tmp_path / "log.jsonl", [r | {"x": "y" * 100_000} for r in healthy()])).training) == 30


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 400),
    st.integers(),
    st.floats(),
    st.floats(0, 10),
    st.sampled_from(["NaN", "1e-4", "", "x", "3%"]),
    st.lists(st.integers(), max_size=2),
)
KEYS = st.sampled_from(
    (
        *("current_steps", "step", "total_steps", "percentage", "epoch", "lr", "learning_rate", "grad_norm"),
        *("loss", "eval_loss", "eval_a_loss", "reward", "x"),
    )
)
RECORDS = st.lists(st.dictionaries(KEYS, VALUES, max_size=7), max_size=12)


def check(path: Path) -> None:
    """Reads and diagnoses whatever a file holds: a diagnosis in strict JSON, or one line."""
    runs, why_not = [], ""
    try:
        runs = read_log(path)
    except NotALog as error:
        why_not = str(error)
    assert bool(runs) != bool(why_not)
    assert "\n" not in why_not
    for run in runs:
        json.dumps(diagnose(run).to_dict(), allow_nan=False)
        steps = [point.step for point in run.training]
        assert steps == sorted(set(steps))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RECORDS, st.sampled_from(["lines", "state", "list"]), st.integers(0, 400))
def test_any_records_are_read_or_refused_in_one_line(
    tmp_path: Path, records: list[Record], form: str, cut: int
) -> None:
    path = tmp_path / "log"
    text = {
        "lines": "\n".join(map(json.dumps, records)),
        "state": json.dumps({"log_history": records, "max_steps": 300}),
        "list": json.dumps(records),
    }[form]
    path.write_text(text[: len(text) - cut] if cut < 100 else text)
    check(path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "log").write_bytes(raw)
    check(tmp_path / "log")


LOSSES = st.lists(
    st.one_of(st.floats(0, 8), st.floats(), st.sampled_from([0.0, 0.6931, 1.0, -1.0, 1e-300, 1e300])),
    min_size=5,
    max_size=80,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LOSSES, LOSSES, st.one_of(st.none(), st.floats()), st.floats(0, 20))
def test_any_losses_are_diagnosed(
    tmp_path: Path, training: list[float], held: list[float], rate: float | None, epochs: float
) -> None:
    total = len(training)
    records = [
        {"step": i, "loss": loss, "lr": rate, "epoch": epochs * i / total} for i, loss in enumerate(training, start=1)
    ]
    records += [{"step": round(total * i / len(held)), "eval_loss": loss} for i, loss in enumerate(held, start=1)]
    check(lines(tmp_path / "log", records))
