"""Delimited text (CSV, TSV and the like), every value as the text it is.

Arrow parses; the line of a row is found by a second, slower reading that is only done when there is something to point at.
"""

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv as arrow_csv

from lodestar.data.source import Malformed, Source, check_text, empty, not_utf8, open_bytes, unreadable
from lodestar.errors import DataError, Place

DELIMITERS = (",", "\t", ";", "|")
BLOCK_BYTES = 1 << 24  # the longest row that Arrow accepts
LINE_SAMPLE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a file is written; `header_lines` come before the first row."""

    names: tuple[str, ...]
    delimiter: str = ","
    header_lines: int = 0
    encoding: str = "utf8"


def read_delimited(path: Path, wanted: Collection[str], dialect: Dialect | None = None) -> Source:
    """The wanted columns as text; without a dialect the first line names the columns and shows the delimiter."""
    check_text(path, dialect.encoding if dialect else "utf8")
    dialect = dialect or sniff(path)
    included = [name for name in dialect.names if name in wanted]
    _check_unique(path, included)
    ragged: list[Any] = []
    return Source(
        file=path.name,
        names=dialect.names,
        columns=tuple(included),
        batches=partial(_batches, path, dialect, included, ragged),
        lines=partial(_lines, path, dialect),
        malformed=lambda: _malformed(path, dialect) if ragged else (),
    )


def sniff(path: Path) -> Dialect:
    """The dialect that the first line which is not blank shows; DataError where there is none or it is not UTF-8."""
    for number, line in enumerate(_head(path), start=1):
        if not line.strip():
            continue
        try:
            text = line.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise not_utf8(path) or unreadable(path, "has no readable header") from error
        split = {delimiter: next(csv.reader([text], delimiter=delimiter)) for delimiter in DELIMITERS}
        delimiter = max(DELIMITERS, key=lambda choice: len(split[choice]))
        return Dialect(names=tuple(name.strip() for name in split[delimiter]), delimiter=delimiter, header_lines=number)
    raise empty(path)


def _head(path: Path) -> list[bytes]:
    with open_bytes(path) as content:
        return content.read(LINE_SAMPLE_BYTES).splitlines()


def _check_unique(path: Path, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        place = Place(file=path.name, line=1, column=twice[0])
        raise DataError("E101", "the column is named twice", remedy="Keep one of the two.", place=place)


def _batches(path: Path, dialect: Dialect, included: list[str], ragged: list[Any]) -> "Iterator[pa.Table]":
    """Rows of the right width, some 16 MB of text at a time; rows of another one leave a mark in `ragged`."""

    def skip(row: Any) -> str:
        if not ragged:
            ragged.append(row)
        return "skip"

    columns = included or list(dialect.names[:1])
    try:
        with (
            pa.input_stream(str(path), compression="detect") as stream,
            arrow_csv.open_csv(
                stream,
                arrow_csv.ReadOptions(
                    column_names=list(dialect.names), skip_rows=dialect.header_lines, block_size=BLOCK_BYTES, encoding=dialect.encoding
                ),
                arrow_csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True, invalid_row_handler=skip),
                arrow_csv.ConvertOptions(include_columns=columns, column_types=dict.fromkeys(columns, pa.string())),
            ) as reader,
        ):
            for batch in reader:
                yield pa.Table.from_batches([batch]).select(included)
    except (pa.ArrowInvalid, OSError) as error:
        raise not_utf8(path) or unreadable(path, f"cannot be parsed ({error})") from error


def _lines(path: Path, dialect: Dialect, rows: Sequence[int]) -> list[int]:
    wanted, found = iter(rows), list[int]()
    row = next(wanted, None)
    whole = (line for line, record in _records(path, dialect) if len(record) == len(dialect.names))
    for number, line in enumerate(whole):
        if row is None:
            break
        if number == row:
            found.append(line)
            row = next(wanted, None)
    return found


def _malformed(path: Path, dialect: Dialect) -> Iterator[Malformed]:
    width = len(dialect.names)
    for line, record in _records(path, dialect):
        if len(record) != width:
            text = dialect.delimiter.join(record)
            yield Malformed(line=line, text=text, message=f"the row has {len(record)} values where the header names {width} columns")


def _records(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Every row that is not blank, with the line where it starts."""
    with open_bytes(path) as content, io.TextIOWrapper(content, encoding=dialect.encoding, errors="replace", newline="") as text:
        for _ in range(dialect.header_lines):
            text.readline()
        reader = csv.reader(text, delimiter=dialect.delimiter)
        line = dialect.header_lines + 1
        for record in reader:
            if record:
                yield line, record
            line = dialect.header_lines + reader.line_num + 1
