"""What a value and a row of the contract must be, written once: `conversions` and `rows` make SQL of it, the collector functions.

A pattern here means the same to DuckDB (RE2) as to `re` with `re.ASCII`. A moment is an ISO 8601 time with Z or an offset, or a count from
1970-01-01 UTC: a second in 1973–5138 has 9–11 digits, its millisecond 12–14, its microsecond 15–17.
"""

from dataclasses import dataclass

from lodestar import schema

NOT_AN_ID = ("nan", "NaN", "NAN", "null", "NULL", "None", "<NA>")
TRUE, FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
WHOLE = r"[+-]?\d{1,18}(\.0+)?"
NOT_A_NUMBER = "[nN]a[nN]"
INTEGER = r"-?\d{1,17}"
MOMENT = r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z| UTC|([+-])(\d\d)(?::?(\d\d))?)"
NAIVE = r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?"

LATEST_AFTER_US = 5 * 60 * 1_000_000  # an event may be ahead of when it was ingested, by a clock that is wrong
# A required time outside these years is a broken clock or a filler such as 0000-01-01 or 9999-12-31; events are kept by month.
FIRST_YEAR, END_YEAR = 1900, 2200
EARLIEST_US, END_US = -2_208_988_800_000_000, 7_258_118_400_000_000
# From here on a float has no digits behind the point, and one stands for many numbers that were written.
NOT_EXACT = 2**52
_MAY_BE_LARGE = r"-?(\d{16,}\.|\d+(\.\d+)?[eE])"
LARGE_NUMBER = rf":\s*{_MAY_BE_LARGE}"  # in JSON, behind a key
LARGE_ELEMENT = rf"[:,\[]\s*{_MAY_BE_LARGE}"  # in a list as well
MOST_VALUE_BYTES = 1 << 20  # of any value of a file
MOST_LINE_BYTES = 1 << 22  # of a row of text: more is a row without an end
# Of what a stranger sends, and so of what a collector has landed.
MOST_SENT_BYTES, MOST_PAIRS = 8192, 64


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """How a column counts from 1970: `low` and `high` bound the size of its numbers, one of them is `unit_us` microseconds."""

    name: str
    unit_us: int
    low: int
    high: int

    def covers(self, number: str) -> str:
        return f"abs({number}) >= {self.low} AND abs({number}) < {self.high}"


EPOCHS = (
    Epoch(name="seconds", unit_us=1_000_000, low=0, high=10**11),
    Epoch(name="milliseconds", unit_us=1_000, low=10**11, high=10**14),
    Epoch(name="microseconds", unit_us=1, low=10**14, high=10**17),
)


@dataclass(frozen=True, kw_only=True)
class Need:
    """A column that events of some types must have, and the code of one that lacks it."""

    column: str
    types: tuple[str, ...]

    @property
    def code(self) -> str:
        return "E103" if self.column in {schema.ITEM_ID, schema.TARGET_USER_ID} else "E111"


# In the order in which they are looked at.
NEEDS = tuple(
    Need(column=column, types=tuple(str(kind) for kind, group in schema.NEEDS.items() if column in group))
    for column in dict.fromkeys(name for group in schema.NEEDS.values() for name in group)
)


def bounds(column: schema.Column) -> tuple[float | None, float | None]:
    """The least and the greatest value of a column, both inclusive, None where there is none; times in µs since 1970."""
    if column.kind is schema.Kind.TIME and column.required:
        return EARLIEST_US, END_US - 1
    return column.low, column.high
