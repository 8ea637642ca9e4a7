"""Read delimited text (CSV, TSV and the like) with every value as text.

Arrow parses; line numbers of rows come from a second, slower pass, which only runs when there is a row error to locate.
"""

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv as arrow_csv

from lodestar.data.contract.rules import MAX_LINE_BYTES
from lodestar.data.readers import decompression
from lodestar.data.readers.source import Counts, Malformed, Source, check_text, empty, unreadable
from lodestar.data.readers.unclosed_quotes import unclosed_quote_lines
from lodestar.errors import DataError, Location

DELIMITERS = (",", "\t", ";", "|")
BLOCK_BYTES = MAX_LINE_BYTES  # the longest row that Arrow accepts; it reads up to 32 blocks ahead
BATCH_BYTES = 1 << 24
LINE_SAMPLE_BYTES = 1 << 20
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINE_END = re.compile("\r\n|\r|\n")


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """Dialect of a delimited file: column names, delimiter, encoding and the number of lines before the first row."""

    names: tuple[str, ...]
    delimiter: str = ","
    header_lines: int = 0
    encoding: str = "utf8"


@dataclass(kw_only=True)
class _FirstPass:
    """Result of the first pass: number of rows, and whether some have the wrong number of values."""

    rows: int = 0
    is_ragged: bool = field(default=False)


def read_delimited(path: Path, wanted: Collection[str], dialect: Dialect | None = None) -> Source:
    """Read the wanted columns as text; without a dialect, names and delimiter are taken from the first line.

    DataError E173 for a wanted column that comes twice, E104 for the wrong encoding, E108 for damaged gzip, E201 for an empty file; while
    batches are read, E171 for a row that is too long and E172 for an unclosed quote.
    """
    encoding = dialect.encoding if dialect else _encoding(path)
    counts = check_text(path, encoding)
    dialect = dialect or sniff(path, encoding)
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


def sniff(path: Path, encoding: str = "utf8") -> Dialect:
    """Detect the dialect from the first line that is not blank; DataError E201 where there is none, E171 where it is too long."""
    with decompression.open_decompressed(path) as content:
        sample = content.read(LINE_SAMPLE_BYTES)
        is_whole = not content.read(1)
    text = sample.decode("utf-8-sig" if encoding == "utf8" else encoding, "ignore")  # the last character may be cut
    lines = _LINE_END.split(text)
    if len(lines) == 1 and not is_whole:
        raise _row_too_long(path, 1)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        split = {delimiter: _values(line, delimiter) for delimiter in DELIMITERS}
        delimiter = max(DELIMITERS, key=lambda choice: len(split[choice]))
        names = tuple(name.strip() for name in split[delimiter])
        return Dialect(names=names, delimiter=delimiter, header_lines=number, encoding=encoding)
    raise empty(path)


def _encoding(path: Path) -> str:
    """The encoding that the byte order mark gives, UTF-8 without one."""
    try:
        with decompression.open_decompressed(path) as content:
            start = content.read(4)
    except decompression.DECOMPRESSION_ERRORS as error:
        raise unreadable(path, f"cannot be read ({error})") from error
    return next((encoding for mark, encoding in _BYTE_ORDER_MARKS if start.startswith(mark)), "utf8")


def _values(line: str, delimiter: str) -> list[str]:
    csv.field_size_limit(MAX_LINE_BYTES)
    return next(csv.reader([line], delimiter=delimiter))


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
            pa.input_stream(str(path), compression="gzip" if decompression.is_gzip(path) else None) as stream,
            arrow_csv.open_csv(
                stream,
                arrow_csv.ReadOptions(
                    column_names=list(dialect.names), skip_rows=dialect.header_lines, block_size=BLOCK_BYTES, encoding=dialect.encoding
                ),
                arrow_csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True, invalid_row_handler=skip),
                arrow_csv.ConvertOptions(include_columns=columns, column_types=dict.fromkeys(columns, pa.string())),
            ) as reader,
        ):
            for rows in _concatenate(reader):
                first_pass.rows += len(rows)
                yield rows.select(included)
    except (pa.ArrowInvalid, OSError) as error:
        _check_ends(path, dialect)
        raise unreadable(path, f"cannot be parsed ({error})") from error
    if counts.quotes and counts.newlines > first_pass.rows:
        _check_quotes(path, dialect)


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
        if lines := unclosed_quote_lines(record, dialect.delimiter, len(dialect.names)):
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
            yield Malformed(line=line, text=text, message=f"the row has {len(record)} values where the header names {width} columns")


def _records(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Every row that is not blank, with its first line; DataError E171 at one that is too long."""
    csv.field_size_limit(MAX_LINE_BYTES)
    line = dialect.header_lines + 1
    with (
        decompression.open_decompressed(path) as content,
        io.TextIOWrapper(content, encoding=dialect.encoding, errors="replace", newline="") as text,
    ):
        for _ in range(dialect.header_lines):
            text.readline()
        reader = csv.reader(_bounded_lines(text), delimiter=dialect.delimiter)
        try:
            for record in reader:
                if record:
                    yield line, record
                line = dialect.header_lines + reader.line_num + 1
        except csv.Error as error:
            raise _row_too_long(path, line) from error


def _bounded_lines(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise csv.Error("the line has no end")
        yield line


def _row_too_long(path: Path, line: int) -> DataError:
    message = f"the row has more than {MAX_LINE_BYTES:,} bytes"
    return DataError("E171", message, remedy="End each row with its line, and close quotes.", place=Location(file=path.name, line=line))
