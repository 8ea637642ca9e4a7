"""Decide how quotes are read: they quote, doubled or after a backslash within, or they are text; a file that fits none is refused."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lodestar.data.readers.delimited.dialect import QUOTE, Dialect
from lodestar.data.readers.delimited.quotes import QuoteScan, longest_lines, unclosed_quote_lines
from lodestar.data.readers.delimited.records import REMEDY, records
from lodestar.data.readers.delimited.text import read_text
from lodestar.data.readers.encodings import UTF8
from lodestar.data.readers.options import BACKSLASH, NO_QUOTES
from lodestar.data.readers.source import checked_chunks
from lodestar.errors import DataError, Location


@dataclass(frozen=True, kw_only=True)
class TextScan:
    """What a pass over the bytes of a file finds: number of lines, and whether there are NUL bytes and byte order marks after the first.

    `is_strict` and `spans_lines` as in QuoteScan; both are for the dialect's quote character.
    """

    lines: int
    has_quotes: bool
    has_nul: bool
    has_mark: bool
    is_strict: bool
    spans_lines: bool


def scan(path: Path, dialect: Dialect) -> TextScan:
    """Decode the whole file once, and scan its quotes; DataError E104 and E108 as `checked_chunks`."""
    quotes = QuoteScan(dialect.separator, dialect.quote or QUOTE)
    newlines = returns = marks = 0
    has_quotes = has_nul = False
    chunks = checked_chunks(path, dialect.encoding)
    if dialect.encoding != UTF8 or dialect.stand_in:
        for _ in chunks:
            pass
        chunks = read_text(path, dialect)
    mark = "\ufeff".encode()
    quote = (dialect.quote or QUOTE).encode()
    for place, chunk in enumerate(chunks):
        newlines, returns = newlines + chunk.count(b"\n"), returns + chunk.count(b"\r")
        marks += chunk.count(mark) - (place == 0 and chunk.startswith(mark))
        has_nul |= b"\0" in chunk
        has_quotes |= quote in chunk
        quotes.add(chunk)
    quotes.end()
    return TextScan(
        lines=newlines or returns,
        has_quotes=has_quotes,
        has_nul=has_nul,
        has_mark=marks > 0,
        is_strict=quotes.is_strict,
        spans_lines=quotes.spans_lines,
    )


def decide_quoting(
    path: Path, dialect: Dialect, found: TextScan, resolve: Callable[[str], Dialect] | None
) -> tuple[Dialect, tuple[str, ...]]:
    """The dialect with its quoting, and whether a value may have line ends; with notes for the ingest report.

    `resolve` gives the dialect for another quoting, and is None where quoting is declared.

    Where a quote does not close, or text follows the one that closes, the file is read with backslashes if every quote closes so, or with
    quotes as plain text if every line then is a row and no value is within quotes; E172 at the first fault for a file that fits neither,
    E171 if it makes a row too long.
    """
    if not dialect.quote or not found.has_quotes:
        return replace(dialect, is_multiline=False), ()
    if dialect.quoting != BACKSLASH and found.is_strict:
        return replace(dialect, is_multiline=found.spans_lines), ()
    error = _fault(path, dialect)
    if error is None:
        return dialect, ()
    if resolve:
        escaped, plain = resolve(BACKSLASH), replace(resolve(NO_QUOTES), is_multiline=False)
        if _fault(path, escaped) is None and _fits(path, escaped):
            return escaped, ()
        if _fits(path, plain):
            return plain, (
                f'quotes are read as text (quoting = "{NO_QUOTES}"), as on line {error.place.line if error.place else 1} {error.message}',
            )
    raise error


def _fault(path: Path, dialect: Dialect) -> DataError | None:
    """E172 or E171 at the first quote that does not close properly."""
    try:
        for _ in records(path, replace(dialect, header_lines=dialect.comment_lines), is_strict=True):
            pass
    except DataError as error:
        return error
    return None


def _fits(path: Path, dialect: Dialect) -> bool:
    """Whether every record is a row; and, if quotes are text, no value is within quotes."""
    width, is_plain = len(dialect.names), dialect.quoting == NO_QUOTES
    if is_plain and any(QUOTE in name for name in dialect.header):
        return False
    try:
        return all(len(record) == width and not (is_plain and any(map(_is_quoted, record))) for _, record in records(path, dialect))
    except DataError:
        return False


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] == QUOTE


def check_multiline(path: Path, dialect: Dialect) -> None:
    """DataError E172 at a quote that is closed by that of another row: fewer rows would be read than the file has."""
    for line, record in records(path, dialect):
        if lines := unclosed_quote_lines(record, dialect.separator, len(dialect.names)):
            message = f"the quote that opens here closes {lines} lines later, over lines that are rows themselves"
            place = Location(file=path.name, line=line, value=longest_lines(record)[0])
            raise DataError("E172", message, remedy=REMEDY, place=place)
