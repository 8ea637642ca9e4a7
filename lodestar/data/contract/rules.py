"""Rules for values and rows of the contract, written once: of `RULES` the row validator makes SQL, the collector Python functions.

One rule for cells: one that cannot be read stops the run if its row needs it, and is null and counted if not. A blank cell is as a missing
column. A pattern means the same to DuckDB (RE2) and to `re` with `re.ASCII`. A timestamp is an ISO 8601 time with Z or an offset, or a
number since 1970-01-01 UTC: a second in 1971–5138 has 8–11 digits, a millisecond 12–14, a microsecond 15–17, a nanosecond 18–19.
"""

from collections.abc import Collection
from dataclasses import dataclass
from math import nextafter

from lodestar import schema
from lodestar.schema.time_units import MINUTE_US, SECOND_US

OUT_OF_RANGE, BAD_ID, IN_FUTURE, NAIVE = "E102", "E103", "E105", "E106"
WRONG_TYPE, UNKNOWN_TYPE, MISSING_FOR_TYPE, WRONG_LENGTH = "E107", "E110", "E111", "E130"
NO_TIME, OTHER_UNIT, NULL_TEXT, DAY_OR_MONTH = "E112", "E113", "E114", "E115"
IDS_CHANGED, NO_RATING, MINUS_ONE = "E116", "E123", "E126"
TOO_LONG, KEY_TWICE, NO_ROW = "E170", "E173", "E109"

TRUE, FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
WHOLE = r"[+-]?\d{1,18}(\.0+)?"
NOT_A_NUMBER = "[nN]a[nN]"
INTEGER = r"-?\d{1,19}"
AWARE_TIME = r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z| UTC|([+-])(\d\d)(?::?(\d\d))?)"
NAIVE_TIME = r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?"

MAX_CLOCK_SKEW_US = 5 * MINUTE_US  # clock skew: an event may be this far ahead of its ingestion time
# The years that every store keeps; the year 0000 is a filler or a broken clock.
FIRST_YEAR, LAST_YEAR = 1, 9999
EARLIEST_US, LATEST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
# A number of seconds below one year is no time: a row number, a year, a date such as 20231114, or 0 where there is none.
LEAST_EPOCH = 365 * 24 * 3600
# From here on a float has no decimal places, and different written numbers give the same float.
NOT_EXACT = 2**52
LARGEST_EXACT = nextafter(NOT_EXACT, 0)
_MAY_BE_LARGE = r"-?(\d{16,}\.|\d+(\.\d+)?[eE])"
LARGE_NUMBER = rf":\s*{_MAY_BE_LARGE}"  # in JSON, after a key
LARGE_ELEMENT = rf"[:,\[]\s*{_MAY_BE_LARGE}"  # in a list as well
MAX_VALUE_BYTES = 1 << 20  # of any value of a file
MAX_LINE_BYTES = 1 << 22  # of a row of text: a longer one lacks its line end
# Limits of a request to a collector, and so of the parts that it writes.
MAX_SENT_BYTES, MAX_PAIRS = 8192, 64


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """Unit of timestamps that are numbers since 1970: low <= |number| < high, `per_us` of them or one `unit_us` microseconds."""

    name: str
    low: int
    high: int
    unit_us: int = 1
    per_us: int = 1

    def covers(self, number: str) -> str:
        """SQL condition: the SQL expression `number` has a size of this unit."""
        return f"(({number} >= {self.low} AND {number} < {self.high}) OR ({number} <= -{self.low} AND {number} > -{self.high}))"


MAX_EPOCH = 2**63 - 1
EPOCHS = (
    Epoch(name="seconds", unit_us=SECOND_US, low=0, high=10**11),
    Epoch(name="milliseconds", unit_us=1_000, low=10**11, high=10**14),
    Epoch(name="microseconds", low=10**14, high=10**17),
    Epoch(name="nanoseconds", per_us=1_000, low=10**17, high=MAX_EPOCH),
)
# The least rating without a declared scale: half a star. 0 is often no rating at all.
RATING_SCALE = (0.5, schema.RATING_SCALE[1])
# A text that is read as null elsewhere, and is a country: Namibia.
COUNTRY_CODE = "NA"
TEXT_IDS = "text"  # the id_type of ids that are left as they are written
# Arms of a rollout. Those of experiments are declared, which a collector does not read: only in a file is an arm held to them.
ARMS = ("control", "canary", "interleave-a", "interleave-b")


