"""The sanity test around a launcher that plays: what it trains, what it says, and that it leaves nothing behind."""

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from spaces.errors import SpaceError
from sweep.devices import Slot
from sweep.errors import SweepError, TrialFailed, WorkerDied
from sweep.launchers.base import Launcher
from sweep.options import SweepOptions
from sweep.sanity import HELD_OUT, PASSES, ROWS, STEPS_A_PASS
from sweep.sanity_command import sanity_command
from sweep.scaling import EXPONENT, GUIDE_WIDTH
from tests.sweep.fakes import GOOD_TOKENS, Event, FakeLauncher, curve, make_ready
from trials.config import TrialConfig
from trials.protocol import WorkerSetup
from trials.remedies import PROBING

GOOD = curve(4.0, 3.9, 3.9, 4.0, 4.1, train_losses=(4.0, 3.0, 2.0, 1.5, 1.0))
STILL = curve(*(4.0,) * 5, train_losses=(4.0, 3.99, 3.99, 3.99, 3.99))
SLOW = curve(*(4.0,) * 5, train_losses=(4.0, 3.0, 2.9, 2.9, 2.9))
WILD = curve(*(4.0,) * 5, train_losses=(4.0, 5.0, 6.0, 8.0, 9.0))
LOST = curve(*(4.0,) * 5, train_losses=(4.0, 5.0, math.nan, math.nan, math.nan))


class Sanity:
    """Runs `sweep sanity` with a launcher that plays its events."""

    def __init__(self) -> None:
        self.setup: WorkerSetup | None = None
        self.slots: Sequence[Slot] = ()
        self.launcher = FakeLauncher([])
        self.closed = 0
        self.ready = make_ready()

    def run(self, events: Sequence[Event] = GOOD, **options: Any) -> int:
        self.launcher = FakeLauncher([events])
        self.launcher.ready = lambda: self.ready  # type: ignore[method-assign]
        self.launcher.close = self._close  # type: ignore[method-assign]
        return sanity_command(SweepOptions(**{"space": "sft_lora", "gpus": "cpu", **options}), self._make)

    def _make(self, setup: WorkerSetup, slots: Sequence[Slot]) -> Launcher:
        self.setup, self.slots = setup, slots
        return self.launcher

    def _close(self) -> None:
        self.closed += 1

    @property
    def config(self) -> TrialConfig:
        return self.launcher.started[0][0]

    @property
    def folder(self) -> Path:
        return self.launcher.started[0][1]


@pytest.fixture
def sanity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sanity:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    return Sanity()


def test_rows_that_are_learnt_by_heart_pass(sanity: Sanity, capsys: pytest.CaptureFixture[str]) -> None:
    assert sanity.run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:9]] == ["load", "model", "data", "trial", *["check"] * 5]
    assert lines[9:15] == [
        "  pass  training  held out",
        "     1     4.000     4.000",
        "     2     3.000     3.900",
        "     3     2.000     3.900",
        "     4     1.500     4.000",
        "     5     1.000     4.100",
    ]
    assert lines[15:] == [
        "Over-fits, as it should: training loss 4.000 -> 1.000 █▆▃▂▁, 67 % less than in the second pass. "
        "Rows, labels and adapter work together."
    ]


