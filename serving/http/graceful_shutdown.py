"""Graceful shutdown on SIGTERM and SIGINT, with a forced exit after a grace period.

Python runs signal handlers in the main thread only, between two instructions: an ONNX graph that never returns would block even
SIGTERM. So a separate thread waits for signals, passes them on, and ends the process when the grace period is over.
"""

import _thread
import os
import signal
import sys
import threading
import time
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# With preStop's 5 s this stays below the 30 s after which Kubernetes kills: 10 s to drain, 10 for logs and parts to close.
GRACE_S = 24.0
TOGETHER_S = 0.2
NOT_ENDED = "E580"


def stop_on_signals(who: str) -> None:
    """Exit with 0 on a signal; call it in the main thread before other threads start. `who` is the program's name in messages.

    A second signal, more than `TOGETHER_S` after the first, or `GRACE_S` after it, ends the process with exit code 5 (E580).
    """
    for number in SIGNALS:
        signal.signal(number, _raise_interrupt)
    signal.signal(signal.SIGUSR1, _ignore_signal)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_watch, args=(who, threading.get_ident()), name="signals", daemon=True).start()


def _watch(who: str, main: int) -> None:
    number = signal.sigwait(SIGNALS)
    _thread.interrupt_main(signal.Signals(number))
    signal.pthread_kill(main, signal.SIGUSR1)  # interrupts a system call of the main thread
    second = _second_signal(time.monotonic())
    why = f"something did not end within {GRACE_S:g} s" if second is None else "told to stop twice"
    sys.stderr.write(f"{who}: {NOT_ENDED} {why}; the process ends without it\n")
    sys.stderr.flush()
    os._exit(5)


def _second_signal(first_s: float) -> object:
    """The next signal, None when the grace is over. One within `TOGETHER_S` belongs to the first: GNU timeout sends two."""
    while (left_s := first_s + GRACE_S - time.monotonic()) > 0:
        found = signal.sigtimedwait(SIGNALS, left_s)
        if found is None or time.monotonic() - first_s > TOGETHER_S:
            return found
    return None


def _raise_interrupt(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _ignore_signal(_number: int, _frame: FrameType | None) -> None:
    pass
