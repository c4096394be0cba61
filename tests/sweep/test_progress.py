"""The plain lines to the letter, and the live view as a terminal would show it."""

import io
import re
from collections.abc import Callable
from math import inf, nan
from threading import Thread
from time import monotonic, sleep
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from sweep import style
from sweep.live import HEADER, LiveProgress, Pace, bar_line, ended_rows, running_row
from sweep.progress import (
    PlainProgress,
    Progress,
    StudyView,
    TrialView,
    format_duration,
    format_learning_rate,
    format_speed,
    make_progress,
)
from sweep.sparkline import sparkline

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOURS = re.compile(r"\x1b\[[0-9;]*\b(?:3[0-7]|4[0-7]|38|48|9[0-7])\b[0-9;]*m")


def trial(number: int = 15, **changes: object) -> TrialView:
    view = TrialView(number, 8, 8, "attention", 5.0e-4, total_evaluations=10, total_steps=80)
    for name, value in changes.items():
        setattr(view, name, value)
    return view


def study(**changes: object) -> StudyView:
    view = StudyView("sft_lora", total=24, finished=15, best_value=2.581, steps_spent=590, steps_saved=410)
    for name, value in changes.items():
        setattr(view, name, value)
    return view


def terminal(width: int = 80, height: int = 24, **environment: str) -> Console:
    # Not the environment that the tests run in: TERM=dumb or NO_COLOR there would change what is drawn.
    environ = {"TERM": "xterm-256color", **environment}
    return Console(file=Utf8(), force_terminal=True, width=width, height=height, _environ=environ)


class Utf8(io.StringIO):
    encoding = "utf-8"


class Ascii(io.StringIO):
    encoding = "ascii"


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def visible(console: Console) -> list[str]:
    """The lines a terminal would hold: those that were erased to be redrawn are gone."""
    lines = [""]
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", shown(console)):
        if token == "\n":
            lines.append("")
        elif token == "\x1b[1A":
            lines.pop()
        elif token == "\x1b[2K":
            lines[-1] = ""
        elif token == "\r" or token.startswith("\x1b"):
            continue
        else:
            lines[-1] += token
    return [line.rstrip() for line in lines if line.strip()]


def plain(tell: Callable[[Progress], None]) -> str:
    console = Console(file=io.StringIO(), width=40, _environ={})
    with make_progress(console, 2) as progress:
        assert isinstance(progress, PlainProgress)
        tell(progress)
    return shown(console)


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


def test_terminal_gets_the_live_view_and_a_dumb_one_does_not() -> None:
    assert isinstance(make_progress(terminal(), 2), LiveProgress)
    assert isinstance(make_progress(terminal(TERM="dumb"), 2), PlainProgress)


def session(console: Console) -> None:
    """Four trials in several states, with names and reasons that try to break the table."""
    with make_progress(console, 2) as progress:
        progress.say("note   [red]not red[/red]")
        views = [
            trial(14, lora_rank=16, lora_alpha=32, lora_target="all", learning_rate=7.1e-4),
            trial(15, lora_target="[red]q_proj[/red],v_proj"),
            trial(16, tokens_per_second=212.0, step=240, total_steps=8000, eval_losses=[2.7, 2.644]),
            trial(17, lora_rank=1024, lora_alpha=2048, total_steps=0),
        ]
        for view in views:
            progress.trial_started(view)
        views[0].eval_losses.extend([3.0, 2.8, 2.6, 2.581])
        views[0].state, views[0].best = "complete", True
        progress.study_moved(study())
        progress.trial_ended(views[0])
        views[1].eval_losses.extend([3.0, nan, 2.702])
        views[1].state, views[1].reason = (
            "pruned",
            "projected 2.66 ± 0.02,\nbest [b]is[/b] 2.58 " + "long " * 80,
        )
        progress.study_moved(study(finished=16))
        progress.trial_ended(views[1])


@pytest.mark.parametrize("width", [30, 60, 80, 140])
def test_live_lines_are_never_wider_than_the_terminal(width: int) -> None:
    console = terminal(width)
    session(console)
    text = ESCAPES.sub("", shown(console).replace("\r", "\n"))
    assert max(len(line) for line in text.split("\n")) <= width
    # Too long rows are cut, not broken: one line for each trial, ended or running.
    lines = visible(console)
    assert lines[1] == (HEADER if width >= len(HEADER) else HEADER[: width - 1] + "…").rstrip()
    assert len([line for line in lines if re.match(" {5}1[4-7] ", line)]) == 4
    assert len(lines) == 1 + 1 + 4 + 3 + 1  # note, header, trials, reason, bar


def test_live_view_at_80_columns() -> None:
    console = terminal()
    session(console)
    lines = visible(console)
    assert lines[0] == "note   [red]not red[/red]"
    assert lines[1] == HEADER
    assert lines[2] == "     14    16:32     all        7.1e-4   2.581 █▅▁▁        complete, best so far"
    assert lines[3] == "     15     8:8      [red]q_p…  5.0e-4   2.702 █×▁         pruned at 3 of 10"
    assert lines[4] == "         projected 2.66 ± 0.02, best [b]is[/b] 2.58 long long long long long"
    assert lines[6] == "         " + "long " * 14 + "…"
    assert lines[7] == "     16     8:8      attention  5.0e-4   2.644 █▁          240/8000  212 tok/s"
    assert lines[8] == "     17  1024:2048   attention  5.0e-4                     starting"
    assert lines[9].startswith("  ━━━━")
    assert "  16 of 24   best 2.581   41 % of steps saved   less than 1 min left" in lines[9]
    assert len(lines) == 10


