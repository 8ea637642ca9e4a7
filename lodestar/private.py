"""Folders that no other account reads or writes: for what is on its way, and for what a process needs as long as it lives.

What lies in the system's folder for such has a name that anyone can guess and make first. So the owner, the type and the rights of a folder
are looked at before it is used, and no symbolic link is followed.
"""

import contextlib
import fcntl
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lodestar.errors import EnvironmentFault
from lodestar.folder_locks import lock

OTHERS = 0o077
ROOT = 0


def own_folder(folder: Path) -> Path:
    """The folder, made if need be, with rights for this account alone; EnvironmentFault E567 where it is another's, or no folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.close(open_own(folder))
    return folder


def own_folder_in(volume: Path) -> Path:
    """The same of a folder that a person has named: where it is the system's, such as a volume's mount point, a folder of ours in it."""
    with contextlib.suppress(FileNotFoundError):
        if os.geteuid() != ROOT == volume.lstat().st_uid:
            return own_folder(volume / "lodestar")
    return own_folder(volume)


def temporary_folder(name: str) -> Path:
    """A folder of this account's in the system's folder for temporary files, always the same one for a name."""
    return own_folder(own_folder(Path(tempfile.gettempdir(), f"lodestar-{os.geteuid()}")) / name)


@contextmanager
def workspace() -> Iterator[Path]:
    """An empty folder for as long as it is needed; those of processes that were killed go with the next one."""
    root = temporary_folder("work")
    for left in root.iterdir():
        with contextlib.suppress(BlockingIOError, FileNotFoundError, NotADirectoryError), lock(left):
            shutil.rmtree(left, ignore_errors=True)
    folder, handle = _fresh(root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _fresh(root: Path) -> tuple[Path, int]:
    """A new folder, and its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=root))
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if folder.exists():  # or it was taken for a left-over before it was locked
                return folder, handle
            os.close(handle)


def open_own(folder: Path) -> int:
    """A handle of a folder, made if need be, that is this account's alone from then on; EnvironmentFault E567 where it is another's.

    Rights that a folder of ours has beside ours are taken away: a volume that is mounted may give them to a group again each time.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (FileExistsError, NotADirectoryError) as error:
        raise _not_ours(folder, "is no folder", _aside(folder)) from error
    about = os.fstat(handle)
    if about.st_uid != os.geteuid():
        os.close(handle)
        give = f"or, if what it holds is yours, as root: chown -R {os.geteuid()} {shlex.quote(str(folder))}"
        raise _not_ours(folder, f"belongs to account {about.st_uid}", f"{_aside(folder)} {give}")
    if about.st_mode & OTHERS:
        os.fchmod(handle, 0o700)
    return handle


def _aside(folder: Path) -> str:
    """Rows may wait in it."""
    old = str(folder)
    return f"Set it aside with all that it holds: mv -T -- {shlex.quote(old)} {shlex.quote(old + '.aside')}"


def _not_ours(folder: Path, what: str, remedy: str) -> EnvironmentFault:
    return EnvironmentFault("E567", f"{folder} {what}", remedy=remedy)
