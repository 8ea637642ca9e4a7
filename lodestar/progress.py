"""How far a long piece of work is: a bar with ETA on a terminal, one structured line per interval anywhere else."""

import json
import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

INTERVAL_S = 1.0
LINE_KEY = "lodestar"  # every structured line is an object with this key first, naming the event


def log_event(event: str, **values: object) -> None:
    """Write one structured line to the error stream."""
    sys.stderr.write(json.dumps({LINE_KEY: event, **values}) + "\n")
    sys.stderr.flush()


class Progress:
    """Counts `done` of `total`; what is passed to `advance` by name is shown beside it."""

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
        """Count `amount` more as done."""
        self.done += amount
        if self._bar is not None:
            shown = " ".join(f"{name} {value:.4g}" for name, value in values.items())
            self._bar.update(self._task, completed=self.done, values=shown)
        elif time.monotonic() - self._last >= INTERVAL_S or self.done >= self.total:
            self._line(values)

    def _line(self, values: dict[str, float]) -> None:
        self._last = time.monotonic()
        elapsed_s = max(self._last - self._started, 1e-9)
        rate = self.done / elapsed_s
        eta_s = round((self.total - self.done) / max(rate, 1e-9), 1)
        rounded = {name: float(f"{value:.5g}") for name, value in values.items()}
        log_event("progress", step=self.label, done=self.done, total=self.total, rate=round(rate, 2), eta_s=eta_s, **rounded)


def _bar() -> Bar:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Bar(*columns, TextColumn("{task.fields[values]}"), console=Console(stderr=True))
