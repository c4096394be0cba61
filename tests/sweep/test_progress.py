"""The plain lines to the letter, the time left, and how numbers are written."""

from math import inf, nan

import pytest
from rich.console import Console

from sweep import style
from sweep.live import Pace
from sweep.progress import (
    PlainProgress,
    Progress,
    TrialView,
    format_duration,
    format_learning_rate,
    format_speed,
    make_progress,
)
from sweep.sparkline import sparkline
from tests.sweep.views import Ascii, plain, shown, study, terminal, trial


def test_plain_start() -> None:
    assert plain(lambda p: p.trial_started(trial())) == "trial 15  started   8:8 attention lr 5.0e-4\n"


def test_plain_resume_says_where_it_goes_on() -> None:
    view = trial(eval_losses=[3.0, 2.9])
    expected = "trial 15  resumed   8:8 attention lr 5.0e-4  from 2 of 10\n"
    assert plain(lambda p: p.trial_started(view)) == expected


def test_plain_evaluation_stays_one_line_on_a_narrow_pipe() -> None:
    view = trial(eval_losses=[3.1, 2.9, 2.753], step=24, train_loss=2.91, tokens_per_second=212.4)
    expected = "trial 15  3 of 10   step 24 of 80  train 2.91  eval 2.753  212 tok/s\n"
    assert plain(lambda p: p.trial_reported(view)) == expected


def test_plain_parking_tells_why() -> None:
    view = trial(eval_losses=[3.1, 2.9], state="parked", reason="heads for 2.353, the leader for 2.200")
    expected = "trial 15  parked    2 of 10  best 2.900  heads for 2.353, the leader for 2.200\n"
    assert plain(lambda p: p.trial_ended(view)) == expected


def test_plain_step_prints_nothing() -> None:
    assert plain(lambda p: p.trial_moved(trial(step=3))) == ""


def test_plain_pruned() -> None:
    view = trial(
        state="pruned",
        eval_losses=[3.1, 2.9, 2.753, 2.72, 2.702, 2.71],
        reason="projected 2.66 ± 0.02,\nbest is 2.58",
    )

    def tell(progress: Progress) -> None:
        progress.study_moved(study())
        progress.trial_ended(view)

    assert plain(tell) == (
        "trial 15  pruned    6 of 10  best 2.702  projected 2.66 ± 0.02, best is 2.58"
        "   [15 of 24, best 2.581, 41 % of steps saved]\n"
    )


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (
            trial(2, state="complete", eval_losses=[2.6] * 10, best=True),
            "trial 2  complete  10 of 10  best 2.600  best so far\n",
        ),
        (trial(3, state="failed", reason="worker died"), "trial 3  failed    0 of 10  worker died\n"),
        (
            trial(4, state="interrupted", eval_losses=[nan, 2.5]),
            "trial 4  interrupted 2 of 10  best 2.500\n",
        ),
        (trial(5, state="failed", eval_losses=[nan, inf]), "trial 5  failed    2 of 10\n"),
    ],
)
def test_plain_endings(view: TrialView, expected: str) -> None:
    assert plain(lambda p: p.trial_ended(view)) == expected


def test_plain_shows_markup_and_takes_out_escapes() -> None:
    view = trial(lora_target="[red]q[/red]", reason=":smile: [bold]x\x1b[31m")
    assert "8:8 [red]q[/red] lr" in plain(lambda p: p.trial_started(view))
    told = plain(lambda p: p.trial_ended(view))
    assert ":smile: [bold]x [31m" in told
    assert "\x1b" not in told
    assert plain(lambda p: p.say("note [red]a[/red]\x07")) == "note [red]a[/red] \n"


def test_plain_has_no_colour_even_on_a_terminal() -> None:
    console = terminal()
    PlainProgress(console).trial_ended(trial(state="failed", reason="1.5 of 'x'"))
    assert "\x1b" not in shown(console)


def test_ascii_terminal_gets_plain_lines_that_it_can_print() -> None:
    console = Console(file=Ascii(), force_terminal=True, _environ={"TERM": "xterm"})
    progress = make_progress(console, 2)
    assert isinstance(progress, PlainProgress)
    progress.say("2.66 ± 0.02")
    assert shown(console) == "2.66 ? 0.02\n"


