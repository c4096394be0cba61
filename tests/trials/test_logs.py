"""Logs of others, with all that is odd in them: each oddity seen in a published log, made again in small."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from tests.trials.logs import falling, healthy, line, lines, state
from trials.log_records import LARGEST_BYTES, NotALog
from trials.logged import LoggedCurve
from trials.logs import find_logs, read_log


def one(path: Path) -> LoggedCurve:
    """The only run of a log."""
    (curve,) = read_log(path)
    return curve


def steps(curve: LoggedCurve) -> list[int]:
    return [point.step for point in curve.training]


def why_not(path: Path) -> str:
    """Why a file is no log: one line."""
    with pytest.raises(NotALog) as caught:
        read_log(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_llama_factorys_log(tmp_path: Path) -> None:
    records = [*healthy(), line(300, eval_loss=1.1), line(300)]
    curve = one(lines(tmp_path / "trainer_log.jsonl", records))
    assert steps(curve) == list(range(10, 301, 10))
    assert curve.training[0] == (10, 0.1, falling(10), 1e-4, None)
    assert curve.evaluations == {"": ((300, 3.0, 1.1),)}
    assert curve.total_steps == 300
    assert curve.epochs == 3.0
    assert curve.notes == ()


def test_transformers_state_with_a_closing_mean(tmp_path: Path) -> None:
    history = [
        {"epoch": 0.1, "grad_norm": 2.5, "learning_rate": 1e-5, "loss": 2.0, "step": 10},
        {"epoch": 0.1, "eval_loss": 1.9, "eval_runtime": 3.0, "step": 10},
        {"epoch": 0.2, "grad_norm": 2.4, "learning_rate": 9e-6, "loss": 1.8, "step": 20},
        {"epoch": 0.2, "step": 20, "total_flos": 1e15, "train_loss": 1.9, "train_runtime": 60.0},
    ]
    curve = one(state(tmp_path / "trainer_state.json", history, max_steps=20))
    assert curve.training == ((10, 0.1, 2.0, 1e-5, 2.5), (20, 0.2, 1.8, 9e-6, 2.4))
    assert curve.evaluations == {"": ((10, 0.1, 1.9),)}
    assert curve.total_steps == 20


@pytest.mark.parametrize("key", ["lr", "learning_rate", None])
def test_the_rate_is_lr_or_learning_rate_or_neither(key: str | None, tmp_path: Path) -> None:
    records = [{"current_steps": s, "loss": 1.0} | ({key: 5e-5} if key else {}) for s in (1, 2)]
    curve = one(lines(tmp_path / "log.jsonl", records))
    assert curve.training[1].learning_rate == (5e-5 if key else None)


def test_keys_padded_with_null(tmp_path: Path) -> None:
    padding = {"eval_loss": None, "predict_loss": None, "reward": None, "accuracy": None}
    records = [line(10, 2.0, **padding, lr=None, learning_rate=3e-5)]
    records.append(line(10) | padding | {"eval_loss": 1.5, "loss": None})
    curve = one(lines(tmp_path / "log.jsonl", records))
    assert [(p.step, p.loss, p.learning_rate) for p in curve.training] == [(10, 2.0, 3e-5)]
    assert [p.loss for p in curve.evaluations[""]] == [1.5]


def test_numbers_as_strings_whole_percentages_and_days(tmp_path: Path) -> None:
    record = {"current_steps": "10", "total_steps": "300", "loss": "1.25", "lr": "1e-4", "epoch": "0.1"}
    record |= {"percentage": 3, "elapsed_time": "1 day, 0:08:23", "remaining_time": "0:00:00"}  # type: ignore[dict-item]
    curve = one(lines(tmp_path / "log.jsonl", [record, line(20, 1.2)]))
    assert curve.training[0] == (10, 0.1, 1.25, 1e-4, None)


def test_nan_and_infinity_literals(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"current_steps": 1, "loss": NaN, "grad_norm": Infinity}\n{"current_steps": 2, "loss": "-inf"}\n')
    first, second = one(path).training
    assert math.isnan(first.loss)
    assert first.grad_norm == math.inf
    assert second.loss == -math.inf


def test_several_evaluation_sets_and_none_called_eval_loss(tmp_path: Path) -> None:
    history = [
        {"step": 10, "loss": 2.0},
        {"step": 10, "eval_law_loss": 1.8, "eval_law_runtime": 1.0},
        {"step": 10, "eval_chat_long_loss": 2.2, "eval_chat_long_runtime": 1.0},
    ]
    curve = one(state(tmp_path / "trainer_state.json", history))
    assert {name: points[0].loss for name, points in curve.evaluations.items()} == {"law": 1.8, "chat_long": 2.2}


def test_parts_of_an_evaluation_loss_are_no_sets(tmp_path: Path) -> None:
    curve = one(lines(tmp_path / "log.jsonl", [line(10, 1.0), line(10, eval_loss=1.1, eval_nll_loss=0.9)]))
    assert list(curve.evaluations) == [""]


def test_windows_line_ends_marks_and_blank_lines(tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", healthy(), ending="\r\n\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(one(path).training) == 30
    path.write_text(path.read_text("utf-8-sig"), encoding="utf-16")
    assert len(one(path).training) == 30


def test_a_resume_replaces_what_it_repeats(tmp_path: Path) -> None:
    before = [line(s, 2.0) for s in range(10, 110, 10)] + [line(90, eval_loss=5.0)]
    curve = one(lines(tmp_path / "log.jsonl", [*before, *(line(s, 1.0) for s in range(70, 160, 10))]))
    assert steps(curve) == list(range(10, 160, 10))
    assert [p.loss for p in curve.training] == [2.0] * 6 + [1.0] * 9
    assert curve.evaluations == {}
    assert curve.notes == ("resumed at step 70: 4 points that it repeats are replaced",)


def test_a_run_that_begins_again_is_another_run(tmp_path: Path) -> None:
    records = [*healthy(), line(300, eval_loss=1.0), *healthy(total=200)]
    first, second = read_log(lines(tmp_path / "log.jsonl", records))
    assert (len(first.training), first.total_steps, len(first.evaluations)) == (30, 300, 1)
    assert (len(second.training), second.total_steps, len(second.evaluations)) == (20, 200, 0)


@pytest.mark.parametrize("lag", [0, 3])
def test_two_processes_that_write_every_step(lag: int, tmp_path: Path) -> None:
    first, second = healthy(), [record | {"loss": record["loss"] + 0.2} for record in healthy()]
    mixed = [
        r for i in range(30 + lag) for r in (first[i : i + 1] + (second[i - lag : i - lag + 1] if i >= lag else []))
    ]
    assert len(mixed) == 60
    curve = one(lines(tmp_path / "log.jsonl", mixed))
    assert steps(curve) == list(range(10, 301, 10))
    assert curve.training[4].loss == pytest.approx(falling(50) + 0.1)
    assert bool(curve.notes) == bool(lag)


def test_an_evaluation_after_training_with_a_counter_of_its_own(tmp_path: Path) -> None:
    records = [*healthy(), line(200, eval_loss=1.2), line(300, eval_loss=1.1)]
    records += [line(5, None, 40, eval_loss=None), line(40, None, 40, eval_loss=1.09)]
    curve = one(lines(tmp_path / "log.jsonl", records))
    assert [(p.step, p.loss) for p in curve.evaluations[""]] == [(200, 1.2), (300, 1.09)]
    assert "step 300" in curve.notes[0]


def test_a_last_line_cut_short_and_a_line_in_the_middle(tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", healthy())
    whole = path.read_text().splitlines()
    path.write_text("\n".join([*whole[:5], whole[5][:30], *whole[6:], '{"current_steps": 310, "lo']))
    curve = one(path)
    assert len(curve.training) == 29
    assert curve.notes == (
        "the last line is cut short and was left out",
        "1 of 31 lines are not JSON and were left out",
    )


def test_a_half_line_with_the_next_runs_first_behind_it(tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", healthy())
    path.write_text(path.read_text() + '{"current_steps": 310, "lo' + json.dumps(line(310, 0.9)) + "\n")
    assert steps(one(path))[-1] == 310


def test_zeros_that_a_lost_machine_left(tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", healthy())
    path.write_bytes(path.read_bytes() + b"\0" * 500)
    assert len(one(path).training) == 30


def test_a_state_cut_short(tmp_path: Path) -> None:
    path = state(tmp_path / "trainer_state.json", [{"step": s, "loss": 1.0} for s in range(1, 30)])
    path.write_text(path.read_text()[:600])
    curve = one(path)
    assert steps(curve)[:3] == [1, 2, 3]
    assert curve.notes == ("the file is cut short; what could be read was read",)


def test_records_without_steps_count_themselves(tmp_path: Path) -> None:
    assert steps(one(lines(tmp_path / "log.jsonl", [{"loss": 2.0}, {"loss": 1.9}, {"loss": 1.8}]))) == [1, 2, 3]


def test_evaluations_alone_are_a_curve(tmp_path: Path) -> None:
    curve = one(lines(tmp_path / "log.jsonl", [line(s, eval_loss=1.0) for s in (10, 20)]))
    assert (curve.training, len(curve.evaluations[""]), curve.last_step) == ((), 2, 20)


REWARDS = [line(s, 0.001 * s, reward=0.5, reward_std=0.1, kl=0.02) for s in (10, 20, 30)]
PROGRESS = [{"current_steps": s, "total_steps": 63, "percentage": s, "elapsed_time": "0:02:28"} for s in (5, 10)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("  \n\n", "empty"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:18\nsize 5374\n", "LFS pointer"),
        ("\n".join(map(json.dumps, REWARDS)), "rewards"),
        ("\n".join(map(json.dumps, PROGRESS)), "2 lines of progress without a loss"),
        (json.dumps({"log_history": [], "max_steps": 87}), "without a history"),
        (json.dumps({"log_history": [{"step": 1, "train_loss": 2.0}], "max_steps": 1}), "1 records hold no loss"),
        (json.dumps({"name": "x", "version": 2}), "its keys: name, version"),
        (json.dumps([{"instruction": "a", "output": "b"}] * 3), "its keys: instruction, output"),
        ("[1, 2, 3]", "holds a list"),
        ('"text"', "holds a str"),
        ("loss,step\n1.0,2\n", "not JSON"),
        ("{'loss': 1.0}\n", "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
    ids=range(14),
)
def test_what_is_no_log_is_said_to_be_that(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "trainer_log.jsonl"
    path.write_text(content)
    assert said in why_not(path)


def test_a_binary_a_missing_and_a_huge_file(tmp_path: Path) -> None:
    path = tmp_path / "trainer_log.jsonl"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1")
    assert why_not(path) == "a binary file"
    assert "cannot be read" in why_not(tmp_path / "none")
    with path.open("wb") as file:
        os.truncate(file.fileno(), LARGEST_BYTES + 1)
    assert "MB" in why_not(path)


def test_odd_values_are_passed_over(tmp_path: Path) -> None:
    odd: list[Any] = [True, [], {}, "1,0", None, "0x1p3"]
    records = [{"step": value, "loss": value, "epoch": value, "eval_loss": value} for value in odd]
    path = tmp_path / "log.jsonl"
    path.write_text(
        "\n".join(map(json.dumps, records)) + f'\n{{"step": 1e999, "loss": 1}}\n{{"step": -1, "loss": {10**400}}}'
    )
    assert steps(one(path)) == [1]


def test_preference_tuning_has_a_loss(tmp_path: Path) -> None:
    records = [line(s, 0.69, **{"rewards/chosen": 0.1, "rewards/accuracies": 0.5, "accuracy": 0.5}) for s in (10, 20)]
    assert len(one(lines(tmp_path / "log.jsonl", records)).training) == 2


def test_a_folder_gives_one_log_a_run(tmp_path: Path) -> None:
    chosen = [
        lines(tmp_path / "both" / "trainer_log.jsonl", healthy()),
        state(tmp_path / "killed" / "checkpoint-1500" / "trainer_state.json", []),
        state(tmp_path / "state" / "trainer_state.json", []),
    ]
    state(tmp_path / "both" / "trainer_state.json", [])
    state(tmp_path / "both" / "checkpoint-100" / "trainer_state.json", [])
    state(tmp_path / "killed" / "checkpoint-200" / "trainer_state.json", [])
    (tmp_path / "both" / "all_results.json").write_text("{}")
    assert find_logs(tmp_path) == chosen
    assert find_logs(tmp_path / "killed" / "checkpoint-200") == [tmp_path / "killed/checkpoint-200/trainer_state.json"]
    (tmp_path / "none").mkdir()
    with pytest.raises(NotALog, match="no trainer_log"):
        find_logs(tmp_path / "none")


def test_a_hundred_thousand_steps(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(f'{{"current_steps": {s}, "loss": 1.5, "lr": 1e-4}}\n' for s in range(1, 100_001)))
    assert len(one(path).training) == 100_000
