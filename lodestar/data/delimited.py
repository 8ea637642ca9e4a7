"""Delimited text (CSV, TSV and the like), every value as the text it is.

Arrow parses; the line of a row is found by a second, slower reading that is only done when there is something to point at.
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

from lodestar.data import unpacked
from lodestar.data.quotes import open_quote
from lodestar.data.rules import MOST_LINE_BYTES
from lodestar.data.source import Counts, Malformed, Source, check_text, empty, unreadable
from lodestar.errors import DataError, Place

DELIMITERS = (",", "\t", ";", "|")
BLOCK_BYTES = MOST_LINE_BYTES  # the longest row that Arrow accepts; it reads up to 32 blocks ahead
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
    """How a file is written; `header_lines` come before the first row."""

    names: tuple[str, ...]
    delimiter: str = ","
    header_lines: int = 0
    encoding: str = "utf8"


@dataclass(kw_only=True)
class _Seen:
    """What the first reading has met: rows, and whether some had another width."""

    rows: int = 0
    is_ragged: bool = field(default=False)


def read_delimited(path: Path, wanted: Collection[str], dialect: Dialect | None = None) -> Source:
    """The wanted columns as text; without a dialect the first line names the columns and shows the delimiter.

    DataError E104 where it is not the text that it should be, E107 where gzip's file is damaged; while it is read, E171 at a row without
    an end and E172 at a quote that is not closed.
    """
    encoding = dialect.encoding if dialect else _encoding(path)
    counts = check_text(path, encoding)
    dialect = dialect or sniff(path, encoding)
    included = [name for name in dialect.names if name in wanted]
    _check_unique(path, included)
    seen = _Seen()
    return Source(
        file=path.name,
        names=dialect.names,
        columns=tuple(included),
        batches=partial(_batches, path, dialect, included, (counts, seen)),
        lines=partial(_lines, path, dialect),
        malformed=lambda: _malformed(path, dialect) if seen.is_ragged else (),
    )


def sniff(path: Path, encoding: str = "utf8") -> Dialect:
    """The dialect that the first line which is not blank shows; DataError E201 where there is none, E171 where it has no end."""
    with unpacked.open_bytes(path) as content:
        sample = content.read(LINE_SAMPLE_BYTES)
        is_whole = not content.read(1)
    text = sample.decode("utf-8-sig" if encoding == "utf8" else encoding, "ignore")  # the last character may be cut
    lines = _LINE_END.split(text)
    if len(lines) == 1 and not is_whole:
        raise _endless(path, 1)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        split = {delimiter: _values(line, delimiter) for delimiter in DELIMITERS}
        delimiter = max(DELIMITERS, key=lambda choice: len(split[choice]))
        names = tuple(name.strip() for name in split[delimiter])
        return Dialect(names=names, delimiter=delimiter, header_lines=number, encoding=encoding)
    raise empty(path)


def _encoding(path: Path) -> str:
    """What the byte order mark says."""
    try:
        with unpacked.open_bytes(path) as content:
            begin = content.read(4)
    except unpacked.DAMAGED as error:
        raise unreadable(path, f"cannot be read ({error})") from error
    return next((encoding for mark, encoding in _BYTE_ORDER_MARKS if begin.startswith(mark)), "utf8")


def _values(line: str, delimiter: str) -> list[str]:
    csv.field_size_limit(MOST_LINE_BYTES)
    return next(csv.reader([line], delimiter=delimiter))


def _check_unique(path: Path, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        place = Place(file=path.name, line=1, column=twice[0])
        raise DataError("E101", "the column is named twice", remedy="Keep one of the two.", place=place)


def _batches(path: Path, dialect: Dialect, included: list[str], known: tuple[Counts, _Seen]) -> "Iterator[pa.Table]":
    """Rows of the right width, some 16 MB at a time; rows of another one are counted in what was seen."""
    counts, seen = known
    seen.rows = 0

    def skip(_row: Any) -> str:
        seen.is_ragged = True
        seen.rows += 1
        return "skip"

    columns = included or list(dialect.names[:1])
    try:
        with (
            pa.input_stream(str(path), compression="gzip" if unpacked.is_packed(path) else None) as stream,
            arrow_csv.open_csv(
                stream,
                arrow_csv.ReadOptions(
                    column_names=list(dialect.names), skip_rows=dialect.header_lines, block_size=BLOCK_BYTES, encoding=dialect.encoding
                ),
                arrow_csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True, invalid_row_handler=skip),
                arrow_csv.ConvertOptions(include_columns=columns, column_types=dict.fromkeys(columns, pa.string())),
            ) as reader,
        ):
            for rows in _gathered(reader):
                seen.rows += len(rows)
                yield rows.select(included)
    except (pa.ArrowInvalid, OSError) as error:
        _check_ends(path, dialect)
        raise unreadable(path, f"cannot be parsed ({error})") from error
    if counts.quotes and counts.newlines > seen.rows:
        _check_quotes(path, dialect)


def _gathered(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.Table]":
    """Fewer batches, since each costs a query."""
    waiting, size = list[pa.RecordBatch](), 0
    for batch in batches:
        waiting.append(batch)
        size += batch.nbytes
        if size >= BATCH_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting, size = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting)


def _check_ends(path: Path, dialect: Dialect) -> None:
    """DataError E171 at the first row that is too long."""
    for _ in _records(path, dialect):
        pass


def _check_quotes(path: Path, dialect: Dialect) -> None:
    """DataError E172 at a quote within which other rows lie: fewer rows would be read than the file has."""
    for line, record in _records(path, dialect):
        if lines := open_quote(record, dialect.delimiter, len(dialect.names)):
            message = f"the quote that opens here closes {lines} lines later, over lines that are rows themselves"
            place = Place(file=path.name, line=line, value=max(record, key=lambda value: value.count("\n")).partition("\n")[0])
            raise DataError("E172", message, remedy='Close the quote on its line, or write "" for a quote within quotes.', place=place)


def _lines(path: Path, dialect: Dialect, rows: Iterable[int]) -> Iterator[int]:
    wanted = iter(rows)
    row = next(wanted, None)
    whole = (line for line, record in _records(path, dialect) if len(record) == len(dialect.names))
    for number, line in enumerate(whole):
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
    """Every row that is not blank, with the line where it starts; DataError E171 at one that is too long."""
    csv.field_size_limit(MOST_LINE_BYTES)
    line = dialect.header_lines + 1
    with (
        unpacked.open_bytes(path) as content,
        io.TextIOWrapper(content, encoding=dialect.encoding, errors="replace", newline="") as text,
    ):
        for _ in range(dialect.header_lines):
            text.readline()
        reader = csv.reader(_bounded(text), delimiter=dialect.delimiter)
        try:
            for record in reader:
                if record:
                    yield line, record
                line = dialect.header_lines + reader.line_num + 1
        except csv.Error as error:
            raise _endless(path, line) from error


def _bounded(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(MOST_LINE_BYTES + 1):
        if len(line) > MOST_LINE_BYTES:
            raise csv.Error("the line has no end")
        yield line


def _endless(path: Path, line: int) -> DataError:
    message = f"the row has more than {MOST_LINE_BYTES:,} bytes"
    return DataError("E171", message, remedy="End each row with its line, and close quotes.", place=Place(file=path.name, line=line))
