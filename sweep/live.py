"""The live view of a sweep on a terminal: ended trials scroll away above, running ones and a bar stay."""

import time
from collections.abc import Callable, Iterator, Sequence
from math import isfinite
from threading import Event, Lock, RLock, Thread
from types import TracebackType
from typing import Final, Self

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.text import Text

from sweep import style
from sweep.progress import (
    StudyView,
    TrialView,
    format_duration,
    format_learning_rate,
    format_speed,
    one_line,
    printable,
    study_facts,
)
from sweep.sparkline import sparkline

SECONDS_PER_FRAME: Final = 0.5
# A header scrolls away with the trials under it: say it again before a small terminal has lost it.
ROWS_PER_HEADER: Final = 20
MAX_REASON_LINES: Final = 3
MAX_BAR: Final = 40
MIN_BAR: Final = 6
GAP: Final = "  "
HEADER: Final = f"  trial  rank:alpha  {'target':<9}  {'lr':<7}  {'loss':<16}  state"
STATE_COLUMN: Final = HEADER.index("state")
REASON_COLUMN: Final = HEADER.index("rank")


class LiveProgress:
    """Draws the sweep in place, at most twice a second and only when it changed, from the trials' views.

    Two locks, taken in this order. `_drawing` lets one thread at a time draw: rich works out how far to move
    the cursor up before it renders, so two threads that print at once would leave stale lines. `_lock` guards
    this object's state; it is held for moments and never while printing, so no step waits for a terminal.
    """

    def __init__(self, console: Console, total_slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._pace = Pace(total_slots, clock())
        self._running: dict[int, TrialView] = {}
        self._study: StudyView | None = None
        self._rows = 0
        self._drawing = RLock()
        self._lock = Lock()
        self._live = Live(_Frame(self.lines), console=console, auto_refresh=False, vertical_overflow="crop")
        self._stopped = Event()
        self._thread = Thread(target=self._redraw, name="live view", daemon=True)

    def trial_started(self, trial: TrialView) -> None:
        """Add the trial's row."""
        self.trial_moved(trial)

    def trial_moved(self, trial: TrialView) -> None:
        """Know the trial: the next frame reads it."""
        with self._lock:
            # A heartbeat may come late: an ended trial does not come back.
            if trial.state == "running" and trial.number not in self._running:
                self._running[trial.number] = trial
                self._pace.started(trial)

    def trial_reported(self, trial: TrialView) -> None:
        """Know the trial: the next frame reads it."""
        self.trial_moved(trial)

    def trial_ended(self, trial: TrialView) -> None:
        """Print the trial's last row above the view, where it stays."""
        with self._drawing:
            with self._lock:
                self._running.pop(trial.number, None)
                self._pace.ended(trial)
                if trial.state == "parked":
                    return  # it comes again, or ends with a reason
                lines = [header()] if self._rows % ROWS_PER_HEADER == 0 else []
                self._rows += 1
            lines += ended_rows(trial, self._console)
            self._console.print(Text("\n").join(lines), no_wrap=True, overflow="ellipsis")

    def study_moved(self, study: StudyView) -> None:
        """Let the next frame show the study's counts."""
        with self._lock:
            self._study = study
            self._pace.saw(study)

    def say(self, line: str) -> None:
        """Print a line above the view, where it stays."""
        with self._drawing:
            self._console.print(Text(printable(line)))

    def __enter__(self) -> Self:
        self._pace.start = self._clock()
        self._live.start(refresh=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        with self._drawing:
            self._live.stop()

    def lines(self, width: int, height: int, colour: bool) -> list[Text]:
        """The view at this moment: a row a running trial, as many as fit the terminal, and the bar."""
        with self._lock:
            running = list(self._running.values())
            study = self._study
            left = self._pace.seconds_left(running, study, self._clock()) if study else None
            lines = [header()] if running and not self._rows else []
        room = max(height - 3 - len(lines), 1)
        lines += [running_row(trial, width) for trial in running[:room]]
        if len(running) > room:
            lines.append(Text(f"{GAP}and {len(running) - room} more running", style="dim"))
        if study:
            lines.append(bar_line(study, running, left, width, colour))
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return lines

    def _redraw(self) -> None:
        """Draw a frame when it differs from the last one: long steps leave most frames as they were."""
        drawn: list[str] = []
        while not self._stopped.wait(SECONDS_PER_FRAME):
            width, height = self._console.size
            frame = [line.plain for line in self.lines(width, height, colour=True)]
            if frame != drawn:
                with self._drawing:
                    self._live.refresh()
                drawn = frame


class _Frame:
    """Renders the view anew whenever rich draws it: a printed row must not meet its own stale running row."""

    def __init__(self, lines: Callable[[int, int, bool], list[Text]]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        colour = console.color_system is not None and not console.no_color
        yield from self._lines(options.max_width, console.height, colour)


class Pace:
    """Estimates the time left from this session's own pace.

    The work left is shared by all who work on the study, but it never takes less than what the running trial
    that is furthest from its end needs by itself.
    """

    def __init__(self, slots: int, start: float) -> None:
        self.start = start
        self._slots = max(slots, 1)
        self._begun = 0
        self._finished = 0
        self._finished_before: int | None = None
        self._finished_elsewhere = 0
        self._work = 0.0  # in trials
        self._fraction_at_start: dict[int, float] = {}

    def started(self, trial: TrialView) -> None:
        """Note where a trial starts: what an earlier session did is not this session's work."""
        self._begun += 1
        self._fraction_at_start[trial.number] = trial.fraction

    def ended(self, trial: TrialView) -> None:
        """Count a finished trial whole, pruned or not: those to come will be pruned about as often."""
        before = self._fraction_at_start.pop(trial.number, 0.0)
        if trial.state in ("complete", "pruned"):
            self._finished += 1
            self._work += 1.0 - before

    def saw(self, study: StudyView) -> None:
        """Learn what other machines finished since this session started."""
        if self._finished_before is None:
            self._finished_before = study.finished - self._finished
        self._finished_elsewhere = max(study.finished - self._finished_before - self._finished, 0)

    def seconds_left(self, running: Sequence[TrialView], study: StudyView, now: float) -> float | None:
        """Seconds until the study has all its trials; None until a trial finished here, and at the end."""
        if self._finished == 0 or study.finished >= study.total:
            return None
        under_way = sum(trial.fraction for trial in running)
        before = sum(self._fraction_at_start.get(trial.number, 0.0) for trial in running)
        done_here = max(self._work + under_way - before, 1e-9)
        seconds = now - self.start
        together = seconds / (done_here + self._finished_elsewhere) * (study.total - study.finished - under_way)
        # A trial's own time: as many of them shared this session's as it ran at once.
        longest = max((1.0 - trial.fraction for trial in running), default=0.0)
        alone = seconds / done_here * min(self._slots, self._begun) * longest
        return max(together, alone)


def header() -> Text:
    """The columns' names."""
    return Text(HEADER, style="dim")


def running_row(trial: TrialView, width: int) -> Text:
    """One line for a running trial, in as many words as the width allows."""
    speed = f"{GAP}{format_speed(trial.tokens_per_second)}" if trial.tokens_per_second > 0 else ""
    if trial.total_steps <= 0:
        states = ["starting"]
    else:
        steps = f"{trial.step}/{trial.total_steps}"
        states = [
            f"running  step {trial.step} of {trial.total_steps}{speed}",
            f"step {steps}{speed}",
            f"{steps}{speed}",
            steps,
        ]
    room = width - STATE_COLUMN
    state = next((words for words in states if cell_len(words) <= room), states[-1])
    return _columns(trial).append(state, style=style.RUNNING)


def ended_rows(trial: TrialView, console: Console) -> list[Text]:
    """An ended trial's line, with its reason behind it where it fits, and else in lines under it."""
    state = trial.state
    if state in ("pruned", "interrupted"):
        state = f"{state} at {trial.evaluations}"
    if trial.best:
        state = f"{state}, best so far"
    if cell_len(state) > console.width - STATE_COLUMN:
        state = state.replace(" of ", "/")
    colour = style.BEST if trial.best else style.STATES.get(trial.state, "")
    row = _columns(trial).append(state, style=colour)
    reason = one_line(trial.reason)
    if not reason:
        return [row]
    if cell_len(row.plain) + 2 + cell_len(reason) <= console.width:
        return [row.append(f": {reason}")]
    room = max(console.width - REASON_COLUMN, 20)
    wrapped = Text(reason).wrap(console, room)
    kept = list(wrapped[:MAX_REASON_LINES])
    if len(wrapped) > MAX_REASON_LINES:
        kept[-1] = Text(kept[-1].plain.rstrip() + " …")
        kept[-1].truncate(room, overflow="ellipsis")
    return [row, *(Text(" " * REASON_COLUMN).append(line.plain.rstrip()) for line in kept)]


def bar_line(
    study: StudyView, running: Sequence[TrialView], seconds_left: float | None, width: int, colour: bool
) -> Text:
    """The study's bar and counts; the bar gives way where they need the room."""
    facts = study_facts(study)
    if seconds_left is not None:
        facts.append(f"{format_duration(seconds_left)} left")
    told = "   ".join(facts)
    room = min(width - cell_len(told) - 2 * len(GAP), MAX_BAR)
    if room < MIN_BAR:
        return Text(GAP + told)
    done = study.finished + sum(trial.fraction for trial in running)
    halves = int(2 * room * min(done / study.total, 1.0)) if study.total > 0 else 0
    full = "━" * (halves // 2) + "╸" * (halves % 2)
    rest = room - len(full)
    # Without colour the rest would look like the done part.
    empty = ("╺" if full and rest and not halves % 2 else "━") + "━" * rest if colour else " " * rest
    return Text(GAP).append(full, style=style.COMPLETE).append(empty[:rest], style="dim").append(GAP + told)


def _columns(trial: TrialView) -> Text:
    """What every row of a trial begins with, up to its state."""
    best = trial.best_loss
    loss = f"{best:.3f}" if isfinite(best) else ("nan" if trial.eval_losses else "")
    alpha = f"{trial.lora_rank:>4}:{trial.lora_alpha}"
    settings = [
        f"{trial.number:>5}",
        set_cell_size(alpha, 10),
        _fit(one_line(trial.lora_target), 9),
        _fit(format_learning_rate(trial.learning_rate), 7),
    ]
    row = Text(GAP + GAP.join(settings) + GAP + set_cell_size(loss, 5) + " ")
    row.append(set_cell_size(sparkline(tuple(trial.eval_losses)), 10), style=style.EVALUATION)
    return row.append(GAP)


def _fit(text: str, width: int) -> str:
    """Cut or pad text to a number of terminal columns; a cut shows as …."""
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    return set_cell_size(text, width)
