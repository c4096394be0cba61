"""Curve pictures: valid, of their size, and honest about what they cannot draw."""

import subprocess
import sys
import warnings
from math import inf, isnan, nan
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from sweep import plots, style
from sweep.plots import TrainingPoint, curve_picture, smoothed
from trials.report import Report


def reports(
    evals: list[float], trains: list[float] | None = None, total: int | None = None, rate: float = 7.1e-4
) -> list[Report]:
    trains = trains or [value + 0.1 for value in evals]
    total = total or len(evals)
    return [
        Report(i + 1, total, 8 * (i + 1), 8 * total, 0, 0.0, train, loss, rate, 1.0, 1.0, 0)
        for i, (train, loss) in enumerate(zip(trains, evals, strict=True))
    ]


def pixels(path: Path) -> Any:
    """The picture as an array [height, width, 4] of floats; fails when the file is no PNG."""
    from matplotlib.image import imread

    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    return imread(path)


def count(picture: Any, colour: str) -> int:
    """Pixels of exactly this colour."""
    from matplotlib.colors import to_rgb

    return int((abs(picture[:, :, :3] - to_rgb(colour)).max(axis=2) < 0.01).sum())


FALLING = [4.0 - 1.5 * (1 - 0.9**i) for i in range(30)]


@pytest.mark.parametrize(
    "curve",
    [
        [],
        [2.7],
        FALLING,
        [2.7, nan, 2.6, inf, -inf, 2.5],
        [nan],
        [nan, inf],
        [2.5, 1e30, 2.4],
        [0.0, 0.0],
        [*FALLING, nan, nan],
    ],
    ids=["none", "one", "thirty", "gaps", "nan", "all lost", "huge", "zero", "diverges"],
)
def test_picture_is_a_small_png_of_its_size(curve: list[float], tmp_path: Path) -> None:
    path = tmp_path / "made" / "curve.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve_picture(path, reports(curve), title="trial 3", subtitle="8:8 attention", prune_reason="late")
    assert pixels(path).shape == (500, 900, 4)
    assert path.stat().st_size < 80_000
    assert [file.name for file in path.parent.iterdir()] == ["curve.png"]


def test_no_reports_draw_no_curve_but_words(tmp_path: Path) -> None:
    curve_picture(tmp_path / "none.png", [], title="t")
    picture = pixels(tmp_path / "none.png")
    assert count(picture, style.EVALUATION) == count(picture, style.TRAINING) == 0
    assert (picture[200:300, 200:700, :3] < 0.6).sum() > 200


def test_one_report_shows_every_series_and_the_best(tmp_path: Path) -> None:
    curve_picture(tmp_path / "one.png", reports([2.7]), title="t")
    picture = pixels(tmp_path / "one.png")
    axes = picture[80:, 90:]  # without the legend
    for colour in (style.TRAINING, style.BEST, style.LEARNING_RATE):
        assert count(axes, colour) > 3


def test_diverged_points_are_marked_at_the_top_edge(tmp_path: Path) -> None:
    healthy = [3.0, 2.9, 2.8, 2.7]
    for name, last in {"nan": nan, "inf": inf, "huge": 1e6, "fine": 2.6}.items():
        curve_picture(tmp_path / f"{name}.png", reports([*healthy, last], [*healthy, 2.6]), title="t")
    edge = {name: pixels(tmp_path / f"{name}.png")[95:150, 800:] for name in ("nan", "inf", "huge", "fine")}
    assert count(edge["fine"], style.EVALUATION) == 0
    for name in ("nan", "inf", "huge"):
        assert count(edge[name], style.EVALUATION) > 20


