"""What a sweep may be asked to do, and the lines that it begins with."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from sweep import header
from sweep.devices import Slot
from sweep.errors import SweepError
from sweep.options import SweepOptions
from tests.sweep.fakes import BUDGET, make_plan, make_ready

SLOTS = [Slot((), 1), Slot((), 1)]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"n_trials": 0}, "N_TRIALS is 0; allowed: a whole number of at least 1"),
        ({"seed": -1}, "SEED is -1; allowed: a whole number of at least 0, and at most 4,294,967,295"),
        ({"keep_adapters": 0}, "keep_adapters is 0; allowed: a whole number of at least 1"),
        ({"early_stopping_patience": -1}, "early_stopping_patience is -1; allowed: a whole number of at least 0"),
        ({"scale_lr": "maybe"}, "SCALE_LR is 'maybe'; allowed: auto, on, off"),
        (
            {"per_device_train_batch_size": 0},
            "PER_DEVICE_TRAIN_BATCH_SIZE is 0; allowed: a whole number of at least 1",
        ),
        ({"dtype": "fp8"}, "dtype is 'fp8'; allowed: auto, bf16, fp32"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_what_can(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(SweepError) as error:
        SweepOptions(space="sft_lora", **asked)
    assert str(error.value) == message


def lines(done: int = 0, waiting: int = 0, notes: Sequence[str] = (), storage: str = "runs/sweep.db") -> list[str]:
    options = SweepOptions(space="demo", n_trials=24, storage=storage)
    return header.lines(make_plan(), options, "demo", SLOTS, done=done, waiting=waiting, notes=notes)


def test_a_new_sweep_says_what_on_what_and_where() -> None:
    assert lines() == [
        "model  tiny (llama, 2 layers, 32 wide, 40k parameters)   fp32 on cpu, 128 GB",
        "data   chats, sft, 80 rows for training, 16 for evaluation, 0 twins dropped, cut at 64: 25 % of rows",
        "space  demo: 3 knobs, 6 settings × learning_rate   budget 80 rows a trial, 5 evaluations",
        "batch  up to 8 rows at once, whole batches (more are no faster on the CPU)",
        "study  demo in runs/sweep.db   new   total 24 trials   2 workers on cpu",
    ]


@pytest.mark.parametrize(
    ("done", "waiting", "text"),
    [
        (16, 0, "16 of 24 done "),
        (16, 1, "16 of 24 done, 1 interrupted: going on with it "),
        (0, 2, "0 of 24 done, 2 interrupted: going on with them "),
    ],
)
def test_a_resumed_sweep_says_how_far_it_is(done: int, waiting: int, text: str) -> None:
    assert text in lines(done, waiting)[4]


def test_notes_come_last() -> None:
    assert lines(notes=("one", "two"))[-2:] == ["note   one", "note   two"]


def test_a_quantised_base_is_said_to_be_one() -> None:
    ready = make_ready()
    plan = make_plan(ready=replace(ready, model=replace(ready.model, quantization_bit=4)))
    assert "   4-bit nf4, fp32 on cpu" in header.model_line(plan)


def test_a_password_is_not_said() -> None:
    assert "secret" not in "\n".join(lines(storage="postgresql://me:secret@host/db"))


def test_a_budget_of_epochs_is_told_in_epochs() -> None:
    plan = make_plan(budget=replace(BUDGET, max_rows=None))
    assert "budget num_train_epochs over 80 rows a trial" in header.space_line(plan)


@pytest.mark.parametrize(
    ("slots", "text"),
    [
        ([Slot((), 2)], "1 worker on cpu"),
        ([Slot((0,), 0), Slot((1,), 0)], "2 workers on gpu 0, gpu 1"),
        ([Slot((0,), 0, trials=8), Slot((1,), 0, trials=8)], "2 workers on gpu 0, gpu 1, 16 trials at once"),
        ([Slot((0, 1), 0)], "1 worker on gpus 0,1"),
    ],
)
def test_workers_are_told_with_their_places(slots: list[Slot], text: str) -> None:
    assert header.workers(slots) == text


@pytest.mark.parametrize(("model", "text"), [("", "SmolLM2-135M"), ("org/model", "load   org/model into 2 workers")])
def test_the_first_line_says_what_is_loaded(model: str, text: str) -> None:
    assert text in header.loading(SweepOptions(space="demo", model=model), SLOTS)
