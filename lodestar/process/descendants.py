"""Graceful termination with child processes: SIGTERM raises SystemExit, so that `finally` blocks run, and ends all descendants.

A step that `lodestar run` started also ends when that process (of the id in PARENT) ends.
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

from lodestar.process.environment_variables import PARENT
from lodestar.process.termination import TERMINATED, restore_handler

CHILDREN_S, POLL_S = 5.0, 0.02
PROCESSES = Path("/proc")


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Inside the context, SIGTERM terminates descendant processes and raises SystemExit 143 here; a second SIGTERM is ignored.

    Descendants that remain after unwinding are killed; those that existed before the context are left alone. In a thread other than the
    main one, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    others = frozenset(descendants())

    def terminate(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # Children first: code that waits for a child would otherwise block for ever.
        _send(signal.SIGTERM, others)
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        with _ends_with_parent(os.environ.get(PARENT, "")):
            yield
    except BaseException:
        end_descendants(others)
        raise
    finally:
        restore_handler(signal.SIGTERM, before)


@contextmanager
def _ends_with_parent(parent: str) -> Iterator[None]:
    """Inside the context, this process is terminated when `parent` ends; no effect if that is no process id or the system has no pidfd."""
    if not parent.isdecimal() or int(parent) == os.getpid() or not hasattr(os, "pidfd_open"):
        yield
        return
    is_left = os.eventfd(0)
    watcher = threading.Thread(target=_watch, args=(int(parent), is_left), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        os.eventfd_write(is_left, 1)
        watcher.join()
        os.close(is_left)


def _watch(parent: int, is_left: int) -> None:
    """Terminate this process when the process `parent` ends, unless the event `is_left` comes first."""
    with suppress(ProcessLookupError):
        handle, poll = os.pidfd_open(parent), select.poll()  # select() refuses descriptors above 1,023
        for descriptor in (handle, is_left):
            poll.register(descriptor, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll()}
        os.close(handle)
        if is_left in ready:
            return
    os.kill(os.getpid(), signal.SIGTERM)


def end_descendants(others: Collection[int] = (), limit_s: float = CHILDREN_S) -> None:
    """Terminate all descendant processes except `others`, and kill those that still run after `limit_s` seconds."""
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
    """Process ids of all running descendants (children, grandchildren, …); empty if the system has no /proc."""
    children: dict[int, list[int]] = {}
    for entry in PROCESSES.glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(entry.parent.name))
    found, pending = [], [os.getpid()]
    while pending:
        direct = children.get(pending.pop(), [])
        found += direct
        pending += direct
    return found