def test_a_pruned_trial_shows_what_was_not_run_and_why(tmp_path: Path) -> None:
    curve_picture(tmp_path / "a.png", reports([3.0, 2.9], total=10), title="t")
    curve_picture(tmp_path / "b.png", reports([3.0, 2.9], total=10), title="t", prune_reason="too late")
    plain, pruned = pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png")
    # A tint of orange: less blue than red, right of the curve.
    assert (plain[150, 400:850, 0] - plain[150, 400:850, 2]).max() < 0.01
    assert (pruned[150, 400:800, 0] - pruned[150, 400:800, 2]).min() > 0.03
    assert (plain[465:495, :400, :3] < 0.5).sum() == 0
    assert (pruned[465:495, :400, :3] < 0.5).sum() > 100


def test_words_are_cut_to_the_picture_and_not_read_as_markup(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), dpi=100)
    for words in ("W" * 300, "<b>[red]$\\frac{1}$ " * 20, "short $x_1$ <b>\nname"):
        plots.text_line(figure, 0.02, 0.9, words, 13, "black", weight="bold")
    long, marked, short = figure.texts
    assert long.get_text().endswith("W…")
    assert short.get_text() == "short $x_1$ <b> name"
    assert marked.get_text().startswith("<b>[red]$\\frac{1}$ <b>")
    for text in figure.texts:
        assert text.get_window_extent().x1 <= 890
        assert text.get_parse_math() is False
    bad = "$\\frac{ [red] <b> " * 30
    curve_picture(tmp_path / "bad.png", reports(FALLING), title=bad, subtitle=bad, prune_reason=bad)
    assert (pixels(tmp_path / "bad.png")[:, 893:, :3] < 0.5).sum() == 0


def test_legend_fits_with_all_its_entries(tmp_path: Path) -> None:
    curve = reports([*FALLING[:12], nan], total=99_999)
    curve_picture(tmp_path / "full.png", curve, title="t", prune_reason="r")
    assert (pixels(tmp_path / "full.png")[50:90, 893:, :3] < 0.9).sum() == 0


def test_an_older_picture_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    path.write_text("old")
    curve_picture(path, reports([2.7]), title="t")
    assert pixels(path).shape == (500, 900, 4)


def test_threads_draw_the_same_pictures_as_one_thread(tmp_path: Path) -> None:
    def draw(folder: str, index: int) -> None:
        path = tmp_path / folder / f"{index}.png"
        curve_picture(path, reports([value + index for value in FALLING]), title=f"trial {index}")

    threads = [Thread(target=draw, args=("many", index)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    for index in range(6):
        draw("one", index)
        assert (tmp_path / "many" / f"{index}.png").read_bytes() == (tmp_path / "one" / f"{index}.png").read_bytes()


def test_smoothing_averages_neighbours_and_keeps_ends_and_gaps() -> None:
    assert smoothed([1.0, 4.0, 1.0, 4.0, 1.0], 1) == pytest.approx([1.0, 2.0, 3.0, 2.0, 1.0])
    assert smoothed([1.0, 2.0, 3.0], 0) == [1.0, 2.0, 3.0]
    assert smoothed([], 2) == []
    gap = smoothed([1.0, 2.0, nan, 4.0, 5.0], 1)
    assert gap[1] == pytest.approx(1.5)
    assert isnan(gap[2])
    assert gap[3] == pytest.approx(4.5)


def test_smoothing_follows_a_straight_line_without_lag() -> None:
    line = [3.0 - 0.1 * i for i in range(20)]
    assert smoothed(line, 3) == pytest.approx(line)


def test_importing_the_views_loads_neither_matplotlib_nor_torch() -> None:
    program = (
        "import sys, sweep.plots, sweep.live;"
        "print([name for name in ('matplotlib', 'torch', 'optuna') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    answer = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_steps_of_the_log_are_drawn_instead_of_the_reports_means(tmp_path: Path) -> None:
    curve = reports([3.0, 2.9, 2.8])
    steps = [TrainingPoint(step, 3.5 - step / 40, 1e-4) for step in range(1, curve[-1].step + 1)]
    curve_picture(tmp_path / "means.png", curve, title="t")
    curve_picture(tmp_path / "steps.png", curve, title="t", training=steps)
    assert (tmp_path / "means.png").read_bytes() != (tmp_path / "steps.png").read_bytes()
