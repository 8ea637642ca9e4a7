"""Whether the values of a column can be those of a column of the contract."""

from lodestar import schema
from lodestar.data.contract import rules
from lodestar.data.describe.samples.file_sample import FileSample
from lodestar.data.describe.samples.values import FLOAT_ID, INTEGER, JSON_VALUE, MOST
from lodestar.schema import aliases

MAX_TYPES = 50
_FRACTION = r"[+-]?\d*\.\d*[1-9]\d*"
_YEAR = r"(19|20)\d\d(\.0+)?"
# Names that say the type of an event by themselves; `type` or `kind` may as well be that of an item.
_STRONG_TYPES = frozenset(
    name for name in aliases.COLUMN_ALIASES[schema.EVENTS.name][schema.EVENT_TYPE] if name not in {"type", "kind", "event"}
)


def fits(table: schema.Table, ours: str, sample: FileSample, theirs: str) -> bool:
    """Whether most values of a file's column are such as a column of a table has."""
    values = sample.values(theirs).meant
    if not values.count:
        return False
    if table is schema.EVENTS and ours == schema.EVENT_TYPE:
        return _is_event_type(sample, theirs)
    column = table.column(ours)
    if column.kind is schema.Kind.ID or ours in {schema.SESSION_ID, schema.TARGET_USER_ID, schema.CREATOR_ID}:
        return values.share(_FRACTION) < 1 - MOST and values.share(JSON_VALUE) < 1 - MOST and _is_short(sample, theirs)
    return _has_kind(column, sample, theirs)


def _has_kind(column: schema.Column, sample: FileSample, theirs: str) -> bool:
    """Whether values have the type of a column that is no id."""
    values = sample.values(theirs).meant
    if column.kind is schema.Kind.TIME:
        found = sample.times(theirs)
        return found is not None and (not found.is_order or column.name == schema.EVENT_TIME)
    if column.kind in {schema.Kind.FLOAT, schema.Kind.INT}:
        return _is_number(column, sample, theirs)
    if column.kind is schema.Kind.BOOL:
        return values.share_among([*rules.TRUE, *rules.FALSE, *map(str.title, (*rules.TRUE, *rules.FALSE))]) >= MOST
    return column.kind is not schema.Kind.TEXT or not column.choices or values.share_among(column.choices) >= MOST


def _is_short(sample: FileSample, theirs: str) -> bool:
    return all(len(text.encode()) <= schema.MAX_ID_BYTES for text in sample.values(theirs).examples[:1000])


def _is_event_type(sample: FileSample, theirs: str) -> bool:
    """Few values, of which some are known types, unless the column's name says by itself what it is."""
    values = sample.values(theirs).meant
    if values.num_distinct > MAX_TYPES or (sample.times(theirs) is not None and not values.share(INTEGER)):
        return False
    known = values.share_among([text for text in values.examples if aliases.near_event_type(text)])
    return known > 0 or aliases.plain_name(theirs) in _STRONG_TYPES or theirs == schema.EVENT_TYPE


def _is_number(column: schema.Column, sample: FileSample, theirs: str) -> bool:
    found = sample.numbers(theirs)
    if found is None:
        return False
    if column.kind is schema.Kind.INT and found.is_plain and sample.values(theirs).meant.share(rf"{INTEGER}|{FLOAT_ID}") < MOST:
        return False
    if column.name == schema.BIRTH_YEAR:
        return sample.values(theirs).meant.share(_YEAR) >= MOST
    if column.name == schema.RATING or not found.is_plain:
        return True
    numbers = sample.values(theirs).numbers
    return (column.low is None or bool((numbers >= column.low).mean() >= MOST)) and (
        column.high is None or bool((numbers <= column.high).mean() >= MOST)
    )