@dataclass(frozen=True, kw_only=True)
class CellOptions:
    """How the cells of a source are read where a declaration or the command line says so; the defaults are the contract's own rules.

    `null`: further texts that stand for null. `id_type` "text": ids are left as they are written. `time_zone`: zone of times without an
    offset, by its IANA name. `rating_scale`: the least and the greatest rating. `arms`: arms of experiments beside `ARMS`.
    """

    null: tuple[str, ...] = ()
    id_type: str = ""
    time_zone: str = ""
    rating_scale: tuple[float, float] = RATING_SCALE
    arms: tuple[str, ...] = ()


DEFAULT_CELLS = CellOptions()


@dataclass(frozen=True, kw_only=True)
class ColumnRule:
    """What the values of a column must be, and the codes of those that are not: E107 of another type, E102 out of range, E170 too long.

    `missing` is the code of a row without a value, empty where none is needed; a value in the column `alternative` may stand for it.
    `is_derived`: a blank cell of a file is filled by `defaults`, and so is one that cannot be read, unless a guess may be wrong
    (`is_strict`). `low` and `high` are inclusive, None for no bound, times in µs since 1970; numbers are bounded to what a float keeps
    exactly. `is_id`: values have the normal form of ids. `is_past`: a time after now is a broken clock's, or a filler (E105).
    """

    name: str
    kind: schema.Kind
    missing: str
    alternative: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    is_derived: bool
    is_strict: bool
    is_id: bool
    is_past: bool


@dataclass(frozen=True, kw_only=True)
class NotInFuture:
    """E105 at a time that is more than MAX_CLOCK_SKEW_US later than its row's ingestion."""

    column: str
    code: str = IN_FUTURE


@dataclass(frozen=True, kw_only=True)
class AnyOf:
    """The code at the first of these columns where a row has a value in none of them; an unreadable one has its own code."""

    columns: tuple[str, ...]
    code: str = BAD_ID


@dataclass(frozen=True, kw_only=True)
class LengthIs:
    """E130 at a column of whole numbers that is not the length of the list in another column."""

    column: str
    values: str
    code: str = WRONG_LENGTH


@dataclass(frozen=True, kw_only=True)
class KnownType:
    """E110 at an event type that is none of `choices`."""

    column: str
    choices: tuple[str, ...]
    code: str = UNKNOWN_TYPE


@dataclass(frozen=True, kw_only=True)
class RequiredColumn:
    """A column that events of some types need: without an id they are refused (E103), and without another in a collector's part (E111).

    In a file, whose writer may know no better, an event without a rating is left out and counted (E123), one without another column kept.
    """

    column: str
    types: tuple[str, ...]
    code: str


@dataclass(frozen=True, kw_only=True)
class Positive:
    """E102 at a number of at most 0 in events of some types."""

    column: str
    types: tuple[str, ...]
    code: str = OUT_OF_RANGE


RowRule = NotInFuture | AnyOf | LengthIs | KnownType | RequiredColumn | Positive


@dataclass(frozen=True, kw_only=True)
class TableRules:
    """Rules of a table in the order of their checks: of its columns one by one, then of whole rows."""

    columns: tuple[ColumnRule, ...]
    rows: tuple[RowRule, ...]


