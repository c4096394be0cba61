"""Pictures of logged curves: valid, findings marked, and drawable whatever the log holds."""

import dataclasses
import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import style
from sweep.diagnosis_plots import MARKS, diagnosis_picture, place, source
from tests.trials.logs import curve
from trials.diagnosis import DIAGNOSES, diagnose
from trials.logged import LoggedCurve


def drawn(path: Path, found: LoggedCurve) -> Any:
    """The picture of a curve as an array [height, width, 4]; any warning fails."""
    from matplotlib.image import imread

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        diagnosis_picture(path, found, diagnose(found), "a $title$", "here")
    return imread(path)


def count(picture: Any, colour: str) -> int:
    from matplotlib.colors import to_rgb

    return int((abs(picture[:, :, :3] - to_rgb(colour)).max(axis=2) < 0.02).sum())


RISING = curve(lambda t: 2 - t, evaluation=lambda t: 1.4 + abs(t - 0.5))
HEALTHY = curve(lambda t: 1 + math.exp(-9 * t), evaluation=lambda t: 1.1 + math.exp(-9 * t))


def test_a_finding_is_shaded_from_where_it_starts(tmp_path: Path) -> None:
    sick, well = drawn(tmp_path / "a.png", RISING), drawn(tmp_path / "b.png", HEALTHY)
    axes = slice(110, 340)  # rows of the losses
    assert count(sick[axes], MARKS["over-fitting"]) > 100
    assert count(well[axes], MARKS["over-fitting"]) == 0
    for picture in (sick, well):
        assert min(count(picture, style.TRAINING), count(picture, style.EVALUATION)) > 100
    # The tint of the right half: less green than red.
    red, green = (np.median(sick[axes, :, channel], axis=0) for channel in (0, 1))
    assert (red - green)[700] > 0.03
    assert (red - green)[200] <= 0.01


def test_every_state_has_a_mark() -> None:
    assert set(MARKS) == set(DIAGNOSES)


@pytest.mark.parametrize(
    "found",
    [
        LoggedCurve(()),
        curve(lambda _: math.nan),
        curve(lambda t: 1.0, points=1, rate=None),
        LoggedCurve((), HEALTHY.evaluations, 600),
        dataclasses.replace(HEALTHY, evaluations=dict.fromkeys("abcdefgh", HEALTHY.evaluations[""])),
        curve(lambda t: 1e30 if t > 0.5 else 1.0),
        curve(lambda t: 1 + math.exp(-9 * t), points=100_000),
    ],
    ids=["none", "nan", "one", "evaluations", "eight sets", "huge", "many"],
)
def test_odd_curves_are_drawn(found: LoggedCurve, tmp_path: Path) -> None:
    assert drawn(tmp_path / "made" / "a.png", found).shape == (500, 900, 4)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["a.png"]


def test_a_place_is_free_or_the_logs_own(tmp_path: Path) -> None:
    log = tmp_path / "trainer_log.jsonl"
    first = place(log, 1, 1, None)
    assert first == tmp_path / "trainer_log.png"
    diagnosis_picture(first, HEALTHY, diagnose(HEALTHY), "t", source(log, 1))
    assert place(log, 1, 1, None) == first
    diagnosis_picture(first, HEALTHY, diagnose(HEALTHY), "t", source(log, 2))
    assert place(log, 1, 1, None) == tmp_path / "trainer_log-2.png"
    first.unlink()
    first.symlink_to(tmp_path / "nowhere")
    assert place(log, 1, 1, None) == tmp_path / "trainer_log-2.png"


@pytest.mark.parametrize("name", ["$x^$", "$\\frac$", "a$b", "two\nlines", "x" * 300])
def test_the_name_of_an_evaluation_set_is_shown_as_it_is(name: str, tmp_path: Path) -> None:
    named = dataclasses.replace(HEALTHY, evaluations={name: HEALTHY.evaluations[""]})
    assert drawn(tmp_path / "named.png", named).shape == drawn(tmp_path / "plain.png", HEALTHY).shape


def test_a_log_may_lie_in_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    log = tmp_path / os.fsdecode(b"\xff") / "trainer_log.jsonl"
    path = place(log, 1, 1, tmp_path)
    diagnosis_picture(path, HEALTHY, diagnose(HEALTHY), str(log), source(log, 1))
    assert place(log, 1, 1, tmp_path) == path  # known again as the same log's
