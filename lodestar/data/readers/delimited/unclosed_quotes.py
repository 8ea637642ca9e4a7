"""Detect unclosed quotes in CSV: a quote that a later stray one or the end of the file closes turns the rows between into one value."""

import csv
import re
from collections.abc import Sequence

from lodestar.data.contract import rules

_KINDS = tuple(re.compile(pattern, re.ASCII) for pattern in (rules.AWARE_TIME, rules.NAIVE_TIME, rules.INTEGER))


def unclosed_quote_lines(record: Sequence[str], delimiter: str, width: int) -> int:
    """Number of lines that the longest value of a row spans, if lines within it look like rows, else 0.

    A line looks like a row if it has `width` values, and a time or an integer wherever the row has one. If the row has neither, as in a
    table of texts only, two such lines are required.
    """
    longest = max(record, key=lambda value: value.count("\n"), default="")
    inner = longest.split("\n")[1:-1]
    if not inner or width < 2:
        return 0
    kinds = {index: kind for index, value in enumerate(record) if value is not longest for kind in _KINDS if kind.fullmatch(value)}
    num_rows = sum(_is_row(line.rstrip("\r"), delimiter, width, kinds) for line in inner)
    return len(inner) + 1 if num_rows >= (1 if kinds else 2) else 0


def _is_row(line: str, delimiter: str, width: int, kinds: "dict[int, re.Pattern[str]]") -> bool:
    values = next(csv.reader([line], delimiter=delimiter), [])
    return len(values) == width and all(kind.fullmatch(values[index]) for index, kind in kinds.items())