@pytest.mark.parametrize("events", [STILL, SLOW, WILD, LOST], ids=["still", "slow", "wild", "lost"])
def test_rows_that_are_not_fail_with_what_to_look_at(
    sanity: Sanity, events: Sequence[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sanity.run(events) == 1
    told = capsys.readouterr().out.split("Does not over-fit: ")[1].splitlines()
    assert told[0].startswith("training loss 4.000 -> ")
    looked_at = [line.strip().split("  ")[0] for line in told[2:]]
    assert sorted(looked_at) == ["columns", "cutoff_len", "labels", "learning rate", "template"]
    assert looked_at.index("learning rate") == (4 if events is SLOW else 0)


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (STILL, "0.022 is too low for it? SET=learning_rate=0.022 makes it five times"),
        (WILD, "0.022 is too high for it? SET=learning_rate=8.8e-4 makes it a fifth"),
        (LOST, "0.022 is too high for it?"),
    ],
)
def test_the_learning_rate_to_try_is_named(
    sanity: Sanity, events: Sequence[Event], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sanity.run(events)
    assert words in capsys.readouterr().out


def test_the_trial_is_the_spaces_starting_point_at_a_raised_rate(sanity: Sanity) -> None:
    sanity.run(seed=7)
    config = sanity.config
    scale = (GUIDE_WIDTH / sanity.ready.model.hidden_size) ** EXPONENT
    assert config.learning_rate == pytest.approx(PROBING * scale * 1e-4, rel=0.02)
    assert (config.lora_rank, config.lora_alpha, config.warmup_ratio, config.seed) == (8, 16, 0.1, 7)
    assert (config.num_train_epochs, config.evaluations, config.max_rows) == (PASSES, PASSES, None)
    assert config.early_stopping_patience == 0


@pytest.mark.parametrize("options", [{"scale_lr": "off"}, {"assignments": ("learning_rate=1e-4",)}])
def test_a_rate_that_is_not_scaled_is_raised_as_well(sanity: Sanity, options: dict[str, Any]) -> None:
    sanity.run(**options)
    assert sanity.config.learning_rate == pytest.approx(PROBING * 1e-4)


def test_knobs_that_are_set_are_used_but_for_length_and_patience(sanity: Sanity) -> None:
    sanity.run(assignments=("lora_rank=16", "num_train_epochs=1", "early_stopping_patience=1", "cutoff_len=77"))
    assert (sanity.config.lora_rank, sanity.config.num_train_epochs) == (16, PASSES)
    assert sanity.config.early_stopping_patience == 0
    assert sanity.setup is not None
    assert sanity.setup.cutoff_len == 77


def test_a_worker_alone_loads_a_few_rows_cut_as_a_sweeps_are(sanity: Sanity) -> None:
    sanity.run(model="mine", dataset="chats.jsonl")
    setup = sanity.setup
    assert setup is not None
    assert (setup.model, setup.dataset, setup.stage) == ("mine", "chats.jsonl", "sft")
    assert (setup.max_samples, setup.val_size, setup.cutoff_len) == (ROWS, HELD_OUT, 128)
    assert [slot.gpus for slot in sanity.slots] == [()]
    assert sanity.slots[0].threads == len(os.sched_getaffinity(0))  # all cores, for one trial alone


@pytest.mark.parametrize(("rows", "batch"), [(ROWS, 16), (STEPS_A_PASS * 3, 3), (STEPS_A_PASS - 1, 1), (1, 1)])
def test_few_rows_have_smaller_batches(sanity: Sanity, rows: int, batch: int) -> None:
    sanity.ready = make_ready(train_rows=rows)
    sanity.run()
    assert sanity.config.effective_batch_size == batch


@pytest.mark.parametrize("space", ["pt_lora", "low_memory", "max_performance", "lr_sweep", "task_complex"])
def test_every_space_has_a_trial(sanity: Sanity, space: str) -> None:
    assert sanity.run(space=space) == 0


def test_nothing_is_left_behind(sanity: Sanity, tmp_path: Path) -> None:
    sanity.run()
    assert not sanity.folder.exists()
    assert list(tmp_path.iterdir()) == []
    assert sanity.launcher.runs[0].closed
    assert sanity.closed == 1


@pytest.mark.parametrize("error", [TrialFailed("no memory", "at line 7"), WorkerDied("worker 7 died", "at line 7")])
def test_a_trial_that_breaks_is_told_and_leaves_nothing(
    sanity: Sanity, error: TrialFailed | WorkerDied, tmp_path: Path
) -> None:
    with pytest.raises(SweepError) as told:
        sanity.run([*GOOD[:2], error])
    assert str(told.value) == f"the trial failed: {error}\nat line 7"
    assert not sanity.folder.exists()
    assert sanity.closed == 1


def test_ctrl_c_is_told_apart_from_a_verdict(sanity: Sanity, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    assert sanity.run([*GOOD[:2], interrupt]) == 130
    assert "stopped" in capsys.readouterr().out
    assert not sanity.folder.exists()
    assert sanity.closed == 1


def test_what_is_wrong_is_noted_and_remembered_though_it_over_fits(
    sanity: Sanity, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = {"tokens": asdict(replace(GOOD_TOKENS, unknown=("<|im_end|>",)))}
    sanity.ready = replace(sanity.ready, data=sanity.ready.data | unknown)
    assert sanity.run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("note   the chat template writes <|im_end|>")]
    assert lines[-1] == "Still, see the note above."


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"space": "sft-lora"}, SpaceError),
        ({"assignments": ("lora_rnk=8",)}, SpaceError),
        ({"assignments": ("cutoff_len=64,128",)}, SweepError),
        ({"gpus": "first"}, SweepError),
    ],
)
def test_what_cannot_be_is_refused_before_a_worker_starts(
    sanity: Sanity, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        sanity.run(**options)
    assert sanity.setup is None
