"""Find a quote that a later stray one closes, or the end of the file: what lies between is one value, and was rows to its writer."""

import csv
import re
from collections.abc import Sequence

from lodestar.data import rules

_KINDS = tuple(re.compile(pattern, re.ASCII) for pattern in (rules.MOMENT, rules.NAIVE, rules.INTEGER))


def open_quote(record: Sequence[str], delimiter: str, width: int) -> int:
    """How many lines the longest value of a row goes on for, if lines within it are rows themselves, else 0.

    A line is one if it has `width` values, and a time or a whole number wherever the row has one. Where the row has none, as in
    a table of texts alone, there must be two such lines.
    """
    longest = max(record, key=lambda value: value.count("\n"), default="")
    inner = longest.split("\n")[1:-1]
    if not inner or width < 2:
        return 0
    kinds = {place: kind for place, value in enumerate(record) if value is not longest for kind in _KINDS if kind.fullmatch(value)}
    alike = sum(_is_row(line.rstrip("\r"), delimiter, width, kinds) for line in inner)
    return len(inner) + 1 if alike >= (1 if kinds else 2) else 0


def _is_row(line: str, delimiter: str, width: int, kinds: "dict[int, re.Pattern[str]]") -> bool:
    values = next(csv.reader([line], delimiter=delimiter), [])
    return len(values) == width and all(kind.fullmatch(values[place]) for place, kind in kinds.items())
