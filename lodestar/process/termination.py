"""SIGTERM and SIGHUP as an exception, so that a process can undo unfinished work before it ends."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

TERMINATED = 128 + signal.SIGTERM  # exit code of a process ended by SIGTERM
SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal is closed


def terminate(number: int, _frame: FrameType | None) -> NoReturn:
    """Signal handler that raises SystemExit 128 + `number` and ignores that signal from now on, so that a second one stops no cleanup."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def restore_handler(number: int, handler: "signal._HANDLER") -> None:
    """Set a former handler again; the system's default for None, which was not set from Python and cannot be set again from there."""
    signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def exit_on_termination() -> Iterator[None]:
    """Inside the context, SIGTERM and SIGHUP raise SystemExit 143 and 129; one that is ignored, as under nohup, stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            restore_handler(number, handler)


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
        restore_handler(signal.SIGTERM, before)
