from typing import Any

import pytest

from tests.benchmarks.bench_table import COLUMNS, Measured, agreement, digest, table


def event(kind: str, time: float, **values: Any) -> dict[str, Any]:
    return {"event": kind, "time": time, **values}


TWO_TRIALS = [
    event("begun", 103.0, trial="4:0.1"),
    event("evaluated", 105.0, trial="4:0.1", step=5, loss=2.0),
    event("evaluated", 107.0, trial="4:0.1", step=10, loss=2.5),
    event("begun", 107.5, trial="8:0.1"),
    event("evaluated", 109.0, trial="8:0.1", step=5, loss=1.5),
    event("coordinator", 111.0, cpu=1.25),
    event("cpu", 111.5, cpu=10.5),
]


def measured(wall: float, **losses: float) -> Measured:
    return Measured(wall, 2 * wall, 1.0, wall - 1, 0.1, 10, losses, None)


def test_a_run_is_read_from_what_the_contestant_said() -> None:
    run = digest(TWO_TRIALS, began=100.0, wall=12.0, cpu=10.0)
    assert run == Measured(12.0, 10.5, 3.0, 6.0, 0.5, 15, {"4:0.1": 2.0, "8:0.1": 1.5}, 1.25)
    assert run.best == 1.5


def test_a_contestant_that_did_nothing_has_failed() -> None:
    with pytest.raises(ValueError, match="no step"):
        digest([], began=0.0, wall=1.0, cpu=1.0)


def test_the_table_holds_medians_ratios_and_who_is_missing() -> None:
    runs = {"floor": [measured(10, a=1.0)] * 3, "other": [measured(wall, a=1.0) for wall in (30, 20, 99)], "bad": []}
    lines = table(runs, ["gone"], batch=8)
    assert all(line.count("|") == len(COLUMNS) + 1 for line in lines)
    assert lines[3].startswith(
        "| other | 30.0 (20.0 to 99.0) | 3.00 | 60.0 | 3.00 | 1.0 | 29.0 | 3.22 | 0.10 | 1 | 80 |"
    )
    assert lines[4].startswith("| bad | failed |")
    assert lines[5].startswith("| gone | not installed |")


def test_agreement_is_trial_by_trial_and_says_when_the_trials_differ() -> None:
    runs = {"floor": [measured(1, a=1.0, b=2.0)], "same": [measured(1, a=1.0, b=2.25)], "fewer": [measured(1, a=1.5)]}
    said = agreement(runs)
    assert "same 0.2500;" in said
    assert "fewer 0.5000 of other trials." in said
