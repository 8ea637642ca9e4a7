"""SIGTERM ends a step as an exception does: each `finally` cleans up, and no child process is left behind.

A step that `lodestar run` started ends with it: where the one that PARENT names is gone, the step is terminated.
"""

import os
import select
import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from lodestar.termination import TERMINATED

CHILDREN_S, POLL_S = 5.0, 0.02
PARENT = "LODESTAR_PARENT"
PROCESSES = Path("/proc")


@contextmanager
def unwinding() -> Iterator[None]:
    """While inside, SIGTERM ends the processes that descend from this one and raises SystemExit 143 here; a second one changes nothing.

    Those that are there once everything is unwound are killed, and those that were there before are left alone. Outside of the main thread
    nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    others = frozenset(descendants())

    def terminate(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # Who waits for a child waits for ever, unless the child ends first.
        _send(signal.SIGTERM, others)
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, terminate)
    _end_with(os.environ.get(PARENT, ""))
    try:
        yield
    except BaseException:
        end_descendants(others)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _end_with(parent: str) -> None:
    """Terminate this process when the one with that id is gone; nothing where none is named, or the system cannot tell."""
    if not parent or int(parent) == os.getpid() or not hasattr(os, "pidfd_open"):
        return

    def watch() -> None:
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(int(parent))
            select.select([handle], [], [])
            os.close(handle)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def end_descendants(others: Collection[int] = (), limit_s: float = CHILDREN_S) -> None:
    """Terminate all processes that descend from this one but `others`, and kill those that are there after `limit_s`."""
    _send(signal.SIGTERM, others)
    deadline = time.monotonic() + limit_s
    while set(descendants()) - set(others) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    _send(signal.SIGKILL, others)


def _send(number: signal.Signals, others: Collection[int]) -> None:
    for process in set(descendants()) - set(others):
        with suppress(ProcessLookupError):
            os.kill(process, number)


def descendants() -> list[int]:
    """Ids of running processes that this one started, and of those that they started; none where the system has no /proc."""
    children: dict[int, list[int]] = {}
    for entry in PROCESSES.glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(entry.parent.name))
    found, asked = [], [os.getpid()]
    while asked:
        born = children.get(asked.pop(), [])
        found += born
        asked += born
    return found
