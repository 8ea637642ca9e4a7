"""The spool: rows wait on disk, in parts, until they are published: to the collector's landing, or as impressions in an object store.

Rows are appended to one open part per stream. A thread publishes the parts that are full or old enough, and retries until they are
accepted. A part is locked while its process lives; one that a killed process left is published by the next, without a last line that is
incomplete. When the spool is full, either no more rows are accepted (`is_full`), or the oldest parts are dropped and counted.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lodestar.data.readers.collector_parts import new_part
from lodestar.io.folder_locks import lock
from lodestar.io.fsync import sync_folder
from lodestar.io.private_folders import private_folder

CLOSE_S = 10.0  # to publish the remaining parts; what takes longer stays in the spool
RETRY_S = 5.0
OPEN_SUFFIX, FULL_SUFFIX = ".open", ".full"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SpoolLimits:
    """A part is closed at `part_bytes` or after `part_s`; the spool is full with `max_bytes` in closed parts.

    With `is_synced`, rows survive a power failure as well as a kill.
    """

    part_bytes: int
    part_s: float
    max_bytes: int
    is_synced: bool


class Spool:
    """Parts on their way; `publish` gets the stream, the name and the lines of each, and raises if they are not accepted.

    With `dropped`, a full spool drops its oldest parts, and calls it with their number.
    """

    def __init__(
        self, folder: Path, limits: SpoolLimits, publish: Callable[[str, str, bytes], None], dropped: Callable[[int], None] | None = None
    ) -> None:
        self._folder, self._limits, self._publish_part, self._dropped = private_folder(folder), limits, publish, dropped
        self._open: dict[str, _Part] = {}
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._is_closed = False
        for orphan in self._folder.glob(f"*/*{OPEN_SUFFIX}"):
            _adopt(orphan)
        self.waiting_bytes = self._measure()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    @property
    def is_full(self) -> bool:
        """Whether closed parts that wait have `max_bytes` or more, open parts not counted."""
        return self.waiting_bytes >= self._limits.max_bytes

    def append(self, rows: Mapping[str, bytes]) -> None:
        """Append lines by stream, and sync them if the spool does; they survive a kill. OSError if they could not be written."""
        with self._lock:
            for stream, lines in rows.items():
                part = self._open.get(stream)
                if part is None:
                    part = self._open[stream] = _Part(self._folder / stream, is_synced=self._limits.is_synced)
                    self._wake.set()  # to compute when it is due
                try:
                    part.append(lines)
                except OSError:
                    self._rotate(stream)
                    raise
                if part.size >= self._limits.part_bytes:
                    self._rotate(stream)
                    self._wake.set()

    def close(self) -> None:
        """Close all parts and publish them, within CLOSE_S."""
        with self._lock:
            self._is_closed = True
            for stream in list(self._open):
                self._rotate(stream)
        self._wake.set()
        self._thread.join(CLOSE_S)

    def _rotate(self, stream: str) -> None:
        """Close the open part of a stream; the caller holds the lock."""
        self._open.pop(stream).close()
        self.waiting_bytes = self._measure()
        self._drop_oldest()

    def _run(self) -> None:
        pause_s, is_last = 0.0, False  # parts that the last process left are published at once
        while not is_last:
            is_last = self._is_closed
            if not is_last:
                self._wake.wait(min(pause_s, self._limits.part_s))
                self._wake.clear()
            try:
                self._rotate_old()
                self._publish()
                pause_s = self._due_s()
            except Exception as error:  # a thread's entry point: boto3 raises many kinds, disks some, and the parts are retried
                logger.warning("parts were not published, %d wait: %s %s", len(self._full()), type(error).__name__, error)
                self._drop_oldest()
                pause_s = RETRY_S

    def _due_s(self) -> float:
        """Seconds until the oldest open part is due."""
        with self._lock:
            oldest_s = min((part.opened_s for part in self._open.values()), default=time.monotonic())
            return max(0.05, oldest_s + self._limits.part_s - time.monotonic())

    def _rotate_old(self) -> None:
        with self._lock:
            for stream in [stream for stream, part in self._open.items() if time.monotonic() - part.opened_s >= self._limits.part_s]:
                self._rotate(stream)

    def _publish(self) -> None:
        for file in self._full():
            with suppress(FileNotFoundError):  # another process with this spool has published it
                lines = file.read_bytes()
                lines = lines[: lines.rfind(b"\n") + 1]
                if lines:
                    self._publish_part(file.parent.name, file.stem, lines)
                file.unlink()
            self.waiting_bytes = self._measure()

    def _drop_oldest(self) -> None:
        """Drop the oldest closed parts until the others have `max_bytes` at most; no part if the spool refuses rows instead."""
        parts = self._full() if self._dropped is not None else []
        sizes = [_size(part) for part in parts]
        num_dropped = 0
        while sum(sizes[num_dropped:]) > self._limits.max_bytes:
            parts[num_dropped].unlink(missing_ok=True)
            num_dropped += 1
        if num_dropped and self._dropped is not None:
            self.waiting_bytes = self._measure()
            self._dropped(num_dropped)

    def _full(self) -> list[Path]:
        return sorted(self._folder.glob(f"*/*{FULL_SUFFIX}"), key=lambda file: file.name)

    def _measure(self) -> int:
        return sum(map(_size, self._full()))


class _Part:
    """An open part: a locked file that rows are appended to."""

    def __init__(self, folder: Path, *, is_synced: bool) -> None:
        private_folder(folder)
        self._is_synced = is_synced
        self._path = folder / f"{new_part()}{OPEN_SUFFIX}"
        self.size, self.opened_s = 0, time.monotonic()
        unlocked = self._path.with_suffix("")
        self._file = os.open(unlocked, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        unlocked.rename(self._path)  # only a locked file gets the suffix of an open part
        if is_synced:
            sync_folder(folder)

    def append(self, lines: bytes) -> None:
        written = os.write(self._file, lines)
        if written < len(lines):
            raise OSError(f"{written:,} of {len(lines):,} bytes were written")
        if self._is_synced:
            os.fdatasync(self._file)
        self.size += len(lines)

    def close(self) -> None:
        self._path.rename(self._path.with_suffix(FULL_SUFFIX))
        os.close(self._file)


def _adopt(orphan: Path) -> None:
    """Close an open part whose process has died."""
    with suppress(FileNotFoundError, BlockingIOError), lock(orphan):
        orphan.rename(orphan.with_suffix(FULL_SUFFIX))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
