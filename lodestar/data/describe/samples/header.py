"""What the columns of a file without a header hold, and how lines are divided by spaces."""

import re
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from lodestar import schema
from lodestar.data.contract import rules
from lodestar.data.describe.samples.values import Values
from lodestar.data.readers import decompression
from lodestar.schema import aliases

if TYPE_CHECKING:
    from lodestar.data.describe.samples.file_sample import FileSample

LINE = "line"  # the column of whole lines
MAX_RATINGS = 21  # steps of a half from 0 to 10
_LOOKED_AT = 1000
_SPACING_BYTES = 1 << 16
_ID = re.compile(r"[A-Za-z]{0,4}\d+")
_KNOWN = frozenset(name for table in schema.TABLES.values() for column in table.names for name in aliases.names_of(table, column))


def is_known_name(name: str) -> bool:
    """Whether columns are called so, and a first line with the name is a header."""
    return aliases.plain_name(name) in _KNOWN


class Spacing(Enum):
    """How many values lines have between single spaces: several, in all as many or not; or none of both."""

    EVEN = "even"
    RAGGED = "ragged"
    NONE = "none"


def spacing(path: Path) -> Spacing:
    """How the lines of a text without any other delimiter are divided by spaces; ragged ones are lists of ids."""
    with decompression.open_decompressed(path) as content:
        text = content.read(_SPACING_BYTES).decode("utf-8", "replace")
    lines = [line.strip() for line in text.split("\n")[: _LOOKED_AT if len(text) < _SPACING_BYTES else -1] if line.strip()]
    widths = {len(line.split(" ")) for line in lines}
    if len(lines) < 2 or min(widths) < 2:
        return Spacing.NONE
    if len(widths) == 1:
        return Spacing.EVEN
    parts = [part for line in lines[:100] for part in line.split(" ")]
    return Spacing.RAGGED if all(map(_ID.fullmatch, parts)) and len(set(parts)) < len(parts) else Spacing.NONE


def suggest_columns(sample: "FileSample", table: schema.Table) -> list[str]:
    """Names for the columns of a file without a header, by their values: of those that may be ids the first is the user, then the item.

    Of users and items the first is the key; the first texts of items are titles, lists with | their categories.
    """
    names = list(sample.rows.column_names)
    if table is not schema.EVENTS:
        return _suggest_for_key(sample, table, names)
    found: dict[str, str] = {}
    for name in names:
        times = sample.times(name)
        if schema.EVENT_TIME not in found.values() and times is not None and not times.is_order:
            found[name] = schema.EVENT_TIME
        elif schema.EVENT_TYPE not in found.values() and _are_types(sample.values(name)):
            found[name] = schema.EVENT_TYPE
    free = [name for name in names if name not in found]
    if rating := _rating(sample, free):
        found[rating] = schema.RATING
    ids = iter((schema.USER_ID, schema.ITEM_ID))
    return [found.get(name) or next(ids, f"column_{place}") for place, name in enumerate(names, start=1)]


def _suggest_for_key(sample: "FileSample", table: schema.Table, names: Sequence[str]) -> list[str]:
    found = [table.key[0]]
    for place, name in enumerate(names[1:], start=2):
        values = sample.values(name).meant
        is_text = values.count > 0 and not values.share(rules.NUMBER)
        ours = schema.CATEGORY_PATH if values.share(r".*\|.*") > 0 else schema.TITLE
        is_free = table is schema.ITEMS and is_text and ours not in found
        found.append(ours if is_free else f"column_{place}")
    return found


def _are_types(values: Values) -> bool:
    known = values.share_among([text for text in values.examples if aliases.event_type_of(text)])
    return values.count > 0 and known == 1


def _rating(sample: "FileSample", free: Sequence[str]) -> str:
    """The column of ratings among three or more without a name: few numbers on a usual scale, and fewer than the first two have."""
    if len(free) < 3:
        return ""
    by_count = sorted(free[1:], key=lambda name: sample.values(name).num_distinct)
    values = sample.values(by_count[0])
    is_on_scale = (
        values.share(r"-?\d{1,3}(\.\d+)?") == 1 and values.num_distinct <= MAX_RATINGS and bool((abs(values.numbers) <= 100).all())
    )
    return by_count[0] if is_on_scale and values.num_distinct > 1 else ""
