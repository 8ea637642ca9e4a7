"""Dialect of a delimited file: what its options leave open is decided from its beginning."""

import codecs
import csv
import io
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lodestar.data.contract.rules import MAX_LINE_BYTES
from lodestar.data.readers import decompression
from lodestar.data.readers.options import BACKSLASH, NO_QUOTES, ReadOptions
from lodestar.data.readers.source import empty, unreadable
from lodestar.errors import DataError, Location

DELIMITERS = (",", "\t", ";", "|", "::", "\x01")
QUOTE = '"'
UTF8 = "utf8"
LINE_SAMPLE_BYTES = 1 << 20
SAMPLED_RECORDS = 50
# One of these stands for a delimiter that Arrow cannot take: it takes one byte.
STAND_INS = ("\x1f", "\x1e", "\x1d", "\x1c", "\x02", "\x03", "\x04", "\x05")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a delimited file is parsed: its options with nothing left open, and the number of lines before the first row.

    `stand_in` is the byte that stands for `delimiter` in the text that is parsed, empty where Arrow takes the delimiter itself.
    """

    names: tuple[str, ...]
    delimiter: str
    header_lines: int
    encoding: str
    quoting: str
    stand_in: str = ""

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


def encoding_of(path: Path, declared: str) -> str:
    """The encoding that the byte order mark gives, the declared one without a mark, UTF-8 without both."""
    try:
        with decompression.open_decompressed(path) as content:
            start = content.read(4)
    except decompression.DECOMPRESSION_ERRORS as error:
        raise unreadable(path, f"cannot be read ({error})") from error
    marked = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if start.startswith(mark)), declared or UTF8)
    return UTF8 if codecs.lookup(marked).name == "utf-8" else marked


def sniff(path: Path, options: ReadOptions, encoding: str) -> Dialect:
    """Decide the dialect from the first line that is not blank; DataError E201 where there is none, E171 where it is too long.

    Without an option the delimiter is the one that splits this line, and the others alike, into most values.
    """
    lines, is_whole = _sample(path, encoding)
    if len(lines) == 1 and not is_whole:
        raise row_too_long(path, 1)
    if not is_whole:
        lines.pop()  # it is cut
    quoting = options.quoting or QUOTE
    choices = (options.delimiter,) if options.delimiter else DELIMITERS
    found = {choice: _records(lines, choice, quoting) for choice in choices}
    if not any(found.values()):
        raise empty(path)
    delimiter = max(choices, key=lambda choice: _fit(found[choice]))
    end, first = found[delimiter][0]
    has_header = options.header if options.header is not None else not options.columns
    names = options.columns or tuple(name.strip() if has_header else str(number) for number, name in enumerate(first, start=1))
    return Dialect(names=names, delimiter=delimiter, header_lines=end if has_header else 0, encoding=encoding, quoting=quoting)


def _sample(path: Path, encoding: str) -> tuple[list[str], bool]:
    """Lines of the file's beginning with their ends, and whether they are the whole file."""
    with decompression.open_decompressed(path) as content:
        sample = content.read(LINE_SAMPLE_BYTES)
        is_whole = not content.read(1)
    text = sample.decode("utf-8-sig" if encoding == UTF8 else encoding, "ignore")  # the last character may be cut
    return io.StringIO(text, newline="").readlines(), is_whole


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
