"""Being told to stop: the main thread ends what it does, and where it cannot, the process ends all the same.

A signal's Python handler runs in the main thread only, between two of its instructions: a graph that never returns would hold off even
SIGTERM. So a thread of its own waits for signals, passes them on, and ends the process when its grace is over.
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
    """Being told to stop is no failure; to be called in the main thread, before there are others. `who` says so where it must be forced.

    A second signal, more than `TOGETHER_S` after the first, or `GRACE_S` after it, ends the process with exit code 5.
    """
    for number in SIGNALS:
        signal.signal(number, _stop)
    signal.signal(signal.SIGUSR1, _nothing)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_watch, args=(who, threading.get_ident()), name="signals", daemon=True).start()


def _watch(who: str, main: int) -> None:
    number = signal.sigwait(SIGNALS)
    _thread.interrupt_main(signal.Signals(number))
    signal.pthread_kill(main, signal.SIGUSR1)  # a system call that the main thread waits in ends
    second = _second(time.monotonic())
    why = f"something did not end within {GRACE_S:g} s" if second is None else "told to stop twice"
    sys.stderr.write(f"{who}: {NOT_ENDED} {why}; the process ends without it\n")
    sys.stderr.flush()
    os._exit(5)


def _second(first_s: float) -> object:
    """The signal that says it again, None where the grace is over; what comes with the first is one with it, as `timeout` sends two."""
    while (left_s := first_s + GRACE_S - time.monotonic()) > 0:
        found = signal.sigtimedwait(SIGNALS, left_s)
        if found is None or time.monotonic() - first_s > TOGETHER_S:
            return found
    return None


def _stop(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    pass
