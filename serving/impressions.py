"""The impression log: every place of every answer, as a row of the contract's table, by the model that answered.

To a file the rows are appended for good. To `s3://` they go in parts: rows are appended to a part in a spool in the local folder, and a
thread sends the parts that are full or old enough as whole objects, again and again until the store takes them. A part is locked as
long as the process that writes it lives; one that a killed process left is sent by the next.
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

from lodestar import schema, storage
from lodestar.engine.recommender import Recommendation
from lodestar.errors import EnvironmentFault
from lodestar.folder_locks import lock
from lodestar.private import own_folder, temporary_folder

PROPENSITY = 1.0  # the best k are shown, by no lot
PART_BYTES, PART_S = 8 << 20, 30.0
SPOOL_BYTES = 256 << 20
CLOSE_S = 10.0  # to send what is left; what takes longer stays in the spool
HASH_DIGITS = 16
PART_SUFFIX, OPEN_SUFFIX = ".jsonl", ".open"
SPOOL = "impressions"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One list as it was shown; `feature_hash` names the history that it was made from."""

    request_id: str
    user: str
    surface: str
    model_digest: str
    arm: str
    feature_hash: str
    places: Sequence[Recommendation]

    def rows(self) -> bytes:
        """A JSON line for each place."""
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        same = orjson.dumps(
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
        own = [
            orjson.dumps(
                {
                    schema.ITEM_ID: place.item_id,
                    schema.POSITION: place.position,
                    schema.SCORE: place.score,
                    schema.RETRIEVER: place.retriever,
                }
            )
            for place in self.places
        ]
        return b"".join([b"%b,%b\n" % (same[:-1], fields[1:]) for fields in own])  # two objects become one


def feature_hash(history: Sequence[str]) -> str:
    """Names what the model was given, so that it can be compared with what is rebuilt from the log."""
    return hashlib.sha256(orjson.dumps(history)).hexdigest()[:HASH_DIGITS]


class FileLog:
    """A file that rows are appended to, each answer's at once, so that those of many writers never mix."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._is_torn = False

    def append(self, rows: bytes) -> None:
        """OSError where the rows are not there; should some be, half of a row among them, what comes next begins a new line."""
        torn = b"\n" if self._is_torn else b""
        written = os.write(self._file, torn + rows)
        self._is_torn = written < len(torn + rows)
        if self._is_torn:
            raise OSError(f"{written:,} of {len(rows):,} bytes were written")

    def lock(self) -> None:
        """Keep the file from who takes over what is left."""
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def close(self) -> None:
        """Close the file, and with it give up the lock; rows are written already, and are not synced."""
        os.close(self._file)


class BucketLog:
    """Parts that go to an `s3://` address; `dropped` is told how many parts were given up because the spool was full."""

    def __init__(self, address: str, dropped: Callable[[int], None], spool: Path) -> None:
        self._address, self._dropped, self._spool = address.rstrip("/"), dropped, own_folder(spool)
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._is_closed = False
        for left in self._spool.glob(f"*{OPEN_SUFFIX}"):
            _take_over(left)
        self._path, self._part, self._size = *self._opened(), 0
        self._thread = threading.Thread(target=self._run, name="impressions", daemon=True)
        self._thread.start()

    def append(self, rows: bytes) -> None:
        """Append to the open part in the spool; one of 8 MiB or of 30 s is uploaded by a thread. OSError where the spool's disk fails."""
        with self._lock:
            self._part.append(rows)
            self._size += len(rows)
            if self._size >= PART_BYTES:
                self._turn()
                self._wake.set()

    def close(self) -> None:
        """Send what is there; what the store does not take in `CLOSE_S` stays in the spool."""
        with self._lock:
            self._is_closed = True
            self._turn()
            self._part.close()
            self._path.unlink()
        self._wake.set()
        self._thread.join(CLOSE_S)

    def _opened(self) -> tuple[Path, FileLog]:
        """A new part; it gets its name when it is locked."""
        path = self._spool / f"{socket.gethostname()}-{time.time_ns()}-{uuid.uuid4().hex[:8]}{OPEN_SUFFIX}"
        part = FileLog(path.with_suffix(""))
        part.lock()
        path.with_suffix("").rename(path)
        return path, part

    def _turn(self) -> None:
        """Close the part that rows go to, if there are any, and open another; the lock is held."""
        if self._size == 0:
            return
        full, path = self._part, self._path
        self._path, self._part = self._opened()
        self._size = 0
        path.rename(path.with_suffix(PART_SUFFIX))
        full.close()
        self._give_up_oldest()

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
                        self._turn()
                self._send()
            except Exception as error:  # a thread's entry point: boto3 raises many kinds, disks some, and the parts are tried again
                logger.warning("impressions were not stored, %d parts wait: %s %s", len(self._parts()), type(error).__name__, error)
                self._give_up_oldest()

    def _send(self) -> None:
        for part in self._parts():
            if part.exists():  # or another process with this spool has sent it
                storage.put(part.read_bytes(), f"{self._address}/date={_day(part)}/{part.name}")
                part.unlink(missing_ok=True)

    def _give_up_oldest(self) -> None:
        parts = self._parts()
        sizes = [_size(part) for part in parts]
        given_up = 0
        while sum(sizes[given_up:]) > SPOOL_BYTES:
            parts[given_up].unlink(missing_ok=True)
            given_up += 1
        if given_up:
            self._dropped(given_up)

    def _parts(self) -> list[Path]:
        """Those that wait, oldest first."""
        return sorted(self._spool.glob(f"*{PART_SUFFIX}"), key=_written)


def connect(target: str, dropped: Callable[[int], None]) -> FileLog | BucketLog:
    """The log at a path or an `s3://` address; EnvironmentFault E505 where no file can be written there."""
    try:
        if not storage.is_remote(target):
            return FileLog(Path(target))
        # Parts that were meant for another address are not ours to send.
        return BucketLog(target, dropped, temporary_folder(SPOOL) / hashlib.sha256(target.encode()).hexdigest()[:HASH_DIGITS])
    except OSError as error:
        message = f"impressions cannot be logged to {target} ({error})"
        raise EnvironmentFault("E505", message, remedy="Give another --impressions, or leave it out.") from error


def _take_over(left: Path) -> None:
    """A part that nobody holds is as good as full."""
    with suppress(FileNotFoundError, BlockingIOError), lock(left):
        if _size(left) > 0:
            left.rename(left.with_suffix(PART_SUFFIX))
        else:
            left.unlink()


def _day(part: Path) -> str:
    return datetime.fromtimestamp(_written(part) / 1e9, UTC).date().isoformat()


def _written(part: Path) -> int:
    """When the part was opened, in ns; its name says so."""
    return int(part.stem.rsplit("-", 2)[1])


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0