def test_live_wide_terminal_keeps_the_reason_beside_the_state() -> None:
    view = trial(state="pruned", eval_losses=[3.0, 2.702], reason="projected 2.66 ± 0.02, best is 2.58")
    (row,) = ended_rows(view, terminal(120))
    assert row.plain.endswith("pruned at 2 of 10: projected 2.66 ± 0.02, best is 2.58")
    row = running_row(trial(step=24, tokens_per_second=212.0), 120)
    assert row.plain.endswith("running  step 24 of 80  212 tok/s")


def test_live_long_state_is_shortened_before_it_is_cut() -> None:
    (row,) = ended_rows(trial(state="interrupted", eval_losses=[2.0] * 6), terminal(80))
    assert row.plain.endswith("  interrupted at 6/10")


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_live_colour(environment: dict[str, str], coloured: bool) -> None:
    console = terminal(80, 24, **environment)
    session(console)
    assert bool(COLOURS.search(shown(console))) is coloured


def test_live_bar_without_colour_leaves_the_rest_blank() -> None:
    console = terminal(120, NO_COLOR="1")
    with make_progress(console, 1) as progress:
        progress.study_moved(study(finished=12))
    assert visible(console)[-1].startswith("  " + "━" * 20 + " " * 20 + "  12 of 24")


def test_live_says_how_many_trials_do_not_fit() -> None:
    progress = LiveProgress(terminal(height=8), 20)
    for number in range(20):
        progress.trial_started(trial(number))
    lines = progress.lines(80, 8, colour=True)
    assert len(lines) <= 7
    assert lines[-1].plain == "  and 16 more running"


def test_live_late_heartbeat_does_not_bring_an_ended_trial_back() -> None:
    console = terminal()
    with make_progress(console, 1) as progress:
        view = trial()
        progress.trial_started(view)
        view.state = "complete"
        progress.trial_ended(view)
        progress.trial_moved(view)
    assert [line for line in visible(console) if "attention" in line] == [visible(console)[1]]


def test_live_view_redraws_by_itself_and_only_when_something_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.live.SECONDS_PER_FRAME", 0.01)
    console = terminal()
    with make_progress(console, 1) as progress:
        view = trial()
        progress.trial_started(view)
        view.step = 33
        wait_for(lambda: "step 33/80" in shown(console))
        drawn = len(shown(console))
        assert not happens(lambda: len(shown(console)) > drawn, seconds=0.1)
        view.step = 34
        wait_for(lambda: "step 34/80" in shown(console))


def happens(check: Callable[[], bool], seconds: float) -> bool:
    end = monotonic() + seconds
    while monotonic() < end:
        if check():
            return True
        sleep(0.005)
    return False


def wait_for(check: Callable[[], bool]) -> None:
    assert happens(check, seconds=20)


@pytest.mark.parametrize("on_terminal", [True, False])
def test_threads_lose_no_line_and_leave_no_stale_one(on_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_bar(*facts: Any) -> Text:
        sleep(0.001)  # another thread's turn, in the middle of a frame
        return bar_line(*facts)

    monkeypatch.setattr("sweep.live.SECONDS_PER_FRAME", 0.001)
    monkeypatch.setattr("sweep.live.bar_line", slow_bar)
    console = terminal() if on_terminal else Console(file=io.StringIO(), _environ={})

    def work(first: int) -> None:
        for number in range(first, first + 5):
            view = trial(number)
            sleep(0.001 * (number % 4))  # so that the view's height changes
            progress.trial_started(view)
            for step in range(1, 1 + number % 3):
                view.step = step * 8
                view.eval_losses.append(3.0 - step / 10)
                progress.trial_moved(view)
                progress.trial_reported(view)
                sleep(0.001)
            view.state = "complete"
            progress.study_moved(study(finished=number))
            progress.trial_ended(view)

    with make_progress(console, 8) as progress:
        progress.study_moved(study(finished=0))
        threads = [Thread(target=work, args=(first,)) for first in range(0, 40, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
            assert not thread.is_alive(), "deadlock"
    if on_terminal:
        lines = visible(console)
        rows = [line for line in lines if line.endswith("complete")]
        assert len(lines) == 40 + 2 + 1  # rows, a header every twenty, the bar
        numbers = sorted(int(line.split()[0]) for line in rows)
    else:
        ended = [line for line in shown(console).splitlines() if "  complete  " in line]
        numbers = sorted(int(line.split()[1]) for line in ended)
    assert numbers == list(range(40))


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
    assert len(set(style.STATES.values())) == len(style.STATES)
    assert len({style.TRAINING, style.EVALUATION, style.LEARNING_RATE, style.BEST, style.PRUNED}) == 5
