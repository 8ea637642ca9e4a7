"""Progress and events on standard error: one line that redraws itself on a terminal, elsewhere one structured (JSON) record a line.

A record has a time stamp (ISO 8601, UTC) and is never wrapped. A terminal shows a bar with elapsed time and ETA where the total is known,
and a spinner with elapsed time where it is not. With `TERM=dumb`, which cannot move its cursor, a terminal gets records too.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Self

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.text import Text

INTERVAL_S = 1.0
LINE_KEY = "lodestar"  # first key of every structured line, with the name of the event
TIME_KEY = "time"
ACTIVITY = "activity"
REFRESH_PER_S = 8
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
MIN_BAR, MAX_BAR = 8, 30
UNWRAPPED = 100_000  # columns of an output that is no terminal, where nothing is wrapped
GAP = "  "


def log_event(event: str, **values: object) -> None:
    """Write one structured line, a JSON object with the time, to standard error; on a terminal a readable line."""
    if is_interactive():
        details = GAP.join(f"{name} {value:.5g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items())
        _console().print(Text(f"{event}{GAP}{details}".rstrip(), style="dim"), soft_wrap=True)
        return
    sys.stderr.write(json.dumps({LINE_KEY: event, **values, TIME_KEY: timestamp()}) + "\n")
    sys.stderr.flush()


def timestamp() -> str:
    """The current time as records have it: ISO 8601, UTC, milliseconds."""
    return f"{datetime.now(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def is_interactive() -> bool:
    """Whether standard error is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in {"", "dumb", "unknown"}


@contextmanager
def activity(what: str, *, is_recorded: bool = True) -> Iterator[None]:
    """Say what is being done where no total is known: a spinner with elapsed time on a terminal, elsewhere one record when it begins.

    With `is_recorded` False it is for terminals alone.
    """
    if not is_interactive():
        if is_recorded:
            log_event(ACTIVITY, what=what)
        yield
        return
    started = time.monotonic()
    with _live(lambda width: progress_line(width, what, time.monotonic() - started)):
        yield


class Progress:
    """Progress of `done` of `total` steps; keyword values of `advance`, such as the loss, are displayed with it.

    What an interrupted run has done before, the initial `done`, says nothing of the pace.
    """

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label, self.total, self.done, self._before = label, max(total, 1), done, done
        self._started = self._last = time.monotonic()
        self._values: Mapping[str, float] = {}
        self._display = _live(self._line) if is_interactive() else None

    def __enter__(self) -> Self:
        if self._display is not None:
            self._display.start()
        else:
            log_event(ACTIVITY, what=self.label)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._display is not None:
            self._display.stop()

    def advance(self, amount: int = 1, **values: float) -> None:
        """Advance by `amount`; `values` are displayed with the progress."""
        self.done, self._values = self.done + amount, values
        is_due = time.monotonic() - self._last >= INTERVAL_S or self.done >= self.total
        if self._display is None and is_due:
            self._log_line(values)

    def _log_line(self, values: Mapping[str, float]) -> None:
        self._last = time.monotonic()
        rate = (self.done - self._before) / max(self._last - self._started, 1e-9)
        eta_s = round((self.total - self.done) / max(rate, 1e-9), 1)
        rounded = {name: float(f"{value:.5g}") for name, value in values.items()}
        log_event("progress", step=self.label, done=self.done, total=self.total, rate=round(rate, 2), eta_s=eta_s, **rounded)

    def _line(self, width: int) -> str:
        elapsed_s = time.monotonic() - self._started
        eta_s = elapsed_s * (self.total - self.done) / (self.done - self._before) if self.done > self._before else None
        return progress_line(width, self.label, elapsed_s, (self.done, self.total, eta_s), self._values)


def progress_line(
    width: int,
    label: str,
    elapsed_s: float,
    progress: tuple[int, int, float | None] | None = None,
    values: Mapping[str, float] | None = None,
) -> str:
    """One line of at most `width` characters: label, bar, count, elapsed time, ETA and values, of which the last ones are left out first.

    `progress` is done, total and the ETA in seconds (None: not known yet); without it, the total is unknown, and there is no bar.
    """
    line = [label, duration(elapsed_s)]
    if progress is not None:
        done, total, eta_s = progress
        eta = [f"{duration(eta_s)} left"] if eta_s is not None else []
        with_count = [label, f"{done:,}/{total:,}", *line[1:]]
        line = next((words for words in ([*with_count, *eta], with_count) if _length(words) <= width), line)
        room = min(width - _length(line) - len(GAP), MAX_BAR)
        if room >= MIN_BAR:
            filled = round(room * min(done / max(total, 1), 1.0))
            line.insert(1, "━" * filled + "─" * (room - filled))
    for name, value in (values or {}).items():
        if _length([*line, word := f"{name} {value:.4g}"]) <= width:
            line.append(word)
    text = GAP.join(line)
    return text if len(text) <= width else f"{text[: max(width - 1, 0)]}…"


def duration(seconds: float) -> str:
    """A duration as a reader says it: `8 s`, `2 min 5 s` or `1 h 3 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def spinner() -> str:
    """The spinner's character at this time."""
    return SPINNER[int(time.monotonic() * REFRESH_PER_S) % len(SPINNER)]


def _length(words: list[str]) -> int:
    return len(GAP.join(words))


def _live(line: Callable[[int], str]) -> Live:
    """A line that redraws itself below what is printed meanwhile, and is gone at the end; `line` gets its width."""
    return live_display(lambda width: Text(f"{spinner()} {line(width - 2)}", no_wrap=True, overflow="ellipsis"), is_transient=True)


def live_display(render: Callable[[int], Text], *, is_transient: bool) -> Live:
    """A display of this process's terminal that redraws itself; what is written to standard output elsewhere stays there.

    A terminal that becomes narrower breaks the lines that are shown, so that they take more rows than were drawn: these are erased too.
    """
    console, displays = _console(), list[Live]()
    shown, shown_width = [""], console.width

    def fit() -> Text:
        nonlocal shown, shown_width
        width = console.width
        if width < shown_width and displays:
            rows = sum(max(1, math.ceil(cell_len(line) / width)) for line in shown)
            displays[0]._live_render._shape = (width, rows)
        text = render(width)
        shown, shown_width = text.plain.split("\n"), width
        return text

    displays.append(
        Live(
            console=console,
            get_renderable=fit,
            refresh_per_second=REFRESH_PER_S,
            transient=is_transient,
            redirect_stdout=sys.stdout.isatty(),
        )
    )
    return displays[0]


@cache
def _console() -> Console:
    """The terminal of this process: one, so that a display inside another is drawn with it."""
    return Console(stderr=True, highlight=False)
