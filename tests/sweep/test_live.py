"""The live view as a terminal would show it."""

import io
import re
from collections.abc import Callable
from math import nan
from threading import Thread
from time import monotonic, sleep
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from sweep.live import HEADER, LiveProgress, bar_line, ended_rows, running_row
from sweep.progress import (
    PlainProgress,
    make_progress,
)
from tests.sweep.views import COLOURS, ESCAPES, shown, study, terminal, trial, visible


def test_a_parked_trial_leaves_the_view_without_a_line() -> None:
    """It comes again, or ends with a reason."""
    console = terminal()
    with make_progress(console, 1) as progress:
        assert isinstance(progress, LiveProgress)
        view = trial(14, eval_losses=[3.0])
        progress.trial_started(view)
        view.state, view.reason = "parked", "heads for 2.353, the leader for 2.200"
        progress.trial_ended(view)
        assert progress.lines(80, 24, colour=False) == []
        view.state = "running"
        progress.trial_started(view)
        assert len(progress.lines(80, 24, colour=False)) == 2
    assert "parked" not in shown(console)


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
