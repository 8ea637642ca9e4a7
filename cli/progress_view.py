"""Display of a local run: each step with its phase, progress and ETA, and the ETA of the run; everything else goes to the log file.

On a terminal the display redraws itself; elsewhere each event is a record of one line with a time stamp.
"""

import json
import re
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import IO, Any

from rich.text import Text

from cli.run_eta import MEASURED_S, RunEta
from components.execution.step_order import STEPS
from lodestar.progress import ACTIVITY, LINE_KEY, TIME_KEY, duration, is_interactive, live_display, progress_line, spinner, timestamp

WAITING, RUNNING, DONE, CACHED, FAILED = "·", "▸", "✓", "↺", "✗"
STYLES = {WAITING: "dim", DONE: "green", FAILED: "bold red"}
TAIL_LINES = 30
RECORD_INTERVAL_S = 5.0  # between two records of the same phase
NAME_WIDTH = max(map(len, STEPS)) + 2
STARTING = "starting Python"
LOADING, BETWEEN = "loading Kubeflow Pipelines", "going on to the next step"
EXECUTING, COLOURS = re.compile(r"INFO - Executing task (\S+)$"), re.compile(r"\x1b\[\d+m|'")
# What a step does until it says so itself.
WORK = {
    "version": "hashing the data",
    "ingest": "opening the data",
    "build_features": "reading the tables",
    "train": "loading the features",
    "compress": "loading the bundle",
    "evaluate": "loading the features",
    "gate": "comparing with the baselines",
    "publish": "publishing the bundle and its online features",
    "deploy": "asking whether to roll out",
}


@dataclass
class StepView:
    """A step's line of the display: its status (WAITING, RUNNING, DONE, CACHED or FAILED), its phase, and the text after it."""

    mark: str = WAITING
    text: str = ""
    since: float = 0.0
    phase: str = STARTING
    phase_since: float = 0.0
    progress: tuple[int, int, float | None] | None = None
    values: dict[str, float] = field(default_factory=dict)

    def left_s(self, now: float) -> float | None:
        """Seconds left of the phase; None if its total is unknown."""
        eta_s = self.progress[2] if self.progress is not None else None
        return None if eta_s is None else max(eta_s - (now - self.phase_since), 0.0)


