"""The impression log: one row for each position of each response, with the columns of the contract's table and the model digest.

To a file, rows are appended. To `s3://`, they are uploaded in parts: rows are appended to a part in a local spool, and a thread uploads
the parts that are full or old enough as whole objects, and retries until the store accepts them. A part is locked while its process lives;
one that a killed process left is uploaded by the next.
"""

import fcntl
import hashlib
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from lodestar import schema
from lodestar.engine.recommender import Recommendation
from lodestar.errors import EnvironmentFault
from lodestar.io import storage
from lodestar.io.folder_locks import lock
from lodestar.io.private_folders import private_folder, temporary_folder

PROPENSITY = 1.0  # the policy is deterministic: the top k are recommended
PART_BYTES, PART_S = 8 << 20, 30.0
SPOOL_BYTES = 256 << 20
CLOSE_S = 10.0  # to upload the remaining parts; what takes longer stays in the spool
HASH_DIGITS = 16
PART_SUFFIX, OPEN_SUFFIX = ".jsonl", ".open"
SPOOL = "impressions"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImpressionList:
    """One recommendation list as an impression; `feature_hash` identifies the history that it was made from."""

    request_id: str
    user: str
    surface: str
    model_digest: str
    arm: str
    feature_hash: str
    items: Sequence[Recommendation]

    def rows(self) -> bytes:
        """A JSON line for each position."""
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        common = orjson.dumps(
            {
                schema.REQUEST_ID: self.request_id,
                schema.USER_ID: self.user,
                schema.SHOWN_AT: now,
                schema.INGESTED_AT: now,
                schema.SURFACE: self.surface,
                schema.MODEL_DIGEST: self.model_digest,
                schema.ARM: self.arm,
                schema.PROPENSITY: PROPENSITY,
                schema.FEATURE_HASH: self.feature_hash,
                schema.IS_SPONSORED: False,
            }
        )
        per_item = [
            orjson.dumps(
                {
                    schema.ITEM_ID: item.item_id,
                    schema.POSITION: item.position,
                    schema.SCORE: item.score,
                    schema.RETRIEVER: item.retriever,
                }
            )
            for item in self.items
        ]
        return b"".join([b"%b,%b\n" % (common[:-1], fields[1:]) for fields in per_item])  # merges two JSON objects


def feature_hash(history: Sequence[str]) -> str:
    """SHA-256 of a history, 16 hex digits, to compare the served history with one that is rebuilt from the events."""
    return hashlib.sha256(orjson.dumps(history)).hexdigest()[:HASH_DIGITS]


class FileLog:
    """An append-only file; each response is one write, so that rows of several writers do not mix."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._is_torn = False

    def append(self, rows: bytes) -> None:
        """Append rows; OSError if they were not all written. After a partial write the next rows begin a new line."""
        torn = b"\n" if self._is_torn else b""
        written = os.write(self._file, torn + rows)
        self._is_torn = written < len(torn + rows)
        if self._is_torn:
            raise OSError(f"{written:,} of {len(rows):,} bytes were written")

    def lock(self) -> None:
        """Lock the file against adoption by another process."""
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def close(self) -> None:
        """Close the file and release its lock; rows are written, but not synced to disk."""
        os.close(self._file)


class S3Log:
    """Uploads parts to an `s3://` address; `dropped` is called with the number of parts dropped because the spool was full."""

    def __init__(self, address: str, dropped: Callable[[int], None], spool: Path) -> None:
        self._address, self._dropped, self._spool = address.rstrip("/"), dropped, private_folder(spool)
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._is_closed = False
        for orphan in self._spool.glob(f"*{OPEN_SUFFIX}"):
            _adopt(orphan)
        self._path, self._part, self._size = *self._opened(), 0
        self._thread = threading.Thread(target=self._run, name="impressions", daemon=True)
        self._thread.start()

    def append(self, rows: bytes) -> None:
        """Append to the open part; a thread uploads it at 8 MiB or after 30 s. OSError if the spool's disk fails."""
        with self._lock:
            self._part.append(rows)
            self._size += len(rows)
            if self._size >= PART_BYTES:
                self._rotate()
                self._wake.set()

    def close(self) -> None:
        """Upload the remaining parts; those that the store does not accept within `CLOSE_S` stay in the spool."""
        with self._lock:
            self._is_closed = True
            self._rotate()
            self._part.close()
            self._path.unlink()
        self._wake.set()
        self._thread.join(CLOSE_S)

    def _opened(self) -> tuple[Path, FileLog]:
        """Open a new part; only a locked file gets the suffix of an open part."""
        path = self._spool / f"{socket.gethostname()}-{time.time_ns()}-{uuid.uuid4().hex[:8]}{OPEN_SUFFIX}"
        part = FileLog(path.with_suffix(""))
        part.lock()
        path.with_suffix("").rename(path)
        return path, part

    def _rotate(self) -> None:
        """Close the open part unless it is empty, and open another; the caller holds the lock."""
        if self._size == 0:
            return
        full, path = self._part, self._path
        self._path, self._part = self._opened()
        self._size = 0
        path.rename(path.with_suffix(PART_SUFFIX))
        full.close()
        self._drop_oldest()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._is_closed
            if not is_last:
                self._wake.wait(PART_S)
                self._wake.clear()
            try:
                with self._lock:
                    if not self._is_closed:
                        self._rotate()
                self._send()
            except Exception as error:  # a thread's entry point: boto3 raises many kinds, disks some, and the parts are retried
                logger.warning("impressions were not stored, %d parts wait: %s %s", len(self._parts()), type(error).__name__, error)
                self._drop_oldest()

    def _send(self) -> None:
        for part in self._parts():
            if part.exists():  # otherwise another process with this spool has uploaded it
                storage.put(part.read_bytes(), f"{self._address}/date={_day(part)}/{part.name}")
                part.unlink(missing_ok=True)

    def _drop_oldest(self) -> None:
        parts = self._parts()
        sizes = [_size(part) for part in parts]
        num_dropped = 0
        while sum(sizes[num_dropped:]) > SPOOL_BYTES:
            parts[num_dropped].unlink(missing_ok=True)
            num_dropped += 1
        if num_dropped:
            self._dropped(num_dropped)

    def _parts(self) -> list[Path]:
        """Closed parts that are not uploaded yet, oldest first."""
        return sorted(self._spool.glob(f"*{PART_SUFFIX}"), key=_written)


def connect(target: str, dropped: Callable[[int], None]) -> FileLog | S3Log:
    """Open the log at a path or an `s3://` address; EnvironmentFault E505 if no file can be written there."""
    try:
        if not storage.is_remote(target):
            return FileLog(Path(target))
        # One spool for each address, so that parts go to the address that they were written for.
        return S3Log(target, dropped, temporary_folder(SPOOL) / hashlib.sha256(target.encode()).hexdigest()[:HASH_DIGITS])
    except OSError as error:
        message = f"impressions cannot be logged to {target} ({error})"
        raise EnvironmentFault("E505", message, remedy="Give another --impressions, or leave it out.") from error


def _adopt(orphan: Path) -> None:
    """Close an open part whose process has died."""
    with suppress(FileNotFoundError, BlockingIOError), lock(orphan):
        if _size(orphan) > 0:
            orphan.rename(orphan.with_suffix(PART_SUFFIX))
        else:
            orphan.unlink()


def _day(part: Path) -> str:
    return datetime.fromtimestamp(_written(part) / 1e9, UTC).date().isoformat()


def _written(part: Path) -> int:
    """Time at which the part was opened, ns since 1970, from its name."""
    return int(part.stem.rsplit("-", 2)[1])


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0
