"""The impression log: every place of every answer, as a row of the contract's table, by the model that answered.

To a file the rows are appended for good. To `s3://` they go in parts: a thread takes what a spool in the local folder holds, whole
objects at a time, and tries again what the store refused. A part that a killed process left is sent by the next one.
"""

import hashlib
import logging
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson

from lodestar import schema, storage
from lodestar.engine.recommender import Recommendation

PROPENSITY = 1.0  # the best k are shown, by no lot
PART_BYTES, PART_S = 8 << 20, 30.0
SPOOL_BYTES = 256 << 20
HASH_DIGITS = 16
PART_SUFFIX, OPEN_SUFFIX = ".jsonl", ".open"
SPOOL = Path(tempfile.gettempdir(), "lodestar-impressions")

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
        same = {
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
        lines = [
            same
            | {
                schema.ITEM_ID: place.item_id,
                schema.POSITION: place.position,
                schema.SCORE: place.score,
                schema.RETRIEVER: place.retriever,
            }
            for place in self.places
        ]
        return b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)


def feature_hash(history: Sequence[str]) -> str:
    """Names what the model was given, so that it can be compared with what is rebuilt from the log."""
    return hashlib.sha256(orjson.dumps(history)).hexdigest()[:HASH_DIGITS]


class FileLog:
    """A file that rows are appended to; each answer's rows are written at once, so no row is ever half there."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def append(self, rows: bytes) -> None:
        os.write(self._file, rows)

    def close(self) -> None:
        os.close(self._file)


@dataclass(kw_only=True)
class BucketLog:
    """Parts that go to an `s3://` address; `dropped` is told how many parts were given up because the spool was full."""

    address: str
    dropped: Callable[[int], None]
    spool: Path = SPOOL
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _is_full: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.spool.mkdir(parents=True, exist_ok=True)
        for left in self.spool.glob(f"*{OPEN_SUFFIX}"):
            left.rename(left.with_suffix(PART_SUFFIX))
        self._open()
        self._thread = threading.Thread(target=self._run, name="impressions", daemon=True)
        self._thread.start()

    def append(self, rows: bytes) -> None:
        with self._lock:
            self._part.append(rows)
            self._size += len(rows)
            if self._size >= PART_BYTES:
                self._is_full.set()

    def close(self) -> None:
        """Send what is there; what the store refuses now stays in the spool."""
        self._stopped.set()
        self._is_full.set()
        self._thread.join()
        self._part.close()
        self._path.unlink(missing_ok=True)

    def _open(self) -> None:
        self._path = self.spool / f"{socket.gethostname()}-{time.time_ns()}-{uuid.uuid4().hex[:8]}{OPEN_SUFFIX}"
        self._part, self._size = FileLog(self._path), 0

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._is_full.wait(PART_S)
            self._is_full.clear()
            self._send()
        self._send()

    def _send(self) -> None:
        self._turn()
        for part in sorted(self.spool.glob(f"*{PART_SUFFIX}")):
            try:
                storage.put(part.read_bytes(), f"{self.address.rstrip('/')}/date={_day(part)}/{part.name}")
            except Exception:  # a thread's entry point: boto3 raises many kinds, and the part is tried again
                logger.warning("impressions were not stored, %d parts wait", len(list(self.spool.glob(f"*{PART_SUFFIX}"))), exc_info=True)
                self._give_up_oldest()
                return
            part.unlink()

    def _turn(self) -> None:
        """Close the part that rows go to, and open another."""
        with self._lock:
            if self._size == 0:
                return
            full, path = self._part, self._path
            self._open()
        full.close()
        path.rename(path.with_suffix(PART_SUFFIX))

    def _give_up_oldest(self) -> None:
        parts = sorted(self.spool.glob(f"*{PART_SUFFIX}"), key=_written)
        size, given_up = sum(part.stat().st_size for part in parts), 0
        while size > SPOOL_BYTES and len(parts) > given_up:
            with suppress(FileNotFoundError):
                size -= parts[given_up].stat().st_size
                parts[given_up].unlink()
            given_up += 1
        if given_up:
            self.dropped(given_up)


def connect(target: str, dropped: Callable[[int], None]) -> FileLog | BucketLog:
    """The log at a path or an `s3://` address."""
    return BucketLog(address=target, dropped=dropped) if storage.is_remote(target) else FileLog(Path(target))


def _day(part: Path) -> str:
    return datetime.fromtimestamp(_written(part) / 1e9, UTC).date().isoformat()


def _written(part: Path) -> int:
    """When the part was opened, in ns; its name says so."""
    return int(part.stem.rsplit("-", 2)[1])
