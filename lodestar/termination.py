"""SIGTERM as an exception: what a process was about to make is undone before it ends."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

TERMINATED = 128 + signal.SIGTERM  # the exit code of a process that SIGTERM ended


def terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """A signal handler that raises SystemExit 143; from then on SIGTERM is ignored, so that a second one interrupts no undoing."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(TERMINATED)


@contextmanager
def undo_on_termination(undo: Callable[[], None]) -> Iterator[None]:
    """While inside, SIGTERM and Ctrl-C run `undo` before this process ends, with exit code 143 after SIGTERM.

    Python delivers signals to the main thread; in another thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        undo()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
