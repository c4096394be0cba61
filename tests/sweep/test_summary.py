"""What a study has found, to the letter."""

from typing import Any

import pytest

from sweep.edges import edges
from sweep.summary import found, next_steps, summary, target_words
from tests.sweep.fakes import SPACE, make_space, trial_row

SPACE_PLAIN = make_space(SPACE).to_dict()


def space(start: bool = False, **knobs: dict[str, Any]) -> dict[str, Any]:
    return {"name": "demo", "search": knobs, "start": [{}] if start else []}


def row(number: int, value: float, **params: Any) -> dict[str, Any]:
    return trial_row(number, value, params=params)


def edge_of(best: float, knob: dict[str, Any], *others: float) -> list[tuple[str, float, str, str]]:
    rows = [row(number, 2.0 + number, x=value) for number, value in enumerate((best, *others))]
    return edges(rows, space(x=knob))


LOG = {"float": [1e-4, 1e-2], "log": True}
LINEAR = {"float": [0.0, 1.0]}


@pytest.mark.parametrize(
    ("best", "knob", "edge"),
    [
        (9e-3, LOG, [("x", 9e-3, "upper", "x=1e-4..0.1")]),
        (1.2e-4, LOG, [("x", 1.2e-4, "lower", "x=1e-5..0.01")]),
        (1e-3, LOG, []),
        (6e-3, LOG, []),
        (0.95, LINEAR, [("x", 0.95, "upper", "x=0..2")]),
        (0.0, LINEAR, [("x", 0.0, "lower", "x=-1..1")]),
        (0.5, LINEAR, []),
        (0.85, LINEAR, []),
    ],
)
def test_a_best_value_on_an_edge_says_how_to_widen_the_range(best: float, knob: dict[str, Any], edge: Any) -> None:
    assert edge_of(best, knob) == edge


def test_a_range_is_widened_to_its_limit_at_most() -> None:
    assert edge_of(9e-3, LOG | {"limits": [1e-6, 2e-2]}) == [("x", 9e-3, "upper", "x=1e-4..0.02")]


def test_a_range_at_its_limit_has_nothing_to_widen() -> None:
    assert edge_of(9e-3, LOG | {"limits": [1e-6, 1e-2]}) == [("x", 9e-3, "upper", "")]


@pytest.mark.parametrize(("others", "edge"), [((1.1e-4, 1.05e-4, 1.0e-4), "upper"), ((1.15e-4, 1.2e-4), "lower")])
def test_in_a_narrow_range_the_best_leans_to_where_better_trials_are(others: tuple[float, ...], edge: str) -> None:
    ((_, _, found, _),) = edge_of(1.12e-4, {"float": [1e-4, 1.3e-4], "log": True}, *others)
    assert found == edge


def test_a_single_trial_in_a_narrow_range_leans_to_the_nearer_end() -> None:
    ((_, _, edge, _),) = edge_of(1.05e-4, {"float": [1e-4, 1.3e-4], "log": True})
    assert edge == "lower"


@pytest.mark.parametrize("knob", [{"choice": [1, 2]}, {"int": [1, 5]}, {"float": [2.0, 2.0]}])
def test_only_ranges_have_edges(knob: dict[str, Any]) -> None:
    assert edge_of(2, knob) == []


@pytest.mark.parametrize("params", [{}, {"x": 0.0}, {"x": "none"}])
def test_a_knob_that_the_best_trial_did_not_draw_has_no_edge(params: dict[str, Any]) -> None:
    assert edges([row(0, 2.0, **params), row(1, 2.1, x=1e-4)], space(x=LOG)) == []


def test_an_absent_knob_of_a_worse_trial_is_passed_over() -> None:
    assert len(edges([row(0, 2.0, x=1e-4), row(1, 2.1), row(2, 2.2, x=0)], space(x=LOG))) == 1


def findings(*rows: dict[str, Any], of: dict[str, Any] | None = None, spent: int = 600, saved: int = 400) -> list[str]:
    return summary(*found(rows, of or SPACE_PLAIN, spent, saved))


