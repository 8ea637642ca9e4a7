"""Rules for values and rows of the contract, written once: of `RULES` the row validator makes SQL, the collector Python functions.

A pattern means the same to DuckDB (RE2) and to `re` with `re.ASCII`. A timestamp is an ISO 8601 time with Z or an offset, or an integer
since 1970-01-01 UTC: a second in 1973–5138 has 9–11 digits, a millisecond 12–14, a microsecond 15–17.
"""

from dataclasses import dataclass
from math import nextafter

from lodestar import schema
from lodestar.schema.time_units import MINUTE_US, SECOND_US

OUT_OF_RANGE, BAD_ID, IN_FUTURE, NAIVE = "E102", "E103", "E105", "E106"
WRONG_TYPE, UNKNOWN_TYPE, MISSING_FOR_TYPE, WRONG_LENGTH = "E107", "E110", "E111", "E130"
TOO_LONG, KEY_TWICE, NO_ROW = "E170", "E173", "E109"

NOT_AN_ID = ("nan", "NaN", "NAN", "null", "NULL", "None", "<NA>")
TRUE, FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
WHOLE = r"[+-]?\d{1,18}(\.0+)?"
NOT_A_NUMBER = "[nN]a[nN]"
INTEGER = r"-?\d{1,17}"
AWARE_TIME = r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z| UTC|([+-])(\d\d)(?::?(\d\d))?)"
NAIVE_TIME = r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?"

MAX_CLOCK_SKEW_US = 5 * MINUTE_US  # clock skew: an event may be this far ahead of its ingestion time
# A required time outside these years is a broken clock or a filler such as 0000-01-01 or 9999-12-31; events are kept by month.
FIRST_YEAR, END_YEAR = 1900, 2200
EARLIEST_US, END_US = -2_208_988_800_000_000, 7_258_118_400_000_000
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
    """Unit of integer timestamps since 1970: low <= |number| < high, one unit is `unit_us` microseconds."""

    name: str
    unit_us: int
    low: int
    high: int

    def covers(self, number: str) -> str:
        """SQL condition: the SQL expression `number` has a size of this unit."""
        return f"abs({number}) >= {self.low} AND abs({number}) < {self.high}"


EPOCHS = (
    Epoch(name="seconds", unit_us=SECOND_US, low=0, high=10**11),
    Epoch(name="milliseconds", unit_us=1_000, low=10**11, high=10**14),
    Epoch(name="microseconds", unit_us=1, low=10**14, high=10**17),
)


@dataclass(frozen=True, kw_only=True)
class ColumnRule:
    """What the values of a column must be, and the codes of those that are not: E107 of another type, E102 out of range, E170 too long.

    `missing` is the code of a row without a value, empty where none is needed; a value in the column `alternative` may stand for it. `low`
    and `high` are inclusive, None for no bound, times in µs since 1970; numbers are bounded to what a float keeps exactly.
    """

    name: str
    kind: schema.Kind
    missing: str
    alternative: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NotInFuture:
    """E105 at a time that is more than MAX_CLOCK_SKEW_US later than its row's ingestion."""

    column: str
    code: str = IN_FUTURE


@dataclass(frozen=True, kw_only=True)
class AnyOf:
    """E103 at the first of these columns where a row has a value in none of them."""

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
    """A column without which events of some types are refused: E103 for an id, E111 for any other column."""

    column: str
    types: tuple[str, ...]
    code: str


RowRule = NotInFuture | AnyOf | LengthIs | KnownType | RequiredColumn


@dataclass(frozen=True, kw_only=True)
class TableRules:
    """Rules of a table in the order of their checks: of its columns one by one, then of whole rows."""

    columns: tuple[ColumnRule, ...]
    rows: tuple[RowRule, ...]


def _column_rule(column: schema.Column, names: tuple[str, ...]) -> ColumnRule:
    low, high = column.low, column.high
    if column.kind is schema.Kind.TIME and column.required:
        low, high = EARLIEST_US, END_US - 1
    if column.kind is schema.Kind.FLOAT:
        low, high = (-LARGEST_EXACT if low is None else low, LARGEST_EXACT if high is None else high)
    missing = (BAD_ID if column.kind is schema.Kind.ID else WRONG_TYPE) if column.required else ""
    alternative = schema.SESSION_ID if column.name == schema.USER_ID and schema.SESSION_ID in names else ""
    return ColumnRule(
        name=column.name, kind=column.kind, missing=missing, alternative=alternative, low=low, high=high, choices=column.choices
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
        KnownType(column=schema.EVENT_TYPE, choices=tuple(map(str, schema.EventType))),
        *_REQUIRED_BY_TYPE,
    ),
    schema.IMPRESSIONS.name: (NotInFuture(column=schema.SHOWN_AT), _SENDER),
    schema.ITEM_CONTENT.name: (LengthIs(column=schema.DIM, values=schema.EMBEDDING),),
}
# The one table of row rules: SQL is made of it for whole columns, Python functions for the rows of a request.
RULES = {
    table.name: TableRules(
        columns=tuple(_column_rule(column, table.names) for column in table.columns), rows=_ROW_RULES.get(table.name, ())
    )
    for table in schema.TABLES.values()
}
