"""Progress reporting: a bar with ETA on a terminal, otherwise one structured (JSON) line per interval on standard error."""

import json
import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

INTERVAL_S = 1.0
LINE_KEY = "lodestar"  # first key of every structured line, with the name of the event


def log_event(event: str, **values: object) -> None:
    """Write one structured line, a JSON object, to standard error."""
    sys.stderr.write(json.dumps({LINE_KEY: event, **values}) + "\n")
    sys.stderr.flush()


class Progress:
    """Progress of `done` of `total` steps; keyword values of `advance`, such as the loss, are displayed with it."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, max(total, 1), 0
        self._started = self._last = time.monotonic()
        self._bar = _bar() if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, values="")
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, amount: int = 1, **values: float) -> None:
        """Advance by `amount`; `values` are displayed with the progress."""
        self.done += amount
        if self._bar is not None:
            details = " ".join(f"{name} {value:.4g}" for name, value in values.items())
            self._bar.update(self._task, completed=self.done, values=details)
        elif time.monotonic() - self._last >= INTERVAL_S or self.done >= self.total:
            self._log_line(values)

    def _log_line(self, values: dict[str, float]) -> None:
        self._last = time.monotonic()
        elapsed_s = max(self._last - self._started, 1e-9)
        rate = self.done / elapsed_s
        eta_s = round((self.total - self.done) / max(rate, 1e-9), 1)
        rounded = {name: float(f"{value:.5g}") for name, value in values.items()}
        log_event("progress", step=self.label, done=self.done, total=self.total, rate=round(rate, 2), eta_s=eta_s, **rounded)


def _bar() -> Bar:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Bar(*columns, TextColumn("{task.fields[values]}"), console=Console(stderr=True))