@dataclass
class RunView:
    """Text stream for the runner's output: writes it to the log, and displays its structured lines."""

    log: IO[str]
    eta: RunEta = field(default_factory=lambda: RunEta(expected_s=MEASURED_S))
    steps: dict[str, StepView] = field(default_factory=lambda: {name: StepView() for name in STEPS})
    failure: dict[str, Any] | None = None
    exit_code: int = 0  # of the step that ended last
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))

    def __post_init__(self) -> None:
        self._pending, self.has_ended = "", False
        self._started = self._last_end = time.monotonic()
        self._last_record: tuple[str, float] = ("", 0.0)
        self._live = live_display(self.display, is_transient=False) if is_interactive() else None

    def __enter__(self) -> "RunView":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.has_ended = True
        if self._live is not None:
            self._live.stop()

    def write(self, text: str) -> int:
        """Write output to the log, and process its complete lines."""
        self.log.write(text)
        *lines, self._pending = (self._pending + text).split("\n")
        for line in lines:
            self._process_line(line.strip())
        return len(text)

    def flush(self) -> None:
        """Flush the log file; an incomplete line is not displayed yet."""
        self.log.flush()

    def isatty(self) -> bool:
        """Always False, so that writers send no colours or cursor movements into the log."""
        return False

    def starting(self, step: str) -> None:
        """Display that the runner starts a step's process."""
        name = step.replace("-", "_")
        if name in self.steps:
            now = time.monotonic()
            self.steps[name] = StepView(RUNNING, since=now, phase_since=now)

    def cached(self, step: str) -> None:
        """Display a step as a cache hit."""
        name = step.replace("-", "_")
        self._end(name, CACHED, "unchanged, from the cache")
        self.eta.skipped.add(name)

    @property
    def running(self) -> str:
        """Name of the running step; empty if there is none."""
        return next((name for name, view in self.steps.items() if view.mark == RUNNING), "")

    def display(self, width: int) -> Text:
        """The display at a terminal's width, one line each for the steps and the run."""
        now = time.monotonic()
        lines = [self._line(name, view, width, now) for name, view in self.steps.items()]
        return Text("\n", no_wrap=True, overflow="ellipsis").join([*lines, self._run_line(width, now)])

    def _line(self, name: str, view: StepView, width: int, now: float) -> Text:
        mark, room = (spinner() if view.mark == RUNNING else view.mark), width - NAME_WIDTH - 3
        text = view.text
        if view.mark == RUNNING:
            progress = None if view.progress is None else (*view.progress[:2], view.left_s(now))
            text = progress_line(room, view.phase, now - view.since, progress, view.values)
        return Text(f"{mark}  {name:{NAME_WIDTH}}{text[: max(room, 0)]}".rstrip(), style=STYLES.get(view.mark, ""))

    def _run_line(self, width: int, now: float) -> Text:
        running, left_s = self.running, 0.0
        words = f"{'run':{NAME_WIDTH}}{duration(now - self._started)}"
        if not self.has_ended:
            view = self.steps.get(running, StepView(since=now))
            left_s = self.eta.left_s(running, now - view.since, view.left_s(now))
            words += f"  about {duration(left_s)} left" if left_s >= 1 else "  almost done"
        if not running and not self.has_ended:
            words += f"  {BETWEEN if any(view.mark != WAITING for view in self.steps.values()) else LOADING}"
        mark = " " if running or self.has_ended else spinner()
        return Text(f"{mark}  {words}"[:width], style="bold")

    def _process_line(self, line: str) -> None:
        values = structured(line)
        if values is None:
            self._process_text(line)
            return
        event, step = values.pop(LINE_KEY), str(values.pop("step", ""))
        values.pop(TIME_KEY, None)
        if event == "started":
            self._begin(step)
        elif event == "finished":
            self._end(step, DONE, duration_of_step(values["seconds"]))
        elif event == "failed":
            self.failure = values
            self._end(step, FAILED, "failed")
        elif event == ACTIVITY:
            self._enter_phase(str(values["what"]))
        elif event == "progress":
            self._progress(step, values)

    def _process_text(self, line: str) -> None:
        """Keep a line that has no structure; kfp's line before a step's process starts the step's display."""
        if line:
            self.tail.append(line)
        if start := EXECUTING.search(COLOURS.sub("", line)):
            self.starting(start.group(1))

    def _begin(self, step: str) -> None:
        if step in self.steps:
            if self.steps[step].mark != RUNNING:
                self.starting(step)
            self._record(f"{step} started", is_due=True)
            self._enter_phase(WORK[step])

    def _enter_phase(self, phase: str) -> None:
        if view := self.steps.get(self.running):
            view.phase, view.progress, view.values, view.phase_since = phase, None, {}, time.monotonic()
            self._record(f"{self.running}: {phase}", is_due=True)

    def _progress(self, phase: str, values: dict[str, Any]) -> None:
        view = self.steps.get(self.running)
        if view is None:
            return
        view.phase, view.phase_since = phase, time.monotonic()
        view.progress = int(values.pop("done")), int(values.pop("total")), float(values.pop("eta_s"))
        for name in ("rate", "epoch"):  # what count and ETA say already
            values.pop(name, None)
        view.values = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
        done, total, eta_s = view.progress
        details = "".join(f", {name} {value:.4g}" for name, value in view.values.items())
        words = f"{self.running}: {phase} {done:,}/{total:,}, {duration(eta_s or 0)} left{details}"
        self._record(words, is_due=done >= total or self._is_due(phase))
        if done >= total:
            view.phase, view.progress, view.values = f"after {phase}", None, {}

    def _end(self, step: str, mark: str, text: str) -> None:
        if step not in self.steps:
            return
        now = time.monotonic()
        self.steps[step] = StepView(mark, text)
        if mark == DONE:
            self.eta.ended_s[step] = now - self._last_end
        self._last_end = now
        self._record(f"{step} finished in {text}" if mark == DONE else f"{step} {text}", is_due=True)

    def _is_due(self, phase: str) -> bool:
        last_phase, last_time = self._last_record
        now = time.monotonic()
        if phase == last_phase and now - last_time < RECORD_INTERVAL_S:
            return False
        self._last_record = phase, now
        return True

    def _record(self, words: str, *, is_due: bool) -> None:
        if self._live is None and is_due:
            record(words)


def record(words: str) -> None:
    """Write a record of one line to standard error, with the time."""
    sys.stderr.write(f"{timestamp()} {words}\n")
    sys.stderr.flush()


def duration_of_step(seconds: float) -> str:
    """A step's duration; tenths of a second below a minute."""
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def structured(line: str) -> dict[str, Any] | None:
    """Values of a structured line (JSON); None for any other line."""
    if not line.startswith(f'{{"{LINE_KEY}"'):
        return None
    try:
        values: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return None
    return values
