"""Private folders: readable and writable by this account only, for spools, temporary files and workspaces.

Names in the system's temporary folder can be guessed and created by others first. So the owner, type and permissions of a folder are
checked before use, and no symbolic link is followed.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lodestar.errors import EnvironmentFault
from lodestar.io.folder_locks import remove_unlocked
from lodestar.process.safe_text import quote

OTHERS = 0o077
ROOT = 0


def private_folder(folder: Path) -> Path:
    """Create a folder if missing and restrict it to this account (0700); raises EnvironmentFault E567 if it is no folder or another's."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.close(open_private_folder(folder))
    return folder


def private_folder_in(volume: Path) -> Path:
    """`private_folder` for a configured path: a folder that belongs to root, such as a volume's mount point, gets a subfolder instead."""
    with contextlib.suppress(FileNotFoundError):
        if os.geteuid() != ROOT == volume.lstat().st_uid:
            return private_folder(volume / "lodestar")
    return private_folder(volume)


def temporary_folder(name: str) -> Path:
    """Private folder in the system's temporary folder, the same for each name and account."""
    return private_folder(private_folder(Path(tempfile.gettempdir(), f"lodestar-{os.geteuid()}")) / name)


@contextmanager
def workspace() -> Iterator[Path]:
    """An empty private folder that is removed on exit; orphans of killed processes are removed by the next call."""
    root = temporary_folder("work")
    for orphan in root.iterdir():
        remove_unlocked(orphan)
    folder, handle = _new_workspace(root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _new_workspace(root: Path) -> tuple[Path, int]:
    """A new folder, and the handle that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=root))
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if folder.exists():  # else another process removed it as an orphan before it was locked
                return folder, handle
            os.close(handle)


def open_private_folder(folder: Path) -> int:
    """Handle of a folder that is created if missing and restricted to this account; raises EnvironmentFault E567 if it is another's.

    Permissions of group and others are removed each time, since mounting a volume may grant them again.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (FileExistsError, NotADirectoryError) as error:
        raise _not_private_error(folder, "is no folder", _move_remedy(folder)) from error
    status = os.fstat(handle)
    if status.st_uid != os.geteuid():
        os.close(handle)
        chown = f"or, if its content is yours, as root: chown -R {os.geteuid()} {quote(str(folder))}"
        raise _not_private_error(folder, f"belongs to account {status.st_uid}", f"{_move_remedy(folder)} {chown}")
    if status.st_mode & OTHERS:
        os.fchmod(handle, 0o700)
    return handle


def _move_remedy(folder: Path) -> str:
    """A remedy that keeps the content: spooled rows may wait in it."""
    old = str(folder)
    return f"Move it away with its content: mv -T -- {quote(old)} {quote(old + '.aside')}"


def _not_private_error(folder: Path, reason: str, remedy: str) -> EnvironmentFault:
    return EnvironmentFault("E567", f"{folder} {reason}", remedy=remedy)
