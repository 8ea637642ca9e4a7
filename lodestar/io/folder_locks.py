"""Folder locks (flock): exclusive for the process that changes a folder, shared for readers; released by the system when a process ends."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FolderHandle:
    """Handle of one version of a folder: `path` refers to it, even after a replacement, while this object and the process live."""

    def __init__(self, folder: Path) -> None:
        self._lock = _open_shared(folder)
        link = Path(f"/proc/{os.getpid()}/fd/{self._lock}")
        self.path = link if link.exists() else folder

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._lock)


def open_handle(folder: Path) -> FolderHandle:
    """Open a folder for reading with a shared lock: it may be replaced, but this version is not removed. Raises FileNotFoundError."""
    return FolderHandle(folder)


@contextmanager
def try_lock(folder: Path) -> Iterator[bool]:
    """Try to lock a folder exclusively for the context; yields whether it succeeded."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock(folder))
            is_locked = True
        except BlockingIOError:
            is_locked = False
        yield is_locked


def remove_unlocked(path: Path) -> None:
    """Remove a file or folder unless a process has locked it; what this account cannot lock or remove, such as a link, stays."""
    with contextlib.suppress(OSError), lock(path):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Exclusive lock of a file or folder, without waiting; raises BlockingIOError if another process has a lock."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # which does not wait for a pipe's writer
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _open_shared(folder: Path) -> int:
    """Handle of a folder with a shared lock."""
    while True:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(OSError):  # another process is removing it, or the file system has no locks
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), folder.stat()):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
