"""Whether line 1 of a delimited file is a header or a row, and names for the columns of a file without a header."""

import re
from collections.abc import Sequence

from lodestar import schema
from lodestar.data.contract import rules

_TIME, _NUMBER, _TEXT = "time", "number", "text"
_IS_TIME = re.compile(rf"{rules.AWARE_TIME}|{rules.NAIVE_TIME}", re.ASCII)
_IS_NUMBER = re.compile(rules.NUMBER, re.ASCII)
_IS_EPOCH = re.compile(r"\d{9,17}(\.\d+)?", re.ASCII)
MAX_RATING = 100

Rows = Sequence[Sequence[str]]


def looks_like_data(first: Sequence[str], rows: Rows) -> bool:
    """Whether the first line is a row like the others: each value is a time, a number or a text as those below it, or occurs below it.

    At least one value must be a time or a number, or occur again: names of columns do neither.
    """
    pairs = [(value.strip(), column) for value, column in zip(first, _columns(rows, len(first)), strict=True) if value.strip() and column]
    is_alike = all(value in column or _kind([value]) == _kind(column) for value, column in pairs)
    return is_alike and any(value in column or _kind([value]) != _TEXT for value, column in pairs)


def looks_like_header(first: Sequence[str], names: Sequence[str]) -> bool:
    """Whether the first line of a file whose columns are declared is a header: one of its values is one of the names."""
    known = {name.casefold() for name in names}
    return any(value.strip().casefold() in known for value in first)


def suggest_columns(rows: Rows) -> list[str]:
    """Names for the columns of rows without a header, by their values; the first two that may be any are user and item."""
    columns = _columns(rows, max(map(len, rows), default=0))
    names: list[str] = []
    for place, column in enumerate(columns, start=1):
        choices = [*_recognised(column), schema.USER_ID, schema.ITEM_ID, *_if_rating(column), f"column_{place}"]
        names.append(next(name for name in choices if name not in names))
    return names


def _columns(rows: Rows, width: int) -> list[list[str]]:
    return [[row[place].strip() for row in rows if len(row) > place and row[place].strip()] for place in range(width)]


def _recognised(values: Sequence[str]) -> list[str]:
    """The contract's column that values of this form are in."""
    if not values:
        return []
    if _kind(values) == _TIME or all(_IS_EPOCH.fullmatch(value) for value in values):
        return [schema.EVENT_TIME]
    return [schema.EVENT_TYPE] if {value.casefold() for value in values} <= {str(kind) for kind in schema.EventType} else []


def _if_rating(values: Sequence[str]) -> list[str]:
    is_rating = values and _kind(values) == _NUMBER and all(0 <= float(value) <= MAX_RATING for value in values)
    return [schema.RATING] if is_rating else []


def _kind(values: Sequence[str]) -> str:
    if values and all(_IS_TIME.fullmatch(value) for value in values):
        return _TIME
    return _NUMBER if values and all(_IS_NUMBER.fullmatch(value) for value in values) else _TEXT
