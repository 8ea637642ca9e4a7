"""Rows as a file gives them, before any check, with a way back from a row to its line."""

import codecs
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lodestar.data import unpacked
from lodestar.errors import DataError, Place

if TYPE_CHECKING:
    import pyarrow as pa

Lines = Callable[[Iterable[int]], Iterable[int]]
Batches = Callable[[], "Iterator[pa.Table]"]


def _none(_column: str) -> Collection[int]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Malformed:
    """A line that is no row at all, as much of it as is worth showing, and why."""

    line: int
    text: str
    message: str
    code: str = "E107"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file, read in batches of bounded size: `names` are all its columns, `columns` those asked for, which the batches hold.

    A value has the type that the file gives it, which is text but in Parquet. `lines` turns ascending row numbers (from 0) into line
    numbers (from 1, header included); `malformed` is to be asked when the batches have been read. `left_out` counts rows that a known
    data set's reader did not pass on, by the reason; `notes` is what else a person should know. Of a part that a collector landed
    (`is_landed`) what is bad is set aside, and never a reason to stop. `inexact` says of a column in which rows of the batch that was given
    last a number stands that is not kept as it was written; a column of numbers refuses those itself.
    """

    file: str
    names: tuple[str, ...]
    columns: tuple[str, ...]
    batches: Batches
    lines: Lines
    malformed: Callable[[], Iterable[Malformed]] = tuple
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    is_landed: bool = False
    inexact: Callable[[str], Collection[int]] = _none

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
    return lambda rows: (row + first for row in rows)


class Counts(NamedTuple):
    """How many ends of lines and quotes a text has."""

    newlines: int
    quotes: int


def check_text(path: Path, encoding: str = "utf8") -> Counts:
    """DataError E107 where a gz file is not whole, E104 where a text is not what it should be: all of it is looked at, once.

    What comes after reads a column or a line at a time, and would not see what lies in between.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    newlines = quotes = 0
    try:
        for piece in unpacked.pieces(path):
            decoder.decode(piece)
            newlines, quotes = newlines + piece.count(b"\n"), quotes + piece.count(b'"')
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        line = newlines + error.object.count(b"\n", 0, error.start) + 1
        raise _not_text(path, encoding, line, error) from error
    except unpacked.DAMAGED as error:
        raise unreadable(path, f"cannot be read ({error})") from error
    return Counts(newlines, quotes)


def _not_text(path: Path, encoding: str, line: int, error: UnicodeDecodeError) -> DataError:
    begin = error.object.rfind(b"\n", 0, error.start) + 1
    around = error.object[max(error.start - 10, begin) : error.end + 10].partition(b"\n")[0]
    place = Place(file=path.name, line=line, value=around.decode("ascii", "backslashreplace").strip())
    if encoding != "utf8":
        return DataError("E104", f"the text is not {encoding}", remedy="Convert the file to UTF-8.", place=place)
    remedy = "Convert the file, for instance with iconv -f LATIN1 -t UTF-8."
    return DataError("E104", "the text is not UTF-8", remedy=remedy, place=place)


def empty(path: Path) -> DataError:
    return DataError("E201", "the file is empty", remedy="Give a file with a row per event.", place=Place(file=path.name))


def unreadable(path: Path, message: str) -> DataError:
    return DataError("E107", f"the file {message}", remedy="Write it again, or give CSV, JSONL or Parquet.", place=Place(file=path.name))
