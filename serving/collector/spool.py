"""The spool: rows are durable on disk before the response, and published to the landing soon after.

Rows are appended to one open part per table. A thread publishes the parts that are full or old enough, and retries until the landing
accepts them. A part is locked while its process lives; one that a killed process left is published by the next, without a
last line that is incomplete, whose sender got no response. No row is dropped: when the spool is full, no more are accepted.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from lodestar.data.readers.collector_parts import new_part
from lodestar.io.folder_locks import lock
from lodestar.io.fsync import sync_folder
from lodestar.io.private_folders import private_folder, private_folder_in
from serving.collector.landing import Landing

PART_BYTES = 32 << 20
SPOOL_BYTES = 1 << 30
CLOSE_S = 10.0  # to publish the remaining parts; what takes longer stays in the spool
RETRY_S = 5.0
OPEN_SUFFIX, FULL_SUFFIX = ".open", ".full"

logger = logging.getLogger(__name__)


class Spool:
    """Parts on their way to a landing; `published` is called with the table of each published part."""

    def __init__(self, landing: Landing, folder: Path, part_s: float, published: Callable[[str], None]) -> None:
        self._landing, self._part_s, self._published = landing, part_s, published
        self._folder = private_folder_in(folder)
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
        """Whether closed parts waiting for the landing have 1 GiB or more; the journal accepts no rows then. Open parts are not counted."""
        return self.waiting_bytes >= SPOOL_BYTES

    def append(self, rows: Mapping[str, bytes]) -> None:
        """Append lines by table and sync them to disk: they survive a kill and a power failure. OSError if they could not be written."""
        with self._lock:
            for table, lines in rows.items():
                part = self._open.get(table)
                if part is None:
                    part = self._open[table] = _Part(self._folder / table)
                    self._wake.set()  # to compute when it is due
                try:
                    part.append(lines)
                except OSError:
                    self._rotate(table)
                    raise
                if part.size >= PART_BYTES:
                    self._rotate(table)
                    self._wake.set()

    def close(self) -> None:
        """Close all parts and publish them, within CLOSE_S."""
        with self._lock:
            self._is_closed = True
            for table in list(self._open):
                self._rotate(table)
        self._wake.set()
        self._thread.join(CLOSE_S)

    def _rotate(self, table: str) -> None:
        """Close the open part of a table; the caller holds the lock."""
        self._open.pop(table).close()
        self.waiting_bytes = self._measure()

    def _run(self) -> None:
        pause_s, is_last = 0.0, False  # parts that the last process left are published at once
        while not is_last:
            is_last = self._is_closed
            if not is_last:
                self._wake.wait(min(pause_s, self._part_s))
                self._wake.clear()
            try:
                self._rotate_old()
                self._publish()
                pause_s = self._due_s()
            except Exception as error:  # a thread's entry point: boto3 raises many kinds, disks some, and the parts are retried
                logger.warning("parts were not published, %d wait: %s %s", len(self._full()), type(error).__name__, error)
                pause_s = RETRY_S

    def _due_s(self) -> float:
        """Seconds until the oldest open part is due."""
        with self._lock:
            return max(
                0.05, min((part.opened_s for part in self._open.values()), default=time.monotonic()) + self._part_s - time.monotonic()
            )

    def _rotate_old(self) -> None:
        with self._lock:
            for table in [table for table, part in self._open.items() if time.monotonic() - part.opened_s >= self._part_s]:
                self._rotate(table)

    def _publish(self) -> None:
        for file in self._full():
            with suppress(FileNotFoundError):  # another process with this spool has published it
                lines = file.read_bytes()
                lines = lines[: lines.rfind(b"\n") + 1]
                table = file.parent.name
                if lines:
                    self._landing.publish(table, file.stem, lines)
                    self._published(table)
                file.unlink()
            self.waiting_bytes = self._measure()

    def _full(self) -> list[Path]:
        return sorted(self._folder.glob(f"*/*{FULL_SUFFIX}"), key=lambda file: file.name)

    def _measure(self) -> int:
        return sum(map(_size, self._full()))


class _Part:
    """An open part: a locked file that rows are appended to."""

    def __init__(self, folder: Path) -> None:
        private_folder(folder)
        self._path = folder / f"{new_part()}{OPEN_SUFFIX}"
        self.size, self.opened_s = 0, time.monotonic()
        unlocked = self._path.with_suffix("")
        self._file = os.open(unlocked, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        unlocked.rename(self._path)  # only a locked file gets the suffix of an open part
        sync_folder(folder)

    def append(self, lines: bytes) -> None:
        written = os.write(self._file, lines)
        if written < len(lines):
            raise OSError(f"{written:,} of {len(lines):,} bytes were written")
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
