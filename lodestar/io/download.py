"""Resumable download: bytes are written to a partial file, from which a killed or failed download continues."""

import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lodestar.errors import EnvironmentFault
from lodestar.io.folder_locks import remove_unlocked
from lodestar.progress import Progress

ATTEMPTS, PAUSE_S = 5, 0.5  # consecutive attempts without progress
BLOCK_BYTES = 1 << 20
TAG_DIGITS = 16
MAX_NAME_BYTES = 200  # of a file name, to which a prefix and a suffix are added

Read = Callable[[int], Iterator[bytes]]  # blocks from a byte offset on; it may end early or raise OSError


def download_resumable(target: Path, *, size: int, tag: str, read: Read) -> None:
    """Download `size` bytes to a path by `read`; `tag` identifies the content.

    An incomplete download stays in a partial file next to the path: the next call with the same tag continues it, one with another tag
    removes it. Raises EnvironmentFault E514 if the source fails ATTEMPTS times, E513 if another process downloads it, E567 if the partial
    file is a symbolic link.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _partial_file(target, tag)
    failures, error = 0, None
    with os.fdopen(_lock_part(part, target), "ab") as content, Progress(f"download {target.name}", size) as progress:
        progress.advance(content.tell())
        while content.tell() < size:
            before = content.tell()
            try:
                for block in read(before):
                    content.write(block[: size - content.tell()])
                    progress.advance(len(block))
            except OSError as stopped:
                error = stopped
            failures = 0 if content.tell() > before else failures + 1
            if failures == ATTEMPTS:
                if not before:
                    part.unlink()
                message = f"the download of {target.name} stopped at {before:,} of {size:,} bytes ({error or 'there are no more'})"
                raise EnvironmentFault("E514", message, remedy="Run it again: the download continues from there.")
            time.sleep(PAUSE_S * failures)
        content.flush()
        os.fsync(content.fileno())
        part.replace(target)


def _partial_file(target: Path, tag: str) -> Path:
    """Path of the partial file; partial files of other content are removed, unless another process has them locked."""
    name = target.name if len(os.fsencode(target.name)) <= MAX_NAME_BYTES else hashlib.sha256(os.fsencode(target.name)).hexdigest()
    ours = f".{name}.{hashlib.sha256(tag.encode()).hexdigest()[:TAG_DIGITS]}.part"
    others = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{{TAG_DIGITS}}}\.part")
    for orphan in [path for path in target.parent.iterdir() if others.fullmatch(path.name) and path.name != ours]:
        remove_unlocked(orphan)
    return target.with_name(ours)


def _lock_part(part: Path, target: Path) -> int:
    """Open and lock the partial file; returns its handle."""
    while True:
        try:
            handle = os.open(part, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise EnvironmentFault("E567", f"{part} is a symbolic link", remedy="Remove it, or use another folder.") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise EnvironmentFault("E513", f"another process downloads {target}", remedy="Wait until it has ended.") from error
        if os.fstat(handle).st_nlink and part.exists():  # else its previous owner has just finished
            return handle
        os.close(handle)
