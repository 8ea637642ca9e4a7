"""Display of a local run: one line per step with status, progress and ETA; everything else goes to the log file."""

import json
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import IO, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from components.execution.step_order import STEPS
from lodestar.progress import LINE_KEY

WAITING, RUNNING, DONE, CACHED, FAILED = "·", "▸", "✓", "↺", "✗"
TAIL_LINES = 30


@dataclass
class StepView:
    """A step's line of the display: its status (WAITING, RUNNING, DONE, CACHED or FAILED) and the text after it."""

    mark: str = WAITING
    text: str = ""


@dataclass
class RunView:
    """Text stream for the runner's output: writes it to the log, and displays its structured lines."""

    log: IO[str]
    steps: dict[str, StepView] = field(default_factory=lambda: {name: StepView() for name in STEPS})
    failure: dict[str, Any] | None = None
    exit_code: int = 0  # of the step that ended last
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))

    def __post_init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=4) if sys.stderr.isatty() else None
        self._pending = ""

    def __enter__(self) -> "RunView":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
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

    def cached(self, step: str) -> None:
        """Display a step as a cache hit."""
        self._set(step.replace("-", "_"), CACHED, "unchanged, from the cache")

    @property
    def running(self) -> str:
        """Name of the running step; empty if there is none."""
        return next((name for name, view in self.steps.items() if view.mark == RUNNING), "")

    def _process_line(self, line: str) -> None:
        values = structured(line)
        if values is None:
            if line:
                self.tail.append(line)
            return
        event, step = values.pop(LINE_KEY), str(values.pop("step", ""))
        if event == "started":
            self._set(step, RUNNING, "")
        elif event == "finished":
            self._set(step, DONE, f"{values['seconds']:.1f} s")
        elif event == "failed":
            self.failure = values
            self._set(step, FAILED, "")
        elif event == "progress":
            self._progress(values)

    def _progress(self, values: dict[str, Any]) -> None:
        running = self.running
        if not running:
            return
        done, total, eta_s = values.pop("done"), values.pop("total"), values.pop("eta_s")
        values.pop("rate", None)
        details = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if isinstance(value, int | float))
        self.steps[running].text = f"{done}/{total}  {details}  {eta_s:.0f} s left"
        if self._live is None:
            self._console.print(f"  {running} {self.steps[running].text}", highlight=False, markup=False)

    def _set(self, step: str, mark: str, text: str) -> None:
        if step not in self.steps:
            return
        self.steps[step] = StepView(mark, text)
        if self._live is None:
            self._console.print(f"{mark} {step}  {text}".rstrip(), highlight=False, markup=False)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, view in self.steps.items():
            table.add_row(view.mark, name, view.text)
        return table


def structured(line: str) -> dict[str, Any] | None:
    """Values of a structured line (JSON); None for any other line."""
    if not line.startswith(f'{{"{LINE_KEY}"'):
        return None
    try:
        values: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return None
    return values
