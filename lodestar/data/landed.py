"""What a collector has landed: parts of one table, `events/part-20260131T120000000000Z-3f9a0c1d2e4b.jsonl.gz`, known by their names.

Their senders are strangers, so that no row of theirs, nor a part that is cut or is none at all, may stop those who read the others: what
is bad is set aside, counted and reported. The name says so, and not an option, which somebody would forget.
"""

import re
import uuid
from datetime import UTC, datetime
from pathlib import Path

from lodestar import schema

PART_SUFFIX = ".jsonl.gz"
QUARANTINE = "quarantine"  # bad messages of Kafka, which nobody reads as rows
# A collector closes a part at 32 MiB or with the batch that it read from Kafka, which is below 128.
MOST_PART_BYTES = 1 << 28
_NAME = re.compile(r"part-\d{8}T\d{12}Z-[0-9a-f]{12}\.jsonl\.gz", re.ASCII)


def new_part() -> str:
    """A name, but for its suffix, that sorts by when it was given, in UTC, and that nobody else gives."""
    return f"part-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{uuid.uuid4().hex[:12]}"


def is_part(path: Path) -> bool:
    """Whether a collector has named the file."""
    return _NAME.fullmatch(path.name) is not None


def misplaced(root: Path) -> list[str]:
    """In words, the parts below a folder that are read as no table: those where no table is, and those that are no plain files."""
    known = {*schema.TABLES, QUARANTINE, *(["."] if root.name in schema.TABLES else [])}
    found: dict[str, int] = {}
    odd = []
    for part in sorted(root.rglob("part-*" + PART_SUFFIX)):
        folder = part.parent.relative_to(root).as_posix()
        if not is_part(part) or folder.startswith(".spool"):
            continue
        if folder.partition("/")[0] not in known:
            found[folder] = found.get(folder, 0) + 1
        elif not is_plain(part):
            odd.append(f"E174 {part.relative_to(root).as_posix()} is no plain file, and was left out")
    return [f"E174 {count:,} parts lie in {folder}, which is no table, and were left out" for folder, count in found.items()] + odd


def is_plain(path: Path) -> bool:
    """Whether a file may be read: a link may point anywhere, and a pipe has no end."""
    return path.is_file() and not path.is_symlink()
