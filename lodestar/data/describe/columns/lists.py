"""Columns that list several items a row, which become a row for each item."""

import re
from collections.abc import Mapping, Sequence

from lodestar import schema
from lodestar.data.describe.columns.roles import Choice
from lodestar.data.describe.findings import Decision, Line
from lodestar.data.describe.samples.file_sample import FileSample
from lodestar.data.describe.samples.values import MOST
from lodestar.schema import aliases

_LISTS = (
    "basket",
    "sequence",
    "history",
    "itemlist",
    "itemsequence",
    "clickeditems",
    "items",
    "products",
    "itemids",
    "productids",
    "cart",
    "lines",
)
_SEPARATORS = {" ": r"\S+(?: \S+)+", "|": r"[^|]+(?:\|[^|]+)+", ";": r"[^;]+(?:;[^;]+)+", ",": r"[^,]+(?:,[^,]+)+"}
_ID = re.compile(r"[A-Za-z]{0,4}\d+")


def list_of_items(sample: FileSample, chosen: Mapping[str, Choice]) -> Line | Decision | None:
    """The line that explodes a column of lists of items, a decision where its ids may have separators, None for single items."""
    choice = chosen.get(schema.ITEM_ID)
    if choice is not None:
        return _explode(sample, choice.theirs, is_sure=False)
    for name in sample.rows.column_names:
        plain = aliases.plain_name(name)
        if plain in _LISTS or plain.removesuffix("s") in aliases.names_of(schema.EVENTS, schema.ITEM_ID):
            return _explode(sample, name, is_sure=True)
    return None


def _explode(sample: FileSample, name: str, *, is_sure: bool) -> Line | Decision | None:
    values = sample.values(name).meant
    if values.count and values.share(r"\[.*\]") >= MOST:
        return Line(key="explode", value=name, reason="each row lists items", table=schema.EVENTS.name)
    for separator, pattern in _SEPARATORS.items():
        if values.share(pattern) > 0.5 and _are_ids(values.examples, separator):
            value: object = name if separator == " " else {"column": name, "separator": separator}
            line = Line(key="explode", value=value, reason=f"each row lists items between {separator!r}", table=schema.EVENTS.name)
            if is_sure:
                return line
            single = Line(key=schema.ITEM_ID, value=name, reason="if each is one item", table=schema.EVENTS.name)
            message = f"the items may be lists, between {separator!r}, or ids with it"
            return Decision(code="E107", message=message, candidates=(line, single), place=sample.place(name, values.first))
    return None


def _are_ids(texts: Sequence[str], separator: str) -> bool:
    """Whether the parts of texts are ids of one form that come again, and no words of names."""
    parts = [part.strip() for text in texts[:500] for part in text.split(separator)]
    return len(set(parts)) < len(parts) and all(map(_ID.fullmatch, parts))


def separator_of(line: Line) -> str:
    """The separator of an exploded column."""
    return str(line.value["separator"]) if isinstance(line.value, Mapping) else " "


def column_of(line: Line) -> str:
    """The exploded column."""
    return str(line.value["column"] if isinstance(line.value, Mapping) else line.value)
