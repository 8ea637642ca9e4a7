"""Records of a delimited file by Python's csv, with their line numbers: slower than Arrow, for what Arrow does not tell."""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from lodestar.data.contract.rules import MAX_LINE_BYTES
from lodestar.data.readers.delimited.dialect import Dialect, row_too_long
from lodestar.data.readers.delimited.text import open_text
from lodestar.data.readers.encodings import UTF8
from lodestar.data.readers.options import NO_QUOTES
from lodestar.errors import DataError, Location

BYTE_ORDER_MARK, NUL = "\ufeff", "\0"
REMEDY = f'Close it, write "" for a quote within quotes, or declare quoting = "{NO_QUOTES}" if quotes are text.'


def records(path: Path, dialect: Dialect, *, is_strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Every record that is not blank, with its first line; DataError E171 at one that is too long.

    If strict, DataError E172 where a quote is not closed, or text follows the quote that closes a value.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    line = dialect.header_lines + 1
    with _open(path, dialect) as text:
        for _ in range(dialect.header_lines):
            text.readline()
        reader = csv.reader(_bounded_lines(text), strict=is_strict, **dialect.csv_format())
        try:
            for record in reader:
                if record:
                    yield line, record
                line = dialect.header_lines + reader.line_num + 1
        except csv.Error as error:
            raise _fault(path, dialect, line, str(error)) from error


def _open(path: Path, dialect: Dialect) -> io.TextIOWrapper:
    return io.TextIOWrapper(open_text(path, dialect), encoding=UTF8, errors="replace", newline="")


def _bounded_lines(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise csv.Error("the line has no end")
        yield line


def _fault(path: Path, dialect: Dialect, line: int, reason: str) -> DataError:
    """The error of a record by the words of Python's csv."""
    if "expected after" in reason:
        message = "text follows the quote that closes a value"
    elif "unexpected end of data" in reason:
        message = "the quote that opens here is not closed"
    else:
        return row_too_long(path, line)
    with _open(path, dialect) as text:
        value = next(islice(_bounded_lines(text), line - 1, line), "").strip()
    return DataError("E172", message, remedy=REMEDY, place=Location(file=path.name, line=line, value=value))


def fault(record: Sequence[str], dialect: Dialect, included: Sequence[int]) -> str:
    """Why a record is no row, empty for a row; `included` are the places of the columns that are read."""
    if len(record) != len(dialect.names):
        return f"the row has {len(record)} values where there are {len(dialect.names)} columns"
    if any(NUL in record[place] for place in included):
        return "a value has a NUL byte"
    if 0 in included and record[0].startswith(BYTE_ORDER_MARK):
        return "the line begins with a byte order mark, as where files were joined"
    if dialect.header and len(included) > 1 and all(record[place] == dialect.header[place] for place in included):
        return "the line is the header again, as where files were joined"
    return ""