def test_time_left_follows_this_sessions_pace() -> None:
    pace = Pace(slots=2, start=100.0)
    resumed, fresh = trial(1, step=40), trial(2)
    pace.saw(study(finished=10, total=14))
    pace.started(resumed)
    pace.started(fresh)
    fresh.step = 40
    assert pace.seconds_left([resumed, fresh], study(finished=10, total=14), 150.0) is None
    resumed.state, resumed.step = "complete", 80
    pace.ended(resumed)
    # Half a trial of the resumed one and half of the fresh one took 60 s; two and a half are left.
    now = study(finished=11, total=14)
    pace.saw(now)
    assert pace.seconds_left([fresh], now, 160.0) == pytest.approx(60 * 2.5)
    assert pace.seconds_left([fresh], study(finished=14, total=14), 160.0) is None


def test_time_left_is_no_less_than_the_last_trial_needs_alone() -> None:
    pace = Pace(slots=4, start=0.0)
    done = [trial(number, state="complete") for number in range(4)]
    for view in done:
        pace.started(view)
    for view in done:
        pace.ended(view)
    last = trial(4)
    pace.started(last)
    # Four at a time took 100 s each; the fifth runs alone and takes its own 100 s, not a fourth of it.
    assert pace.seconds_left([last], study(finished=4, total=5), 100.0) == pytest.approx(100.0)


def test_time_left_counts_what_other_machines_finish_but_no_failure() -> None:
    pace = Pace(slots=1, start=0.0)
    pace.saw(study(finished=0))
    view = trial(state="failed")
    pace.started(view)
    pace.ended(view)
    assert pace.seconds_left([], study(finished=0), 10.0) is None
    view.state = "pruned"
    pace.started(view)
    pace.ended(view)
    now = study(finished=4, total=24)  # three of them elsewhere
    pace.saw(now)
    assert pace.seconds_left([], now, 40.0) == pytest.approx(10.0 * 20)


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], 10, ""),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 10, "▁▂▃▄▅▆▇█"),
        ([2.0, 2.0], 10, "▁▁"),
        ([3.0, nan, 1.0, inf, -inf], 10, "█×▁××"),
        ([nan, nan], 10, "××"),
        ([8.0, 8.0, 6.0, 6.0, 1.0, 1.0], 3, "█▆▁"),
        ([8.0, nan, 1.0, 1.0], 2, "×▁"),
        ([1e308, -1e308, 0.0], 10, "█▁▅"),
        ([1e308, 1e308, 1.0, 1.0], 2, "█▁"),
    ],
)
def test_sparkline(values: list[float], width: int, drawn: str) -> None:
    assert sparkline(values, width) == drawn


def test_sparkline_refuses_no_width() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        sparkline([1.0], 0)


@pytest.mark.parametrize(
    ("rate", "written"),
    [(7.12e-4, "7.1e-4"), (5.0e-4, "5.0e-4"), (1e-12, "1.0e-12"), (0.0, "0.0e0"), (nan, "nan")],
)
def test_learning_rate(rate: float, written: str) -> None:
    assert format_learning_rate(rate) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (-1, "less than 1 min"),
        (59, "less than 1 min"),
        (61, "about 1 min"),
        (185, "about 3 min"),
        (3_599, "about 1 h"),
        (7_800, "about 2 h 10 min"),
        (36_100, "about 10 h"),
        (100_000, "about 28 h"),
        (260_000, "about 3 days"),
        (inf, "an unknown time"),
    ],
)
def test_duration(seconds: float, written: str) -> None:
    assert format_duration(seconds) == written


def test_speed_stays_short() -> None:
    assert format_speed(211.6) == "212 tok/s"
    assert format_speed(21_400) == "21k tok/s"


def test_colours_of_states_and_of_series_are_told_apart() -> None:
    parked = style.STATES["parked"]
    assert parked == style.STATES["interrupted"], "both wait to go on"
    assert len(set(style.STATES.values())) == len(style.STATES) - 1
    assert len({style.TRAINING, style.EVALUATION, style.LEARNING_RATE, style.BEST, style.PRUNED}) == 5