# Columns that `defaults` fills where they are missing or blank, by table.
DERIVED: dict[str, frozenset[str]] = {
    schema.USERS.name: frozenset({schema.CREATED_AT, schema.UPDATED_AT, schema.INGESTED_AT, schema.CONSENT_PERSONALISE}),
    schema.ITEMS.name: frozenset(
        {schema.ITEM_TYPE, schema.TITLE, schema.CREATED_AT, schema.UPDATED_AT, schema.INGESTED_AT, schema.IS_ACTIVE}
    ),
    schema.EVENTS.name: frozenset({schema.USER_ID, schema.EVENT_TYPE, schema.EVENT_ID, schema.INGESTED_AT}),
    schema.IMPRESSIONS.name: frozenset({schema.USER_ID, schema.INGESTED_AT}),
    schema.ITEM_CONTENT.name: frozenset({schema.DIM, schema.CONTENT_HASH, schema.INGESTED_AT}),
    schema.RELATIONS.name: frozenset({schema.INGESTED_AT}),
    schema.GOALS.name: frozenset({schema.INGESTED_AT}),
    schema.ERASURES.name: frozenset({schema.INGESTED_AT}),
}
# Nobody guesses what these say: the default of a blank cell may be the opposite of what was written.
_STRICT = frozenset({schema.CONSENT_PERSONALISE, schema.IS_ACTIVE})
# A collector gives each event an id, and refuses one without a type though a rating might stand for it.
_COLLECTED = frozenset({schema.EVENT_ID, schema.EVENT_TYPE})
_ALTERNATIVES = {schema.USER_ID: schema.SESSION_ID, schema.EVENT_TYPE: schema.RATING}
# Ids of the kind text: they name what another column of ids does.
_REFERENCES = frozenset(
    {schema.SESSION_ID, schema.TARGET_USER_ID, schema.REQUEST_ID, schema.QUERY_ID, schema.CREATOR_ID, schema.RECEIPT_ID}
)
_LEAST = {schema.RATING: RATING_SCALE[0], schema.PROPENSITY: nextafter(0.0, 1.0)}


def _column_rule(column: schema.Column, table: schema.Table) -> ColumnRule:
    low, high = _LEAST.get(column.name, column.low), column.high
    if column.kind is schema.Kind.TIME:
        low, high = EARLIEST_US, LATEST_US
    if column.kind is schema.Kind.FLOAT:
        low, high = (-LARGEST_EXACT if low is None else low, LARGEST_EXACT if high is None else high)
    alternative = _ALTERNATIVES.get(column.name, "")
    return ColumnRule(
        name=column.name,
        kind=column.kind,
        missing=(BAD_ID if column.kind is schema.Kind.ID else WRONG_TYPE) if column.required else "",
        alternative=alternative if alternative in table.names else "",
        low=low,
        high=high,
        choices=column.choices,
        is_derived=column.name in DERIVED[table.name],
        is_strict=column.name in _STRICT,
        is_id=column.kind is schema.Kind.ID or column.name in _REFERENCES,
        is_past=column.name in {schema.CREATED_AT, schema.UPDATED_AT},
    )


_SENDER = AnyOf(columns=(schema.USER_ID, schema.SESSION_ID))
_REQUIRED_BY_TYPE = tuple(
    RequiredColumn(
        column=name,
        types=tuple(str(kind) for kind, group in schema.REQUIRED_COLUMNS.items() if name in group),
        code=BAD_ID if name in {schema.ITEM_ID, schema.TARGET_USER_ID} else MISSING_FOR_TYPE,
    )
    for name in dict.fromkeys(name for group in schema.REQUIRED_COLUMNS.values() for name in group)
)
_ROW_RULES: dict[str, tuple[RowRule, ...]] = {
    schema.EVENTS.name: (
        NotInFuture(column=schema.EVENT_TIME),
        _SENDER,
        AnyOf(columns=(schema.EVENT_TYPE, schema.RATING), code=WRONG_TYPE),
        KnownType(column=schema.EVENT_TYPE, choices=tuple(map(str, schema.EventType))),
        *_REQUIRED_BY_TYPE,
        Positive(column=schema.VALUE, types=(str(schema.EventType.PURCHASE),)),
    ),
    schema.IMPRESSIONS.name: (NotInFuture(column=schema.SHOWN_AT), _SENDER),
    schema.ITEM_CONTENT.name: (LengthIs(column=schema.DIM, values=schema.EMBEDDING),),
}


def missing_code(rule: ColumnRule, names: Collection[str], *, is_landed: bool) -> str:
    """The code of a row without a value in a column of a source with the columns `names`, empty where none is needed.

    None is needed of a derived column, nor where another column stands for it; what a collector makes or demands is in its parts.
    """
    if rule.name in _COLLECTED and is_landed:
        return rule.missing
    if rule.alternative:
        return "" if rule.alternative in names else rule.missing
    return "" if rule.is_derived else rule.missing


# The one table of row rules: SQL is made of it for whole columns, Python functions for the rows of a request.
RULES = {
    table.name: TableRules(columns=tuple(_column_rule(column, table) for column in table.columns), rows=_ROW_RULES.get(table.name, ()))
    for table in schema.TABLES.values()
}
