"""Atomic publish of local folders and files: a reader sees the old version or the new one, complete, and never none.

A folder is exchanged with its successor in one system call (renameat2 with RENAME_EXCHANGE). A reader with a handle from `open_handle`
keeps the version that it opened; that is removed once no reader holds it. On file systems without exchange (NFS), the name becomes a
symbolic link at the first replacement, during which it is briefly missing; later replacements switch the link. Where a process is killed
while the name is missing, the next publication begins by putting the previous version back.

A killed process leaves orphans next to the target, which no process has locked; the next publication removes those of its account:

    .NAME.work             work folder that becomes NAME; the process with its lock is the only one that may replace NAME
    .NAME.XXXXXXXX.old     previous version of NAME, while a reader holds it
    .NAME.XXXXXXXX.version what NAME links to, or a previous version of it, while a reader holds it
    .NAME.XXXXXXXX.new     work file that becomes NAME
"""

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

from lodestar.errors import EnvironmentFault, UsageError
from lodestar.io.folder_locks import lock, open_handle, remove_unlocked, try_lock
from lodestar.io.fsync import make_synced_folder, sync_all, sync_file, sync_folder
from lodestar.io.private_folders import open_private_folder
from lodestar.io.safe_paths import plain_files

DIGEST = re.compile(r"[0-9a-f]{64}")  # SHA-256 in hex
NO_SPACE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@contextmanager
def publish_folder(target: Path) -> Iterator[Path]:
    """A new folder to fill; on a clean exit it becomes `target` atomically and is synced to disk, on an error it is removed.

    Raises EnvironmentFault E513 if another process is replacing `target`, E506 if the disk is full or read-only.
    """
    target = _named(target)
    with exclusive(target) as work:
        folder = work / target.name
        folder.mkdir()
        yield folder
        sync_all(folder)
        _replace_folder(folder, target, work)
        sync_folder(target.parent)


def refuse_other_folder(target: Path, marker: str) -> None:
    """UsageError E301 unless `target` is missing, empty or an earlier version: a folder with the file `marker`, which each version has.

    Publishing removes all that is in the folder, so that another one would be lost.
    """
    if os.path.lexists(target) and not (target / marker).is_file() and not (target.is_dir() and not any(target.iterdir())):
        what = f"is a folder without {marker}" if target.is_dir() else "is no folder"
        raise UsageError(f"{target} {what}, and would be replaced: name a new folder, or move it away", code="E301")


def refuse_other_file(target: Path) -> None:
    """UsageError E301 for a folder, a device, a pipe, or a link to a stream such as /dev/stdout, all of which a file would replace."""
    is_stream = target.is_symlink() and os.readlink(target).startswith("/proc/")
    if os.path.lexists(target) and (is_stream or not target.is_file()):
        raise UsageError(f"{target} is no regular file, and would be replaced: name a file, or move it away", code="E301")


@contextmanager
def exclusive(target: Path) -> Iterator[Path]:
    """A work folder next to `target`, with an exclusive lock on `target`.

    Raises EnvironmentFault E513 if another process has the lock, E506 if the disk is full or read-only.
    """
    target = _named(target)
    work = target.with_name(f".{target.name}.work")
    with _raise_on_full_disk(target):
        make_synced_folder(target.parent)
        handle = _lock_work_folder(work, target)
    try:
        _remove_orphans(target, "old|version")
        with _raise_on_full_disk(target):
            yield work
    finally:
        _restore(work, target)
        _discard(work / target.name, target)
        shutil.rmtree(work, ignore_errors=True)
        os.close(handle)


@contextmanager
def publish_files(target: Path) -> Iterator[Path]:
    """A new folder to fill; on a clean exit its files go into the folder `target`, each atomically, on an error they are removed.

    Other files in `target` stay. Raises EnvironmentFault E513 if another process is writing there, E506 if the disk is full or read-only.
    """
    with exclusive(target) as work:
        yield work
        sync_all(work)
        make_synced_folder(target)
        for file in sorted(work.iterdir()):
            file.replace(target / file.name)
        sync_folder(target)


