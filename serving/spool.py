"""The spool: rows wait on disk, in parts, until they are published: to the collector's landing, or as impressions in an object store.

Rows are appended to one open part per stream. A thread publishes the parts that are full or old enough, and retries until they are
accepted. A part is locked while its process lives; one that a killed process left is published by the next, without a last line that is
incomplete. When the spool is full, either no more rows are accepted (`is_full`), or the oldest parts are dropped and counted.

A full disk refuses rows and leaves nothing behind, and whatever a disk or a store answers, the thread goes on.
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
UNLOCKED_S = 60.0  # far longer than a new part is without its lock and suffix

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
        self._num_rotated = 0
        self._adopt_orphans()
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
                    if part.is_torn:
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
        """Close the open part of a stream; the caller holds the lock. A part that the disk does not let close is adopted later."""
        part = self._open.pop(stream)
        try:
            part.close()
        except OSError as error:
            logger.warning("a part could not be closed: %s", error)
            return
        self.waiting_bytes += part.size
        self._num_rotated += 1
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
                self._adopt_orphans()
                self._publish()
                pause_s = self._due_s()
            except Exception as error:  # a thread's entry point: boto3 raises many kinds, disks some, and the parts are retried
                self._report(error)
                pause_s = RETRY_S

    def _report(self, error: Exception) -> None:
        """Log why parts wait, and drop what is too much; whatever the disk answers, as an error here would end the thread."""
        try:
            waiting = f"{len(self._full()):,}"
            self._measure_again()
            with self._lock:
                self._drop_oldest()
        except OSError as second:
            waiting = f"an unknown number ({second})"
        logger.warning("parts were not published, %s wait: %s %s", waiting, type(error).__name__, error)

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
        """Publish the parts, oldest first, up to one that is refused; one that cannot be read does not hold up the others."""
        unreadable: OSError | None = None
        for file in self._full():
            try:
                lines = file.read_bytes()
            except FileNotFoundError:  # another process with this spool has published it
                continue
            except OSError as error:
                unreadable = error
                continue
            size = len(lines)
            lines = lines[: lines.rfind(b"\n") + 1]
            if lines:
                self._publish_part(file.parent.name, file.stem, lines)
            with suppress(FileNotFoundError):  # it was dropped in the meantime
                file.unlink()
                with self._lock:
                    self.waiting_bytes -= size
        self._measure_again()
        if unreadable is not None:
            raise unreadable

    def _measure_again(self) -> None:
        """Measure what waits, as other processes may share the spool; without the lock, which requests wait for."""
        before = self._num_rotated
        waiting_bytes = self._measure()
        with self._lock:
            if self._num_rotated == before:
                self.waiting_bytes = waiting_bytes

    def _adopt_orphans(self) -> None:
        """Close open parts whose process has died, and remove what one left that died before its part was locked."""
        for orphan in self._folder.glob(f"*/*{OPEN_SUFFIX}"):
            _adopt(orphan)
        for part in self._folder.glob("*/part-*"):
            if not part.suffix:
                with suppress(OSError):
                    if time.time() - part.stat().st_mtime > UNLOCKED_S:
                        part.unlink()

    def _drop_oldest(self) -> None:
        """Drop the oldest closed parts until the others have `max_bytes` at most; no part if the spool refuses rows instead.

        The caller holds the lock.
        """
        if self._dropped is None or self.waiting_bytes <= self._limits.max_bytes:
            return
        num_dropped = 0
        try:
            parts = self._full()
            sizes = [_size(part) for part in parts]
            while sum(sizes[num_dropped:]) > self._limits.max_bytes:
                parts[num_dropped].unlink(missing_ok=True)
                num_dropped += 1
            self.waiting_bytes = sum(sizes[num_dropped:])
        except OSError as error:
            logger.warning("parts could not be dropped: %s", error)
        if num_dropped:
            self._dropped(num_dropped)

    def _full(self) -> list[Path]:
        return sorted(self._folder.glob(f"*/*{FULL_SUFFIX}"), key=lambda file: file.name)

    def _measure(self) -> int:
        return sum(map(_size, self._full()))


def write_whole(file: int, content: bytes) -> None:
    """Write in one call of the system; OSError unless the disk has room for all of it."""
    written = os.write(file, content)
    if written < len(content):
        raise OSError(f"{written:,} of {len(content):,} bytes were written")


class _Part:
    """An open part: a locked file that rows are appended to. `is_torn` says that the rows of a failed append could not be cut off."""

    def __init__(self, folder: Path, *, is_synced: bool) -> None:
        private_folder(folder)
        self._is_synced = is_synced
        self._path = folder / f"{new_part()}{OPEN_SUFFIX}"
        self.size, self.opened_s, self.is_torn = 0, time.monotonic(), False
        unlocked = self._path.with_suffix("")
        self._file = os.open(unlocked, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            unlocked.rename(self._path)  # only a locked file gets the suffix of an open part
            if is_synced:
                sync_folder(folder)
        except OSError:
            os.close(self._file)
            for name in (unlocked, self._path):
                with suppress(OSError):
                    name.unlink()
            raise

    def append(self, lines: bytes) -> None:
        try:
            write_whole(self._file, lines)
            if self._is_synced:
                os.fdatasync(self._file)
        except OSError:
            self._cut_off()
            raise
        self.size += len(lines)

    def _cut_off(self) -> None:
        """Cut off what was written of a failed append, so that the part stays in use."""
        try:
            os.ftruncate(self._file, self.size)
        except OSError:
            self.is_torn = True

    def close(self) -> None:
        """Close the file, for publishing; one without rows is removed."""
        try:
            if self.size:
                self._path.rename(self._path.with_suffix(FULL_SUFFIX))
            else:
                self._path.unlink()
        finally:
            os.close(self._file)


def _adopt(orphan: Path) -> None:
    """Close an open part whose process has died."""
    with suppress(OSError), lock(orphan):  # it is locked, gone, or the disk takes no change now
        orphan.rename(orphan.with_suffix(FULL_SUFFIX))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
