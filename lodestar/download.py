"""Bytes from elsewhere, brought in pieces: what a killed process has got is not brought again."""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lodestar.errors import EnvironmentFault
from lodestar.progress import Progress

ATTEMPTS, PAUSE_S = 5, 0.5  # without a byte in between
BLOCK_BYTES = 1 << 20
TAG_DIGITS = 16

Read = Callable[[int], Iterator[bytes]]  # from a place on; it may end early or raise an OSError


def bring(target: Path, *, size: int, tag: str, read: Read) -> None:
    """Write `size` bytes to a path, of the content that `tag` names; EnvironmentFault E514 where they stop coming.

    Until it is whole it lies beside the path; with the same tag the next call goes on there.
    """
    part = target.with_name(f".{target.name}.{hashlib.sha256(tag.encode()).hexdigest()[:TAG_DIGITS]}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    failures, error = 0, None
    with part.open("ab") as content, Progress(f"bring {target.name}", size) as progress:
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
    part.replace(target)
