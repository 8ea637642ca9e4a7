"""Locks of folders: of the one process that changes a folder, and of many that read it. The system takes them back from who is gone."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Held:
    """A folder as it is now: `path` leads to it, whatever takes its place, as long as this object lives and in this process's lifetime."""

    def __init__(self, folder: Path) -> None:
        self._lock = _opened(folder)
        link = Path(f"/proc/{os.getpid()}/fd/{self._lock}")
        self.path = link if link.exists() else folder

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._lock)


def hold(folder: Path) -> Held:
    """Keep a folder from being removed while it is read, though another may take its place; FileNotFoundError where there is none."""
    return Held(folder)


@contextmanager
def unread(folder: Path) -> Iterator[bool]:
    """Whether nobody holds the folder; nobody begins to, while inside, if so."""
    try:
        with lock(folder):
            yield True
    except BlockingIOError:
        yield False


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """The lock of a file or folder, which the system takes back from a process that is gone; BlockingIOError where another one has it."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _opened(folder: Path) -> int:
    """A handle of the folder, shared with who else reads it."""
    while True:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(OSError):  # it is being removed, or this file system has no locks
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), folder.stat()):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
