"""Rows as a file gives them, before any check, with a way back from a row to its line."""

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lodestar.errors import DataError, Place

if TYPE_CHECKING:
    import pyarrow as pa

Lines = Callable[[Sequence[int]], list[int]]
Batches = Callable[[], "Iterator[pa.Table]"]


@dataclass(frozen=True, kw_only=True)
class Malformed:
    """A line that is no row at all."""

    line: int
    text: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file, read in batches of bounded size: `names` are all its columns, `columns` those asked for, which the batches hold.

    A value has the type that the file gives it, which is text but in Parquet. `lines` turns ascending row numbers (from 0) into line
    numbers (from 1, header included); `malformed` is to be asked when the batches have been read. `left_out` counts rows that a known
    data set's reader did not pass on, by the reason; `notes` is what else a person should know.
    """

    file: str
    names: tuple[str, ...]
    columns: tuple[str, ...]
    batches: Batches
    lines: Lines
    malformed: Callable[[], Iterable[Malformed]] = tuple
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def read(self) -> "pa.Table":
        """All rows at once, for what is known to be small."""
        import pyarrow as pa

        found = list(self.batches())
        return pa.concat_tables(found) if found else pa.table({name: pa.array([], pa.string()) for name in self.columns})


def whole(rows: "pa.Table") -> Batches:
    """Rows that are in memory, as one batch."""
    return lambda: iter((rows,))


def count_from(first: int) -> Lines:
    """The lines of a file in which every row takes one, the first of them at `first`."""
    return lambda rows: [row + first for row in rows]


def open_bytes(path: Path) -> IO[bytes]:
    """The file's content, unpacked where its name ends in .gz."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def check_text(path: Path, encoding: str = "utf8") -> None:
    """DataError E107 where a .gz file is not whole, E104 where a text is not what it should be: all of it is looked at, once.

    What comes after reads a column or a line at a time, and would not see what lies in between.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with open_bytes(path) as content:
            while block := content.read(1 << 24):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise not_utf8(path) or unreadable(path, f"cannot be read as text ({error})") from error
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, f"cannot be read ({error})") from error


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