def test_the_first_line_is_the_best_trial() -> None:
    best = trial_row(1, 2.5741, lora_rank=16, lora_alpha=32.0, lora_target="all", learning_rate=7.3e-4)
    lines = findings(trial_row(0, 2.6), best, trial_row(2, 2.4, state="pruned"))
    assert lines[0] == (
        "Best of 3: rank 16, alpha 32 (2:1), all linear layers, learning rate 7.3e-4, batch 8: evaluation loss 2.574."
    )


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([], "No trial has finished yet."),
        ([trial_row(0, None, state="failed")], "No trial has finished yet."),
        ([trial_row(0, 2.5, state="pruned")], "No trial of 1 is complete yet."),
    ],
)
def test_before_the_first_complete_trial_there_is_no_best(rows: list[dict[str, Any]], line: str) -> None:
    assert findings(*rows) == [line]


def test_the_start_point_is_told_with_its_distance() -> None:
    lines = findings(trial_row(0, 2.6), trial_row(1, 2.5), of=space(start=True))
    assert "  start point     rank 8, alpha 16, qv, learning rate 1.0e-3: 2.600, so 0.100 above" in lines


@pytest.mark.parametrize(
    ("rows", "of"),
    [
        ([trial_row(0, 2.5), trial_row(1, 2.6)], space(start=True)),
        ([trial_row(0, None, state="failed"), trial_row(1, 2.6)], space(start=True)),
        ([trial_row(0, 2.6), trial_row(1, 2.5)], space(start=False)),
    ],
    ids=["it is the best", "it failed", "there is none"],
)
def test_a_start_point_that_says_nothing_is_not_told(rows: list[dict[str, Any]], of: dict[str, Any]) -> None:
    assert not any("start point" in line for line in findings(*rows, of=of))


def test_an_edge_is_told_with_the_line_that_goes_beyond() -> None:
    lines = findings(trial_row(0, 2.5, learning_rate=9.3e-3))
    assert lines[1:3] == [
        "  learning_rate   best at 9.3e-3, on the upper edge of 1e-4..0.01: the optimum may lie beyond.",
        "                  Widen it in a study of its own: "
        "make sweep SPACE=demo STUDY=wider SET=learning_rate=1e-4..0.1",
    ]


@pytest.mark.parametrize(
    ("expand", "asked"), [(False, "EXPAND=1 and more N_TRIALS"), (True, "more N_TRIALS")], ids=["off", "on"]
)
def test_a_range_that_could_grow_says_how(expand: bool, asked: str) -> None:
    limited = space(learning_rate=LOG | {"limits": [1e-6, 1e-1]}) | {"expand": expand}
    assert findings(trial_row(0, 2.5, learning_rate=9.3e-3), of=limited)[2:4] == [
        f"                  Let it grow in this study: the same line with {asked}.",
        "                  Or widen it in a study of its own: "
        "make sweep SPACE=demo STUDY=wider SET=learning_rate=1e-4..0.1",
    ]


def test_a_range_without_limits_does_not_grow() -> None:
    lines = findings(trial_row(0, 2.5, learning_rate=9.3e-3), of=space(learning_rate=LOG) | {"expand": False})
    assert "grow" not in lines[1]


def test_what_was_moved_and_what_has_grown_is_told() -> None:
    of = space(learning_rate=LOG) | {"scaled": "1e-4..2e-4 moved", "grown": {"learning_rate": "grown from 1e-4..2e-3"}}
    assert findings(trial_row(0, 2.5), of=of)[1:4] == [
        "  learning rates  1e-4..2e-4 moved",
        "  learning_rate   grown from 1e-4..2e-3",
        "  learning_rate   best at 1.0e-3, inside its range",
    ]


def test_a_limit_is_told_as_the_end_of_the_matter() -> None:
    limited = space(learning_rate=LOG | {"limits": [1e-6, 1e-2]})
    lines = findings(trial_row(0, 2.5, learning_rate=9.3e-3), of=limited)
    assert lines[1] == "  learning_rate   best at 9.3e-3, on the upper edge of 1e-4..0.01, which is its limit"


