"""Read delimited text (CSV, TSV and the like) with every value as text.

Arrow parses; line numbers of rows come from a second, slower pass, which only runs when there is a row error to locate.
"""

import csv
import io
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from lodestar.data.contract.rules import MAX_LINE_BYTES
from lodestar.data.readers import decompression
from lodestar.data.readers.delimited.dialect import STAND_INS, UTF8, Dialect, encoding_of, needs_stand_in, row_too_long, sniff
from lodestar.data.readers.delimited.text import open_text
from lodestar.data.readers.delimited.unclosed_quotes import unclosed_quote_lines
from lodestar.data.readers.options import BACKSLASH, FROM_CONTENT, ReadOptions
from lodestar.data.readers.source import Counts, Malformed, Source, check_text, unreadable
from lodestar.errors import DataError, Location

BLOCK_BYTES = MAX_LINE_BYTES  # the longest row that Arrow accepts; it reads up to 32 blocks ahead
BATCH_BYTES = 1 << 24


@dataclass(kw_only=True)
class _FirstPass:
    """Result of the first pass: number of rows, and whether some have the wrong number of values."""

    rows: int = 0
    is_ragged: bool = field(default=False)


def read_delimited(path: Path, wanted: Collection[str], options: ReadOptions = FROM_CONTENT) -> Source:
    """Read the wanted columns as text; what the options leave open is decided from the file's first lines.

    DataError E173 for a wanted column that comes twice, E104 for the wrong encoding, E108 for damaged gzip, E201 for an empty file; while
    batches are read, E171 for a row that is too long and E172 for an unclosed quote.
    """
    encoding = encoding_of(path, options.encoding)
    counts = check_text(path, encoding)
    dialect = _with_stand_in(path, sniff(path, options, encoding))
    included = [name for name in dialect.names if name in wanted]
    _check_unique(path, included)
    first_pass = _FirstPass()
    return Source(
        file=path.name,
        names=dialect.names,
        columns=tuple(included),
        batches=partial(_batches, path, dialect, included, (counts, first_pass)),
        lines=partial(_lines, path, dialect),
        malformed=lambda: _malformed(path, dialect) if first_pass.is_ragged else (),
    )


def _with_stand_in(path: Path, dialect: Dialect) -> Dialect:
    """The dialect with a byte that the file does not have for a delimiter that Arrow cannot take; DataError E108 without such a byte."""
    if not needs_stand_in(dialect.delimiter):
        return dialect
    free = set(STAND_INS)
    with open_text(path, dialect) as text:
        while chunk := text.read(decompression.CHUNK_BYTES):
            free = {choice for choice in free if choice.encode() not in chunk}
    if not free:
        raise unreadable(path, f"has a delimiter of several bytes, and all control characters from {STAND_INS[-1]!r} to {STAND_INS[0]!r}")
    return replace(dialect, stand_in=max(free))


