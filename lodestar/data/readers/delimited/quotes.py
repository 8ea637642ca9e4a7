"""Quotes in delimited text: whether they are closed, and whether they are quotes at all.

A quote that is not closed turns the rows up to the next one, or up to the end of the file, into one value.
"""

import csv
import re
from collections.abc import Sequence

import numpy as np

from lodestar.data.contract import rules

_KINDS = tuple(re.compile(pattern, re.ASCII) for pattern in (rules.AWARE_TIME, rules.NAIVE_TIME, rules.INTEGER))
_LINE_ENDS = b"\r\n"
_LINE_END = re.compile("\r\n|\r|\n")


class QuoteScan:
    """Scan of a text's quotes, chunk by chunk, in time that is small beside that of parsing.

    `is_strict`: each quote opens a value after a delimiter or a line end, closes it before one, or is one of a pair within it (RFC 4180).
    `spans_lines`: a line end is between quotes.
    """

    def __init__(self, separator: str, quote: str) -> None:
        self._quote = quote.encode()
        self._is_border = np.zeros(256, bool)
        self._is_border[[*separator.encode(), *_LINE_ENDS, *self._quote]] = True
        self._is_open, self._before, self._held = False, b"\n", b""
        self.is_strict, self.spans_lines = True, False

    def add(self, chunk: bytes) -> None:
        """Scan the next chunk."""
        if not self.is_strict:
            return
        text = self._before + self._held + chunk
        bare = text.rstrip(self._quote)
        # What follows the last quotes is not known yet. A value cannot be as long as a line must not be.
        self._held = text[len(bare) :][: rules.MAX_LINE_BYTES]
        self._scan(bare)
        self._before = bare[-1:]

    def end(self) -> None:
        """Scan what was held back of the last chunk."""
        self._scan(self._before + self._held + b"\n")
        self.is_strict &= not self._is_open

    def _scan(self, text: bytes) -> None:
        """Scan a text, whose first byte was scanned before and whose last one is no quote."""
        if self._quote not in text[1:]:
            self.spans_lines |= self._is_open and (b"\n" in text[1:] or b"\r" in text[1:])
            return
        codes = np.frombuffer(text, np.uint8)
        places = np.flatnonzero(codes[1:] == self._quote[0]) + 1
        opening, closing = places[self._is_open :: 2], places[1 - self._is_open :: 2]
        self.is_strict &= bool(self._is_border[codes[opening - 1]].all() and self._is_border[codes[closing + 1]].all())
        line_ends = np.flatnonzero((codes[1:] == _LINE_ENDS[1]) | (codes[1:] == _LINE_ENDS[0])) + 1
        self.spans_lines |= bool(((np.searchsorted(places, line_ends) + self._is_open) % 2).any())
        self._is_open ^= bool(len(places) % 2)


def unclosed_quote_lines(record: Sequence[str], separator: str, width: int) -> int:
    """Number of lines that the longest value of a row spans, if lines within it look like rows, else 0.

    A line looks like a row if it has `width` values, and a time or an integer wherever the row has one. If the row has neither, as in a
    table of texts only, two such lines are required.
    """
    inner = longest_lines(record)[1:-1]
    if not inner or width < 2:
        return 0
    kinds = {index: kind for index, value in enumerate(record) for kind in _KINDS if kind.fullmatch(value)}
    num_rows = sum(_is_row(line, separator, width, kinds) for line in inner)
    return len(inner) + 1 if num_rows >= (1 if kinds else 2) else 0


def longest_lines(record: Sequence[str]) -> list[str]:
    """The lines of the value of a row that has the most."""
    return _LINE_END.split(max(record, key=lambda value: value.count("\n") + value.count("\r"), default=""))


def _is_row(line: str, separator: str, width: int, kinds: "dict[int, re.Pattern[str]]") -> bool:
    values = next(csv.reader([line], delimiter=separator), [])
    return len(values) == width and all(kind.fullmatch(values[index]) for index, kind in kinds.items())
