"""SIGTERM as an exception, so that a process can undo unfinished work before it ends."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

TERMINATED = 128 + signal.SIGTERM  # exit code of a process ended by SIGTERM


def terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Signal handler that raises SystemExit 143 and ignores further SIGTERMs, so that a second one does not interrupt the cleanup."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(TERMINATED)


@contextmanager
def undo_on_termination(undo: Callable[[], None]) -> Iterator[None]:
    """Inside the context, SIGTERM and Ctrl-C run `undo` before the process ends (exit code 143 after SIGTERM).

    Python delivers signals to the main thread; in another thread, nothing changes.
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
