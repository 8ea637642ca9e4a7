"""Source of rows: a file's rows in batches before validation, the line number of each row, and malformed lines."""

import codecs
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lodestar.data.contract.row_errors import convert_text
from lodestar.data.contract.rules import DEFAULT_CELLS, CellOptions
from lodestar.data.readers import decompression
from lodestar.errors import DataError, Location

if TYPE_CHECKING:
    import pyarrow as pa

Lines = Callable[[Iterable[int]], Iterable[int]]
Batches = Callable[[], "Iterator[pa.Table]"]


def _no_rows(_column: str) -> Collection[int]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Malformed:
    """A malformed line, which cannot be parsed as a row: line number (from 1), an excerpt, the reason and its code."""

    line: int
    text: str
    message: str
    code: str = "E109"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file, read in batches of bounded size: `names` are all its columns, `columns` the requested ones, which the batches hold.

    Values are text, except in Parquet, which has types. `lines` maps ascending row numbers (from 0) to line numbers (from 1, header
    included). Call `malformed` after the batches have been read. `skipped_rows` counts, by reason, rows that a public data set's reader
    dropped; `notes` are for the ingest report. `is_landed`: a collector's part, whose bad rows are always quarantined. `inexact` gives, for
    a column, the rows of the last batch with a number that is not kept exactly; number columns reject those by their bounds. `cells` says
    how the validator reads the cells, where that is declared.
    """

    file: str
    names: tuple[str, ...]
    columns: tuple[str, ...]
    batches: Batches
    lines: Lines
    malformed: Callable[[], Iterable[Malformed]] = tuple
    skipped_rows: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    is_landed: bool = False
    inexact: Callable[[str], Collection[int]] = _no_rows
    cells: CellOptions = DEFAULT_CELLS

    def read(self) -> "pa.Table":
        """All rows as one table, for small files."""
        import pyarrow as pa

        found = list(self.batches())
        return pa.concat_tables(found) if found else pa.table({name: pa.array([], pa.string()) for name in self.columns})


def single_batch(rows: "pa.Table") -> Batches:
    """Batches of a table in memory: a single one."""
    return lambda: iter((rows,))


def count_from(first: int) -> Lines:
    """Line numbers of a file with one line per row, the first row on line `first`."""
    return lambda rows: (row + first for row in rows)


def check_text(path: Path, encoding: str = "utf8") -> None:
    """Decode the whole file once; errors as in `checked_chunks`."""
    for _ in checked_chunks(path, encoding):
        pass


def checked_chunks(path: Path, encoding: str) -> Iterator[bytes]:
    """Decompressed chunks of a file; DataError E108 where it is damaged, E104 at the end of the first chunk that is not in `encoding`.

    Later passes read single columns or lines, and would miss errors in the others.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    newlines = 0
    try:
        for chunk in decompression.read_chunks(path):
            decoder.decode(chunk)
            yield chunk
            newlines += chunk.count(b"\n")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        line = newlines + error.object.count(b"\n", 0, error.start) + 1
        raise _not_text(path, encoding, line, error) from error
    except UnicodeError as error:  # UTF-16 or UTF-32 in an order of bytes that nothing tells
        remedy = f'Declare encoding = "{encoding}-le", or another.'
        raise DataError("E104", f"the text is not {encoding} ({error})", remedy=remedy, place=Location(file=path.name)) from error
    except decompression.DECOMPRESSION_ERRORS as error:
        raise damaged(path, error) from error


def _not_text(path: Path, encoding: str, line: int, error: UnicodeDecodeError) -> DataError:
    start = error.object.rfind(b"\n", 0, error.start) + 1
    around = error.object[max(error.start - 10, start) : error.end + 10].partition(b"\n")[0]
    place = Location(file=path.name, line=line, value=around.decode("ascii", "backslashreplace").strip())
    if encoding != "utf8":
        return DataError("E104", f"the text is not {encoding}", remedy="Declare its encoding, or save it as UTF-8.", place=place)
    unpack = decompression.UNPACK.get(decompression.compression_of(path), "")
    return DataError("E104", "the text is not UTF-8", remedy=convert_text(str(path), unpack), place=place)


def empty(path: Path) -> DataError:
    """E201 for an empty file."""
    return DataError("E201", "the file is empty", remedy="Give a file with a row per event.", place=Location(file=path.name))


def unreadable(path: Path, message: str) -> DataError:
    """E108 for a file that cannot be read; `message` goes on from "the file"."""
    return DataError("E108", f"the file {message}", remedy="Write it again, or give CSV, JSONL or Parquet.", place=Location(file=path.name))


def damaged(path: Path, error: Exception) -> DataError:
    """E108 for a file that the system or a decompressor cannot read."""
    return unreadable(path, f"cannot be read ({getattr(error, 'strerror', None) or error})")
