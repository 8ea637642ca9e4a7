"""Folders and files on this machine that are replaced at once: who reads them sees the old one or the new one, whole, and never nothing.

A folder changes places with its successor in one system call (renameat2 with RENAME_EXCHANGE). Who reads it through `hold` goes on in the
folder that was there when the reading began; it is removed when nobody holds it any more. Where a file system cannot exchange (NFS), the
name becomes a symbolic link at the first replacement, for which the name is free for a moment, and the link is switched from then on.

What a process leaves that is killed lies beside the target, locked by nobody, and goes with the next publication:

    .NAME.work         what becomes NAME; whoever has it locked is the one that may replace NAME
    .NAME.XXXXXXXX.old what was NAME, as long as somebody reads it
    .NAME.XXXXXXXX.new a file that becomes NAME
"""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lodestar.durable import make_folder, sync_all, sync_file, sync_folder
from lodestar.errors import EnvironmentFault
from lodestar.file_names import plain_files
from lodestar.folder_locks import hold, lock
from lodestar.private import open_own

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@contextmanager
def publish_folder(target: Path) -> Iterator[Path]:
    """A fresh folder to fill; on a clean exit it becomes `target` at once and is on the disk, on an error it is gone.

    EnvironmentFault E513 where another process is about to replace `target`, E506 where the disk takes no more.
    """
    with exclusive(target) as work:
        made = work / target.name
        made.mkdir()
        yield made
        sync_all(made)
        _switch(made, target, work)
        sync_folder(target.parent)


@contextmanager
def exclusive(target: Path) -> Iterator[Path]:
    """A folder beside `target` to work in, for the one process that may change `target`; EnvironmentFault E513 where another one may."""
    work = target.with_name(f".{target.name}.work")
    with _room(target):
        make_folder(target.parent)
        taken = _taken(work, target)
    try:
        _sweep(target, "old")
        with _room(target):
            yield work
    finally:
        _discard(work / target.name, target)
        shutil.rmtree(work, ignore_errors=True)
        os.close(taken)


@contextmanager
def publish_file(target: Path) -> Iterator[Path]:
    """A path to write; on a clean exit it becomes `target` at once and is on the disk, on an error it is gone."""
    with _room(target):
        make_folder(target.parent)
        _sweep(target, "new")
        work, taken = _created(target)
    try:
        with _room(target):
            yield work
            sync_file(work)
            work.replace(target)
            sync_folder(target.parent)
    finally:
        work.unlink(missing_ok=True)
        os.close(taken)


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """The folder, made if need be, for this process alone; EnvironmentFault E513 where another one has it."""
    make_folder(target)
    try:
        with lock(target):
            yield
    except BlockingIOError as error:
        raise _busy(target) from error


def digest(folder: Path) -> str:
    """sha256 over names and contents of all files under a folder, in name order; of one folder, if another takes its place meanwhile."""
    held = hold(folder)
    total = hashlib.sha256()
    for file in plain_files(held.path, str(folder)):
        total.update(file.relative_to(held.path).as_posix().encode() + b"\0")
        with file.open("rb") as content:
            total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


@contextmanager
def _room(target: Path) -> Iterator[None]:
    """A disk that takes no more is an EnvironmentFault E506."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        message = f"{target} cannot be written ({error.strerror})"
        raise EnvironmentFault("E506", message, remedy="Make room there; what was begun is gone, and the same command makes it.") from error


def _taken(work: Path, target: Path) -> int:
    """The lock of the folder to work in, with nothing in it."""
    while True:
        handle = open_own(work)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), work.lstat()):
                for left in work.iterdir():
                    _discard(left, target)
                return handle
        except BlockingIOError as error:
            os.close(handle)
            raise _busy(target) from error
        except FileNotFoundError:  # the one that had it has just ended
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _busy(target: Path) -> EnvironmentFault:
    return EnvironmentFault("E513", f"another process writes to {target}", remedy="Wait until it has ended.")


def _created(target: Path) -> tuple[Path, int]:
    """A new file beside the target, and its lock."""
    while True:
        work = _beside(target, "new")
        handle = os.open(work, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:  # or it was swept before it was locked
            return work, handle
        os.close(handle)


def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.{kind}")


def _sweep(target: Path, kind: str) -> None:
    """Remove what nobody holds of what lies beside the target."""
    ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.{kind}")
    with os.scandir(target.parent) as entries:
        found = [Path(entry.path) for entry in entries if ours.fullmatch(entry.name)]
    for left in found:
        with contextlib.suppress(BlockingIOError, FileNotFoundError), lock(left):
            _remove(left)


def _discard(old: Path, target: Path) -> None:
    """Remove what has had its time; a folder that somebody reads is set aside."""
    try:
        if old.is_symlink() or not old.is_dir():
            old.unlink(missing_ok=True)
        else:
            with lock(old):
                _remove(old)
    except BlockingIOError:
        old.rename(_beside(target, "old"))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _switch(made: Path, target: Path, work: Path) -> None:
    """Put a folder where another may be, which is then where the new one was."""
    if not os.path.lexists(target):
        made.rename(target)
        return
    try:
        _exchange(made, target)
    except OSError as error:
        if error.errno not in NO_EXCHANGE:
            raise
        _link(made, target, work)


def _exchange(one: Path, other: Path) -> None:
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))


def _link(made: Path, target: Path, work: Path) -> None:
    """Let `target` be a symbolic link to the folder, which stays beside it."""
    home, link, before = _beside(target, "version"), work / "link", target.resolve()
    made.rename(home)
    link.symlink_to(home.name)
    if not target.is_symlink():
        target.rename(made)
    link.replace(target)
    if before.parent == home.parent.resolve() and before.name.endswith(".version"):
        _discard(before, target)
