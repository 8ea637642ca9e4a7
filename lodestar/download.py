"""Bytes from elsewhere, brought in pieces: what a killed process has got is not brought again."""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lodestar.errors import EnvironmentFault
from lodestar.folder_locks import lock
from lodestar.progress import Progress

ATTEMPTS, PAUSE_S = 5, 0.5  # without a byte in between
BLOCK_BYTES = 1 << 20
TAG_DIGITS = 16
MOST_NAME_BYTES = 200  # of a name that more is put around

Read = Callable[[int], Iterator[bytes]]  # from a place on; it may end early or raise an OSError


def bring(target: Path, *, size: int, tag: str, read: Read) -> None:
    """Write `size` bytes to a path, of the content that `tag` names; EnvironmentFault E514 where they stop coming.

    Until it is whole it lies beside the path; with the same tag the next call goes on there, with another one it goes. E513 where another
    process brings it, E567 where something else has the name.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _part(target, tag)
    failures, error = 0, None
    with os.fdopen(_taken(part, target), "ab") as content, Progress(f"bring {target.name}", size) as progress:
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
                remedy = "Run it again: what has come is kept."
                raise EnvironmentFault("E514", f"{target.name} stopped coming at {before:,} of {size:,} bytes ({error})", remedy=remedy)
            time.sleep(PAUSE_S * failures)
        content.flush()
        os.fsync(content.fileno())
        part.replace(target)


def _part(target: Path, tag: str) -> Path:
    """Where it lies until it is whole; what lies there of another content goes, unless somebody is at it."""
    name = target.name if len(os.fsencode(target.name)) <= MOST_NAME_BYTES else hashlib.sha256(os.fsencode(target.name)).hexdigest()
    ours = f".{name}.{hashlib.sha256(tag.encode()).hexdigest()[:TAG_DIGITS]}.part"
    others = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{{TAG_DIGITS}}}\.part")
    for left in [path for path in target.parent.iterdir() if others.fullmatch(path.name) and path.name != ours]:
        with contextlib.suppress(OSError), lock(left):
            left.unlink()
    return target.with_name(ours)


def _taken(part: Path, target: Path) -> int:
    """A handle of the part, for this process alone."""
    while True:
        try:
            handle = os.open(part, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise EnvironmentFault("E567", f"{part} is a symbolic link", remedy="Take it away, or name another folder.") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise EnvironmentFault("E513", f"another process brings {target}", remedy="Wait until it has ended.") from error
        if os.fstat(handle).st_nlink and part.exists():  # or whoever had it has just finished
            return handle
        os.close(handle)
