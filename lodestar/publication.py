"""Folders and files on this machine that are replaced at once: who reads them never sees half of one."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lodestar.errors import EnvironmentFault
from lodestar.file_names import plain_files

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def publish_folder(target: Path) -> Iterator[Path]:
    """A fresh folder to fill; on a clean exit it becomes `target` at once, on an error it is gone."""
    with scratch(target) as work:
        made = work / target.name
        made.mkdir()
        yield made
        _replace_folder(made, target, work)


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """A folder beside `target` to work in, gone at the end; what a process that was killed left there goes as well."""
    with _room(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}.*.work"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError), _held(left):
            shutil.rmtree(left, ignore_errors=True)
    with _room(target):
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".work", dir=target.parent))
    try:
        with _held(work), _room(target):
            yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


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


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """The folder, made if need be, for this process alone; EnvironmentFault E513 where another one has it."""
    target.mkdir(parents=True, exist_ok=True)
    try:
        with _held(target):
            yield
    except BlockingIOError as error:
        raise EnvironmentFault("E513", f"another process writes to {target}", remedy="Wait until it has ended.") from error


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The lock of a folder, which the system takes back from a process that is gone; BlockingIOError where another one has it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextmanager
def publish_file(target: Path) -> Iterator[Path]:
    """A path to write; on a clean exit it becomes `target` at once, on an error it is gone."""
    work = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with _room(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield work
            _sync(work)
            work.replace(target)
    finally:
        work.unlink(missing_ok=True)


def digest(folder: Path) -> str:
    """sha256 over names and contents of all files under a folder, in name order."""
    total = hashlib.sha256()
    for file in plain_files(folder):
        total.update(file.relative_to(folder).as_posix().encode() + b"\0")
        with file.open("rb") as content:
            total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


def _replace_folder(made: Path, target: Path, work: Path) -> None:
    """Put a folder where another one may be, which is then in `work`."""
    made.chmod(0o755)
    if target.exists():
        target.replace(work / "old")
    made.replace(target)


def _sync(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
