"""Landed parts: files of one table that a collector wrote, `events/part-20260131T120000000000Z-3f9a0c1d2e4b.jsonl.gz`, or a predictor.

A predictor's are not compressed: `impressions/date=2026-01-31/part-….jsonl`. The senders are untrusted, so a bad row, a truncated part or
one of garbage must not stop the ingest of the others: it is quarantined, counted and reported. The file name decides this, not an option,
which could be forgotten.
"""

import re
import uuid
from datetime import UTC, datetime
from pathlib import Path

from lodestar import schema

PLAIN_SUFFIX = ".jsonl"
PART_SUFFIX = PLAIN_SUFFIX + ".gz"
QUARANTINE = "quarantine"  # folder of bad Kafka messages, which are never read as rows
# A collector closes a part at 32 MiB or after a batch from Kafka, which is below 128 MiB.
MAX_PART_BYTES = 1 << 28
_TIME_FORMAT = "%Y%m%dT%H%M%S%f"
_NAME = re.compile(r"part-\d{8}T\d{12}Z-[0-9a-f]{12}\.jsonl(\.gz)?", re.ASCII)


def new_part() -> str:
    """A unique part name, without its suffix, that sorts by creation time (UTC)."""
    return f"part-{datetime.now(UTC).strftime(_TIME_FORMAT)}Z-{uuid.uuid4().hex[:12]}"


def created_at(name: str) -> datetime:
    """Creation time (UTC) in the name of a part."""
    return datetime.strptime(name.split("-")[1], f"{_TIME_FORMAT}%z")


def is_part(path: Path) -> bool:
    """Whether the file has the name of a collector's or a predictor's part."""
    return _NAME.fullmatch(path.name) is not None


def is_compressed(part: Path) -> bool:
    """Whether a part is gzip, as its name says, whatever is in it."""
    return part.name.endswith(PART_SUFFIX)


def misplaced_parts(root: Path) -> list[str]:
    """E177 notes on parts below a folder that are not read: those outside a table's folder and those that are not plain files."""
    known = {*schema.TABLES, QUARANTINE, *(["."] if root.name in schema.TABLES else [])}
    found: dict[str, int] = {}
    not_plain = []
    for part in sorted(root.rglob(f"part-*{PLAIN_SUFFIX}*")):
        folder = part.parent.relative_to(root).as_posix()
        if not is_part(part) or folder.startswith(".spool"):
            continue
        if folder.partition("/")[0] not in known:
            found[folder] = found.get(folder, 0) + 1
        elif not is_plain(part):
            not_plain.append(f"E177 {part.relative_to(root).as_posix()} is no plain file, and was left out")
    return [f"E177 {count:,} parts lie in {folder}, which is no table, and were left out" for folder, count in found.items()] + not_plain


def is_plain(path: Path) -> bool:
    """Whether a part may be read: no symbolic link, which may point anywhere, and no pipe, which has no end."""
    return path.is_file() and not path.is_symlink()
