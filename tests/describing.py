"""What tests of descriptions share: a description, the first answer to every decision, and the rows that a declaration makes."""

import random
import re
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lodestar.data.address import Address
from lodestar.data.declaration.model import FILE
from lodestar.data.describe.describe_path import Described, describe_path
from lodestar.data.ingest import append
from lodestar.data.tables.tables import Tables

START = datetime(2023, 11, 1, 6, 30, 5, tzinfo=UTC)
NUM_ROWS = 40
HEADER = "user_id,item_id,event_type,event_time"
_DRAW = random.Random(3)
EVENTS = [(f"u{row % 7}", f"i{_DRAW.randrange(9)}", START + timedelta(hours=17 * row)) for row in range(NUM_ROWS)]
_CANDIDATE = re.compile(r"\s*#(?! )\S")


def log(header: str, row: Callable[[str, str, datetime], str]) -> str:
    """A file of EVENTS, a line each after the header."""
    return "\n".join([header, *(row(*event) for event in EVENTS)]) + "\n"


def plain(user: str, item: str, time: datetime) -> str:
    """A view as the contract has it."""
    return f"{user},{item},view,{time.isoformat()}"


PLAIN = log(HEADER, plain)


def triples(rows: list[dict[str, Any]]) -> list[tuple[str, str, datetime]]:
    """User, item and time of events."""
    return [(row["user_id"], row["item_id"], row["event_time"]) for row in rows]


def described(folder: Path, name: str = "", files: Mapping[str, str | bytes] | None = None) -> Described:
    """The description of a file or folder below `folder`, into which the files are written first."""
    for path, content in (files or {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return describe_path(Address(path=str(folder / name)), folder)


def decided(text: str) -> tuple[str, int]:
    """A declaration with the first candidate of each decision declared, and the number of these lines."""
    lines, edits, is_after_candidate = list[str](), 0, False
    wished = text.partition("# If you like")[0]
    for line in wished.splitlines():
        is_candidate = bool(_CANDIDATE.match(line))
        is_first = is_candidate and not is_after_candidate
        lines.append(line.replace("#", "", 1) if is_first else line)
        edits, is_after_candidate = edits + is_first, is_candidate
    return "\n".join(lines) + "\n", edits


def declared_lines(text: str) -> list[str]:
    """The lines of a declaration that are declared, without the reasons behind them."""
    return [line.partition("  # ")[0] for line in text.splitlines() if line and not line.lstrip().startswith("#")]


def candidates(text: str) -> list[str]:
    """The candidates of all decisions that are needed."""
    needed = text.partition("# If you like")[0]
    return [line.strip().removeprefix("#").partition("  # ")[0] for line in needed.splitlines() if _CANDIDATE.match(line)]


def ingested(data: str | Path, table: str = "events") -> list[dict[str, Any]]:
    """The rows of a table as an ingest of `data` keeps them."""
    with tempfile.TemporaryDirectory() as folder:
        append(str(data), Path(folder, "tables"))
        rows: list[dict[str, Any]] = getattr(Tables(root=Path(folder, "tables")), table)().to_pylist()
        return rows


def declare(folder: Path, text: str) -> str:
    """Write a declaration into a folder; returns its path."""
    path = folder / FILE
    path.write_text(text)
    return str(path)
