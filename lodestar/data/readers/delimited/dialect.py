"""Dialect of a delimited file: what its options leave open is decided from its beginning."""

import csv
import io
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, NamedTuple

from lodestar.data.contract.rules import MAX_LINE_BYTES
from lodestar.data.readers.encodings import decode_start, read_start
from lodestar.data.readers.options import BACKSLASH, NO_QUOTES, ReadOptions
from lodestar.data.readers.source import empty
from lodestar.errors import DataError, Location

DELIMITERS = (",", "\t", ";", "|", "::", "\x01")
QUOTE = '"'
COMMENT = "#"
LINE_SAMPLE_BYTES = 1 << 20
SAMPLED_RECORDS = 50
# One of these stands for a delimiter that Arrow cannot take: it takes one byte.
STAND_INS = ("\x1f", "\x1e", "\x1d", "\x1c", "\x02", "\x03", "\x04", "\x05")


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a delimited file is parsed: its options with nothing left open, and the number of lines before the first row.

    `header` has the header's values as they are written, none where there is no header; `comment_lines` come before it. `stand_in` is the
    byte that stands for `delimiter` in the text that is parsed, empty where Arrow takes the delimiter itself. `is_multiline`: a value may
    have line ends.
    """

    names: tuple[str, ...]
    delimiter: str
    header: tuple[str, ...]
    header_lines: int
    comment_lines: int
    encoding: str
    quoting: str
    stand_in: str = ""
    is_multiline: bool = True

    @property
    def separator(self) -> str:
        """The character between values in the text that is parsed."""
        return self.stand_in or self.delimiter

    @property
    def quote(self) -> str:
        """The quote character, empty where quotes are plain text."""
        return {NO_QUOTES: "", BACKSLASH: QUOTE}.get(self.quoting, self.quoting)

    def csv_format(self) -> dict[str, Any]:
        """The dialect as arguments of Python's csv."""
        return _csv_format(self.separator, self.quoting)


def _csv_format(separator: str, quoting: str) -> dict[str, Any]:
    if quoting == NO_QUOTES:
        return {"delimiter": separator, "quoting": csv.QUOTE_NONE, "quotechar": None}
    if quoting == BACKSLASH:
        return {"delimiter": separator, "quotechar": QUOTE, "escapechar": "\\"}
    return {"delimiter": separator, "quotechar": quoting}


def needs_stand_in(delimiter: str) -> bool:
    """Whether Arrow cannot take a delimiter, which is not one byte."""
    return len(delimiter.encode()) > 1


class Sample(NamedTuple):
    """The dialect of a file, and its first rows that are not blank."""

    dialect: Dialect
    rows: list[list[str]]


def sniff(path: Path, options: ReadOptions, encoding: str) -> Sample:
    """Decide the dialect from a file's first lines; DataError E201 where all are blank, E171 where the first is too long.

    Without an option the delimiter is the one that splits the first record, and the others alike, into most values. Lines before it that
    begin with # are comments, unless they have as many values: then # belongs to the header.
    """
    lines, is_whole = _sample(path, encoding)
    if len(lines) == 1 and not is_whole:
        raise row_too_long(path, 1)
    if not is_whole:
        lines.pop()  # it is cut
    quoting = options.quoting or QUOTE
    choices = (options.delimiter,) if options.delimiter else DELIMITERS
    found = {choice: _without_comments(lines, choice, quoting) for choice in choices}
    delimiter = max(choices, key=lambda choice: _fit(found[choice].records))
    if not found[delimiter].records:
        raise empty(path)
    comment_lines, records = found[delimiter]
    has_header = options.header if options.header is not None else not options.columns
    end, first = records[0]
    rows = [record for _, record in records[has_header:]]
    dialect = Dialect(
        names=_without_last_delimiter(options.columns or _names(first, has_header=has_header), rows),
        delimiter=delimiter,
        header=tuple(first) if has_header else (),
        header_lines=end if has_header else comment_lines,
        comment_lines=comment_lines,
        encoding=encoding,
        quoting=quoting,
    )
    return Sample(dialect, rows)


def _names(first: list[str], *, has_header: bool) -> tuple[str, ...]:
    """The names that a header gives, or numbers from 1."""
    if not has_header:
        return tuple(map(str, range(1, len(first) + 1)))
    return tuple(name.strip() for name in (first[0].lstrip().removeprefix(COMMENT), *first[1:]))


class _Records(NamedTuple):
    """The first records of a file that are not blank, each with the number of lines up to its end, after some lines of comments."""

    comment_lines: int
    records: list[tuple[int, list[str]]]


def _without_comments(lines: list[str], delimiter: str, quoting: str) -> _Records:
    """The records after the lines that begin with #; the last of these belongs to them if it has as many values as the next."""
    before = list(takewhile(lambda line: not line.strip() or _is_comment(line), lines))
    comments = max((number for number, line in enumerate(before, start=1) if _is_comment(line)), default=0)
    records = _records(lines[comments:], delimiter, quoting)
    if comments and records:
        header = _records(lines[comments - 1 : comments], delimiter, quoting)
        if header and len(header[0][1]) == len(records[0][1]) > 1:
            comments, records = comments - 1, [header[0], *((end + 1, record) for end, record in records)]
    return _Records(comments, [(comments + end, record) for end, record in records])


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith(COMMENT)


def _without_last_delimiter(names: tuple[str, ...], rows: list[list[str]]) -> tuple[str, ...]:
    """The names, with one more or less where all rows, or the header alone, end with a delimiter."""
    widths = {len(row) for row in rows}
    if widths == {len(names) + 1} and not any(row[-1] for row in rows):
        return (*names, "")
    return names[:-1] if widths == {len(names) - 1} and not names[-1] else names


def _sample(path: Path, encoding: str) -> tuple[list[str], bool]:
    """Lines of the file's beginning with their ends, and whether they are the whole file."""
    start = read_start(path, LINE_SAMPLE_BYTES + 1)
    text = decode_start(start[:LINE_SAMPLE_BYTES], encoding)
    return io.StringIO(text, newline="").readlines(), len(start) <= LINE_SAMPLE_BYTES


def _records(lines: list[str], delimiter: str, quoting: str) -> list[tuple[int, list[str]]]:
    """The first records that are not blank, each with the number of lines up to its end."""
    stand_in = next((choice for choice in STAND_INS if not any(choice in line for line in lines)), "")
    if needs_stand_in(delimiter):
        if not stand_in:
            return []
        lines = [line.replace(delimiter, stand_in) for line in lines]
        delimiter = stand_in
    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader(lines, **_csv_format(delimiter, quoting))
    records = ((reader.line_num, record) for record in reader if any(value.strip() for value in record))
    return list(islice(records, SAMPLED_RECORDS))


def _fit(records: list[tuple[int, list[str]]]) -> tuple[bool, int]:
    """How well a delimiter fits: whether all records have as many values as the first, which are several; and how many it has."""
    widths = [len(record) for _, record in records]
    if not widths:
        return False, 0
    return widths[0] > 1 and len(set(widths)) == 1, widths[0]


def row_too_long(path: Path, line: int) -> DataError:
    """E171 for a row of text that is too long."""
    message = f"the row has more than {MAX_LINE_BYTES:,} bytes"
    return DataError("E171", message, remedy="End each row with its line, and close quotes.", place=Location(file=path.name, line=line))