def _check_unique(path: Path, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        place = Location(file=path.name, line=1, column=repeated[0])
        raise DataError("E173", "the column is named twice", remedy="Keep one of the two.", place=place)


def _batches(path: Path, dialect: Dialect, included: list[str], first_pass_results: tuple[Counts, _FirstPass]) -> "Iterator[pa.Table]":
    """Batches of some 16 MB of the rows with the right number of values; others are skipped, and counted in the first pass."""
    counts, first_pass = first_pass_results
    first_pass.rows = 0

    def skip(_row: Any) -> str:
        first_pass.is_ragged = True
        first_pass.rows += 1
        return "skip"

    columns = included or list(dialect.names[:1])
    try:
        with (
            _open_stream(path, dialect) as stream,
            arrow_csv.open_csv(
                stream,
                arrow_csv.ReadOptions(column_names=list(dialect.names), skip_rows=dialect.header_lines, block_size=BLOCK_BYTES),
                arrow_csv.ParseOptions(
                    delimiter=dialect.separator,
                    quote_char=dialect.quote or False,
                    escape_char="\\" if dialect.quoting == BACKSLASH else False,
                    newlines_in_values=True,
                    invalid_row_handler=skip,
                ),
                arrow_csv.ConvertOptions(include_columns=columns, column_types=dict.fromkeys(columns, pa.string())),
            ) as reader,
        ):
            for rows in _concatenate(reader):
                first_pass.rows += len(rows)
                yield _restored(rows.select(included), dialect)
    except (pa.ArrowInvalid, OSError) as error:
        _check_ends(path, dialect)
        raise unreadable(path, f"cannot be parsed ({error})") from error
    if dialect.quote and counts.quotes and counts.newlines > first_pass.rows:
        _check_quotes(path, dialect)


def _open_stream(path: Path, dialect: Dialect) -> Any:
    """The file's text for Arrow, which unpacks plain UTF-8 itself."""
    if dialect.encoding == UTF8 and not dialect.stand_in:
        return pa.input_stream(str(path), compression="gzip" if decompression.is_gzip(path) else None)
    return open_text(path, dialect)


def _restored(rows: "pa.Table", dialect: Dialect) -> "pa.Table":
    """The rows with the delimiter that values have within quotes."""
    if not dialect.stand_in or not dialect.quote:
        return rows
    for place, name in enumerate(rows.column_names):
        rows = rows.set_column(place, name, pc.replace_substring(rows[name], dialect.stand_in, dialect.delimiter))
    return rows


def _concatenate(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.Table]":
    """Concatenate batches to `BATCH_BYTES` each, since every batch costs a query."""
    pending, size = list[pa.RecordBatch](), 0
    for batch in batches:
        pending.append(batch)
        size += batch.nbytes
        if size >= BATCH_BYTES:
            yield pa.Table.from_batches(pending)
            pending, size = [], 0
    if pending:
        yield pa.Table.from_batches(pending)


def _check_ends(path: Path, dialect: Dialect) -> None:
    """DataError E171 at the first row that is too long."""
    for _ in _records(path, dialect):
        pass


def _check_quotes(path: Path, dialect: Dialect) -> None:
    """DataError E172 at an unclosed quote that swallows other rows: fewer rows would be read than the file has."""
    for line, record in _records(path, dialect):
        if lines := unclosed_quote_lines(record, dialect.separator, len(dialect.names)):
            message = f"the quote that opens here closes {lines} lines later, over lines that are rows themselves"
            place = Location(file=path.name, line=line, value=max(record, key=lambda value: value.count("\n")).partition("\n")[0])
            raise DataError("E172", message, remedy='Close the quote on its line, or write "" for a quote within quotes.', place=place)


def _lines(path: Path, dialect: Dialect, rows: Iterable[int]) -> Iterator[int]:
    """First line of each row, for ascending row numbers, from a pass with Python's csv reader."""
    wanted = iter(rows)
    row = next(wanted, None)
    row_lines = (line for line, record in _records(path, dialect) if len(record) == len(dialect.names))
    for number, line in enumerate(row_lines):
        if row is None:
            break
        if number == row:
            yield line
            row = next(wanted, None)


def _malformed(path: Path, dialect: Dialect) -> Iterator[Malformed]:
    width = len(dialect.names)
    for line, record in _records(path, dialect):
        if len(record) != width:
            text = dialect.delimiter.join(record)
            yield Malformed(line=line, text=text, message=f"the row has {len(record)} values where there are {width} columns")


def _records(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Every row that is not blank, with its first line; DataError E171 at one that is too long."""
    csv.field_size_limit(MAX_LINE_BYTES)
    line = dialect.header_lines + 1
    with io.TextIOWrapper(open_text(path, dialect), encoding=UTF8, errors="replace", newline="") as text:
        for _ in range(dialect.header_lines):
            text.readline()
        reader = csv.reader(_bounded_lines(text), **dialect.csv_format())
        try:
            for record in reader:
                if record:
                    yield line, record
                line = dialect.header_lines + reader.line_num + 1
        except csv.Error as error:
            raise row_too_long(path, line) from error


def _bounded_lines(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise csv.Error("the line has no end")
        yield line
