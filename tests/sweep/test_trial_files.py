"""A trial's folder: always below the output, one a study, with LLaMA-Factory's log in it."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from sweep.trial_files import (
    CONFIG,
    LOG,
    TrainerLog,
    clock,
    delete_adapter,
    delete_checkpoints,
    study_folder,
    trial_folder,
    write_config,
)
from tests.sweep.fakes import curve, moved, report
from trials.folders import ADAPTER, CHECKPOINTS

NAMES = [
    *(
        "demo",
        "Demo 1",
        "../x",
        "x",
        "..",
        ".",
        "",
        " ",
        "/etc",
        "a/b",
        "a-b",
        "a\\b",
        "<b>",
        "b",
        "-rf",
        "~",
        "日本",
        "中",
    ),
    *("long" * 100, "long" * 101, "nul\0", "new\nline", ".hidden", "demo.", "a_b", "a.b"),
]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG).read_text(encoding="utf8").splitlines()]


def steps(folder: Path) -> list[tuple[int, str]]:
    return [(line["current_steps"], "eval" if "eval_loss" in line else "step") for line in lines(folder)]


def first_session(folder: Path, last_step: int) -> None:
    """A log of an evaluation every second step, that ends after `last_step`."""
    log = TrainerLog(folder, [], 1)
    for step in range(1, last_step + 1):
        log.add_step(moved(step), float(step))
        if step % 2 == 0:
            log.add_report(report(step // 2, 2.5))


@pytest.mark.parametrize("name", NAMES)
def test_a_studys_folder_is_right_below_the_output(tmp_path: Path, name: str) -> None:
    folder = study_folder(tmp_path, name)
    assert folder.resolve().parent == tmp_path.resolve()
    folder.mkdir()


def test_no_two_studies_share_a_folder(tmp_path: Path) -> None:
    folders = [str(study_folder(tmp_path, name)).lower() for name in NAMES]
    assert len(set(folders)) == len(NAMES)


@pytest.mark.parametrize("name", ["demo", "sft_lora-2", "v1.2"])
def test_a_plain_name_is_its_folders(tmp_path: Path, name: str) -> None:
    assert study_folder(tmp_path, name) == tmp_path / name


def test_a_trials_folder_has_its_number(tmp_path: Path) -> None:
    assert trial_folder(tmp_path, "demo", 12) == tmp_path / "demo" / "trials" / "00012"


def test_a_step_has_llama_factorys_fields(tmp_path: Path) -> None:
    TrainerLog(tmp_path, [], 1).add_step(moved(3, total=12, train_loss=2.5), 30.0)
    assert lines(tmp_path) == [
        {
            "current_steps": 3,
            "total_steps": 12,
            "loss": 2.5,
            "lr": 1e-3,
            "epoch": 0.25,
            "percentage": 25.0,
            "elapsed_time": "0:00:30",
            "remaining_time": "0:01:30",
        }
    ]


def test_an_evaluation_has_llama_factorys_fields(tmp_path: Path) -> None:
    TrainerLog(tmp_path, [], 1).add_report(report(2, 2.25))
    assert lines(tmp_path) == [
        {
            "current_steps": 4,
            "total_steps": 10,
            "eval_loss": 2.25,
            "epoch": 0.4,
            "percentage": 40.0,
            "elapsed_time": "0:00:20",
            "remaining_time": "0:00:30",
        }
    ]


def test_a_resumed_log_drops_what_the_checkpoint_did_not_hold(tmp_path: Path) -> None:
    first_session(tmp_path, last_step=5)
    TrainerLog(tmp_path, curve(2.5), next_step=3)
    assert steps(tmp_path) == [(1, "step"), (2, "step"), (2, "eval")]


def test_a_resumed_log_tells_nothing_twice(tmp_path: Path) -> None:
    first_session(tmp_path, last_step=3)
    log = TrainerLog(tmp_path, curve(2.5), next_step=3)
    log.add_step(moved(3), 3.0)
    log.add_step(moved(4), 4.0)
    log.add_report(report(2, 2.5))
    expected = [[(step, "step"), (step, "eval")][: 2 - step % 2] for step in (1, 2, 3, 4)]
    assert steps(tmp_path) == list(itertools.chain(*expected))


def test_a_log_that_was_lost_gets_its_evaluations_back(tmp_path: Path) -> None:
    TrainerLog(tmp_path, curve(2.5, 2.4), next_step=5)
    assert steps(tmp_path) == [(2, "eval"), (4, "eval")]


@pytest.mark.parametrize("cut", ['{"current_steps": 4, "lo', "\0\0\0", '{"current_steps": 4, "loss": 2.5, "lr"'])
def test_a_last_line_that_a_kill_cut_off_is_dropped(tmp_path: Path, cut: str) -> None:
    first_session(tmp_path, last_step=2)
    with (tmp_path / LOG).open("a", encoding="utf8") as file:
        file.write(cut)
    log = TrainerLog(tmp_path, curve(2.5), next_step=3)
    log.add_step(moved(3), 3.0)
    assert steps(tmp_path) == [(1, "step"), (2, "step"), (2, "eval"), (3, "step")]


def test_settings_are_written_whole(tmp_path: Path) -> None:
    write_config(tmp_path / "new", {"lora_rank": 8}, {"alpha_ratio": 2})
    text = (tmp_path / "new" / CONFIG).read_text(encoding="utf8")
    assert json.loads(text) == {"config": {"lora_rank": 8}, "params": {"alpha_ratio": 2}}


def test_deleting_the_adapter_leaves_the_rest(tmp_path: Path) -> None:
    for name in (ADAPTER, *CHECKPOINTS):
        (tmp_path / name).mkdir()
    delete_adapter(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(CHECKPOINTS)


def test_deleting_checkpoints_leaves_the_adapter(tmp_path: Path) -> None:
    for name in (ADAPTER, *CHECKPOINTS):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    delete_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [ADAPTER]


def test_deleting_what_is_not_there_does_nothing(tmp_path: Path) -> None:
    delete_adapter(tmp_path / "nowhere")
    delete_checkpoints(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (59.9, "0:00:59"), (503, "0:08:23"), (90_000, "25:00:00")]
)
def test_time_is_told_as_llama_factory_does(seconds: float, text: str) -> None:
    assert clock(seconds) == text