def test_a_learning_rate_inside_its_range_is_told() -> None:
    assert findings(trial_row(0, 2.5))[1] == "  learning_rate   best at 1.0e-3, inside its range"


def test_a_learning_rate_without_a_range_is_not_told() -> None:
    lines = findings(trial_row(0, 2.5), of=space(learning_rate={"choice": [1e-3, 1e-4]}))
    assert not any("learning_rate" in line for line in lines)


def test_pruned_trials_count_in_the_lean_of_a_narrow_range() -> None:
    narrow = space(learning_rate={"float": [1e-4, 1.3e-4], "log": True})
    low = [trial_row(n, 2.6 + n, state="pruned", learning_rate=1.01e-4) for n in (1, 2, 3)]
    lines = findings(trial_row(0, 2.5, learning_rate=1.12e-4), *low, of=narrow)
    assert "upper edge" in lines[1]


def test_what_pruning_saved_is_told() -> None:
    lines = findings(trial_row(0, 2.5), trial_row(1, 2.6, state="pruned"))
    assert lines[-1] == "  pruning         1 of 2 trials pruned, 40 % of rows saved"


def test_no_pruning_is_told_too() -> None:
    assert findings(trial_row(0, 2.5))[-1] == "  pruning         no trial was pruned"


def test_failures_are_told_with_the_last_reason() -> None:
    failed = [trial_row(number, None, state="failed", reason=f"reason {number}") for number in range(1, 8)]
    assert findings(trial_row(0, 2.5), *failed)[-1] == (
        "  failures        7 of 8 trials (trial 1, 2, 3, 4, 5): reason 7"
    )


def test_the_next_steps_are_commands_that_work_as_they_stand() -> None:
    assert next_steps("demo", "runs/sweep.db", "runs/sweep.db") == [
        "Next: sweep show demo     every trial, and why it ended",
        "      sweep export demo   a LLaMA-Factory YAML and the adapter",
        "      make dashboard      every curve and log, on 127.0.0.1",
    ]


def test_another_storage_is_named_in_the_next_steps() -> None:
    lines = next_steps("demo", "my runs.db", "runs/sweep.db")
    assert lines[0].startswith("Next: sweep show demo --storage 'my runs.db'   ")
    assert lines[2].lstrip().startswith("make dashboard STORAGE='my runs.db'   ")


def test_the_next_steps_do_not_tell_a_password() -> None:
    lines = next_steps("demo", "postgresql://me:secret@host/db", "runs/sweep.db")
    assert "secret" not in "\n".join(lines)
    assert "me:***@host/db" in lines[0]


def test_a_study_with_an_odd_name_can_be_pasted() -> None:
    assert "sweep show 'my study; rm'" in next_steps("my study; rm", "a", "a")[0]


@pytest.mark.parametrize(("target", "words"), [("all", "all linear layers"), ("qv", "q and v"), ("q_proj", "q_proj")])
def test_a_target_set_is_told_in_words(target: str, words: str) -> None:
    assert target_words(target) == words


def test_the_next_steps_name_the_program_as_it_can_be_called() -> None:
    assert next_steps("demo", "a", "a", ".venv/bin/sweep")[0].startswith("Next: .venv/bin/sweep show demo ")


def test_a_pruned_start_point_is_said_to_have_been_pruned() -> None:
    lines = findings(trial_row(0, 2.9, state="pruned"), trial_row(1, 2.5), of=space(start=True))
    assert any(line.endswith("2.900 when it was pruned, so 0.400 above") for line in lines)


def test_a_space_that_is_a_file_is_named_by_its_path() -> None:
    of = space(learning_rate={"float": [1e-4, 1e-3], "log": True}) | {"asked": "my spaces/mine.yaml"}
    best = trial_row(0, 2.5, params={"learning_rate": 9.9e-4})
    assert any("make sweep SPACE='my spaces/mine.yaml' STUDY=wider" in line for line in findings(best, of=of))
