"""Rules for values and rows of the contract, written once: the validator makes SQL of them, the collector Python functions.

A pattern means the same to DuckDB (RE2) and to `re` with `re.ASCII`. A timestamp is an ISO 8601 time with Z or an offset, or an integer
since 1970-01-01 UTC: a second in 1973–5138 has 9–11 digits, a millisecond 12–14, a microsecond 15–17.
"""

from dataclasses import dataclass

from lodestar import schema
from lodestar.schema.time_units import MINUTE_US, SECOND_US

NOT_AN_ID = ("nan", "NaN", "NAN", "null", "NULL", "None", "<NA>")
TRUE, FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
WHOLE = r"[+-]?\d{1,18}(\.0+)?"
NOT_A_NUMBER = "[nN]a[nN]"
INTEGER = r"-?\d{1,17}"
MOMENT = r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z| UTC|([+-])(\d\d)(?::?(\d\d))?)"
NAIVE = r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?"

MAX_CLOCK_SKEW_US = 5 * MINUTE_US  # clock skew: an event may be this far ahead of its ingestion time
# A required time outside these years is a broken clock or a filler such as 0000-01-01 or 9999-12-31; events are kept by month.
FIRST_YEAR, END_YEAR = 1900, 2200
EARLIEST_US, END_US = -2_208_988_800_000_000, 7_258_118_400_000_000
# From here on a float has no decimal places, and different written numbers give the same float.
NOT_EXACT = 2**52
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
class RequiredColumn:
    """A column that events of some types require, and the code of the row error where it is missing."""

    column: str
    types: tuple[str, ...]

    @property
    def code(self) -> str:
        """E103 for an id, E111 for any other column."""
        return "E103" if self.column in {schema.ITEM_ID, schema.TARGET_USER_ID} else "E111"


# In the order of the checks.
REQUIRED_COLUMNS = tuple(
    RequiredColumn(column=column, types=tuple(str(kind) for kind, group in schema.REQUIRED_COLUMNS.items() if column in group))
    for column in dict.fromkeys(name for group in schema.REQUIRED_COLUMNS.values() for name in group)
)


def bounds(column: schema.Column) -> tuple[float | None, float | None]:
    """Lower and upper bound of a column, both inclusive, None where there is none; times in µs since 1970."""
    if column.kind is schema.Kind.TIME and column.required:
        return EARLIEST_US, END_US - 1
    return column.low, column.high
