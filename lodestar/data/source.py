"""Rows as a file gives them, before any check, with a way back from a row to its line."""

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lodestar.errors import DataError, Place

if TYPE_CHECKING:
    import pyarrow as pa

Lines = Callable[[Sequence[int]], list[int]]


@dataclass(frozen=True, kw_only=True)
class Malformed:
    """A line that is no row at all."""

    line: int
    text: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file: `names` are all its columns, `rows` holds those asked for.

    A column is text as it stands, a list of texts, or int64 for moments that a typed file gives in UTC µs.
    `lines` turns ascending row numbers (from 0) into line numbers (from 1, header included). `left_out` counts rows that a known data
    set's reader did not pass on, by the reason; `notes` is what else a person should know.
    """

    file: str
    names: tuple[str, ...]
    rows: "pa.Table"
    lines: Lines
    malformed: tuple[Malformed, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def count_from(first: int) -> Lines:
    """The lines of a file in which every row takes one, the first of them at `first`."""
    return lambda rows: [row + first for row in rows]


def open_bytes(path: Path) -> IO[bytes]:
    """The file's content, unpacked where its name ends in .gz."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def check_gzip(path: Path) -> None:
    """DataError E107 where a .gz file is not whole."""
    try:
        with open_bytes(path) as content:
            while content.read(1 << 24):
                pass
    except (gzip.BadGzipFile, EOFError, OSError) as error:
        raise unreadable(path, f"is not a whole gzip file ({error})") from error


def not_utf8(path: Path) -> DataError | None:
    """The error that names the first line which is not UTF-8, if there is one."""
    with open_bytes(path) as content:
        for number, line in enumerate(content, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                value = line[max(error.start - 10, 0) : error.end + 10].decode("ascii", "backslashreplace")
                return DataError(
                    "E104",
                    "the text is not UTF-8",
                    remedy="Convert the file, for instance with iconv -f LATIN1 -t UTF-8.",
                    place=Place(file=path.name, line=number, value=value.strip()),
                )
    return None


def empty(path: Path) -> DataError:
    return DataError("E201", "the file is empty", remedy="Give a file with a row per event.", place=Place(file=path.name))


def unreadable(path: Path, message: str) -> DataError:
    return DataError("E107", f"the file {message}", remedy="Write it again, or give CSV, JSONL or Parquet.", place=Place(file=path.name))
