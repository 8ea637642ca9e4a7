"""The impression log: one row for each position of each response, with the columns of the contract's table and the model digest.

To a file, rows are appended. To `s3://`, they are uploaded in parts, as whole objects, from a spool.
"""

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from lodestar import schema
from lodestar.data.readers.collector_parts import PLAIN_SUFFIX, created_at
from lodestar.engine.recommender import Recommendation
from lodestar.errors import EnvironmentFault
from lodestar.io import storage
from lodestar.io.private_folders import temporary_folder
from serving.spool import Spool, SpoolLimits

PROPENSITY = 1.0  # the policy is deterministic: the top k are recommended
PART_BYTES, PART_S = 8 << 20, 30.0
SPOOL_BYTES = 256 << 20
HASH_DIGITS = 16
MAX_ROW_BYTES = 1 << 20
SPOOL, STREAM = "impressions", "rows"


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
    """An append-only file of JSON lines; each response is one write, so that rows of several writers do not mix.

    Writers lock the file, so that one whose write failed, as the disk was full, can cut off what was written of it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._lock = threading.Lock()  # a lock of the file does not tell threads apart
        self._is_torn = False
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            if torn := _last_line(path):
                self._end_or_cut_off(torn)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def append(self, rows: bytes) -> None:
        """Append rows; OSError if they were not all written: then none is in the file, or what cannot be cut off gets a line of its own."""
        with self._lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                self._write(b"\n" + rows if self._is_torn else rows)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _write(self, lines: bytes) -> None:
        written = os.write(self._file, lines)
        if written < len(lines):
            self._cut_off(written)
            raise OSError(f"{written:,} of {len(lines):,} bytes were written")
        self._is_torn = False

    def _end_or_cut_off(self, line: bytes) -> None:
        """Prepare for rows after a line without an end: half a row is cut off, a whole one will get its end."""
        self._is_torn = _is_whole(line)
        if not self._is_torn:
            self._cut_off(len(line))

    def _cut_off(self, num_bytes: int) -> None:
        """Cut off the last bytes of the file, which others may not append to meanwhile."""
        try:
            os.ftruncate(self._file, os.fstat(self._file).st_size - num_bytes)
        except OSError:  # the disk takes no change, or it is a pipe
            self._is_torn = True

    def close(self) -> None:
        """Close the file; rows are written, but not synced to disk."""
        os.close(self._file)


def _last_line(path: Path) -> bytes:
    """The last line of a log if it has no end, which a machine that failed leaves half written; else empty."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - MAX_ROW_BYTES))
        return file.read().rpartition(b"\n")[2]


def _is_whole(line: bytes) -> bool:
    """Whether a line without an end is kept: a row, or no row of ours, which are shorter."""
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return len(line) >= MAX_ROW_BYTES
    return True


class S3Log:
    """Uploads parts to an `s3://` address; `dropped` is called with the number of parts dropped because the spool was full."""

    def __init__(self, address: str, dropped: Callable[[int], None], spool: Path) -> None:
        self._address = address.rstrip("/")
        limits = SpoolLimits(part_bytes=PART_BYTES, part_s=PART_S, max_bytes=SPOOL_BYTES, is_synced=False)
        self._spool = Spool(spool, limits, self._upload, dropped)

    def append(self, rows: bytes) -> None:
        """Append to the open part; a thread uploads it at 8 MiB or after 30 s. OSError if the spool's disk fails."""
        self._spool.append({STREAM: rows})

    def close(self) -> None:
        """Upload the remaining parts; those that the store does not accept within the spool's CLOSE_S stay in the spool."""
        self._spool.close()

    def _upload(self, _stream: str, part: str, rows: bytes) -> None:
        storage.put(rows, f"{self._address}/date={created_at(part).date().isoformat()}/{part}{PLAIN_SUFFIX}")


def connect(target: str, dropped: Callable[[int], None]) -> FileLog | S3Log:
    """Open the log at a path or an `s3://` address; EnvironmentFault E505 if no file can be written there."""
    try:
        if not storage.is_remote(target):
            return FileLog(Path(target))
        # One spool for each address, so that parts go to the address that they were written for.
        return S3Log(target, dropped, temporary_folder(SPOOL) / hashlib.sha256(target.encode()).hexdigest()[:HASH_DIGITS])
    except OSError as error:
        remedy = "Give a file or an s3:// address that can be written, or leave the option out."
        raise EnvironmentFault("E505", f"no log can be written to {target} ({error})", remedy=remedy) from error