@contextmanager
def publish_file(target: Path) -> Iterator[Path]:
    """A path to write; on a clean exit it becomes `target` atomically and is synced to disk, on an error it is removed.

    Raises EnvironmentFault E506 if the disk is full or read-only, UsageError E301 where something else than a file stands.
    """
    refuse_other_file(target)
    with _raise_on_full_disk(target):
        make_synced_folder(target.parent)
        _remove_orphans(target, "new")
        work, handle = _create_locked(target)
    try:
        with _raise_on_full_disk(target):
            yield work
            sync_file(work)
            work.replace(target)
            sync_folder(target.parent)
    finally:
        work.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def lock_folder(target: Path) -> Iterator[None]:
    """An exclusive lock on a folder, which is created if missing; raises EnvironmentFault E513 if another process has the lock."""
    make_synced_folder(target)
    with try_lock(target) as is_locked:
        if not is_locked:
            raise _busy(target)
        yield


def digest(folder: Path) -> str:
    """sha256 over names and contents of all files under a folder, in name order; of a single version, if it is replaced meanwhile."""
    held = open_handle(folder)
    total = hashlib.sha256()
    for file in plain_files(held.path, str(folder)):
        total.update(file.relative_to(held.path).as_posix().encode() + b"\0")
        with file.open("rb") as content:
            total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


@contextmanager
def _raise_on_full_disk(target: Path) -> Iterator[None]:
    """Turn an OSError of a full or read-only disk into EnvironmentFault E506."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE_ERRNOS:
            raise
        message = f"{target} cannot be written ({error.strerror})"
        raise EnvironmentFault("E506", message, remedy="Free disk space there and run the same command again.") from error


def _lock_work_folder(work: Path, target: Path) -> int:
    """Lock the work folder and empty it; returns the handle that holds the lock."""
    while True:
        handle = open_private_folder(work)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), work.lstat()):
                _restore(work, target)
                for orphan in work.iterdir():
                    _discard(orphan, target)
                return handle
        except BlockingIOError as error:
            os.close(handle)
            raise _busy(target) from error
        except FileNotFoundError:  # its previous owner has just removed it
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _named(target: Path) -> Path:
    """The target with a name that others can stand beside: `.` and `..` have none."""
    return target if target.name not in {"", ".."} else Path(os.path.abspath(target))  # resolve() would follow a link


def _busy(target: Path) -> EnvironmentFault:
    return EnvironmentFault("E513", f"another process writes to {target}", remedy="Wait until it has ended.")


def _create_locked(target: Path) -> tuple[Path, int]:
    """A new file next to the target, and the handle that holds its lock."""
    while True:
        work = _unique_sibling(target, "new")
        handle = os.open(work, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:  # else another process removed it as an orphan before it was locked
            return work, handle
        os.close(handle)


def _unique_sibling(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.{kind}")


def _remove_orphans(target: Path, kinds: str) -> None:
    """Remove orphans of some kinds next to the target: those that no process has locked and this account may remove."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.({kinds})")
    current = Path(os.readlink(target)).name if target.is_symlink() else ""
    with os.scandir(target.parent) as entries:
        found = [Path(entry.path) for entry in entries if pattern.fullmatch(entry.name) and entry.name != current]
    for orphan in found:
        remove_unlocked(orphan)


def _discard(old: Path, target: Path) -> None:
    """Remove an old version; a folder with readers is renamed to an orphan instead."""
    try:
        if old.is_symlink() or not old.is_dir():
            old.unlink(missing_ok=True)
        else:
            with lock(old):
                shutil.rmtree(old, ignore_errors=True)
    except BlockingIOError:
        old.rename(_unique_sibling(target, "old"))


def _replace_folder(folder: Path, target: Path, work: Path) -> None:
    """Move a folder to `target`; the previous version, if any, ends up where the folder was."""
    if not os.path.lexists(target):
        folder.rename(target)
        return
    try:
        _exchange(folder, target)
    except OSError as error:
        if error.errno not in NO_EXCHANGE:
            raise
        _replace_by_link(folder, target, work)


def _exchange(one: Path, other: Path) -> None:
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))


def _replace_by_link(folder: Path, target: Path, work: Path) -> None:
    """Make `target` a symbolic link to the folder, which is renamed to a sibling of it."""
    version, link = _unique_sibling(target, "version"), _link(work, target)
    folder.rename(version)
    try:
        link.symlink_to(version.name)
        if not target.is_symlink():
            target.rename(folder)
        link.replace(target)
    finally:
        _remove_orphans(target, "version")


def _restore(work: Path, target: Path) -> None:
    """Put back the version that `_replace_by_link` had moved away, where it was stopped before the link was in its place."""
    previous = work / target.name
    if _link(work, target).is_symlink() and os.path.lexists(previous) and not os.path.lexists(target):
        previous.rename(target)


def _link(work: Path, target: Path) -> Path:
    return work / f"{target.name}.link"
