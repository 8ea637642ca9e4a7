"""Forms of times in a column of text, decided once for a file, and their SQL: a value in UTC µs, or the code of what has another form.

Sure forms are read: ISO 8601 with an offset, numbers since 1970, RFC 2822 and what servers log. What is sure but for its zone is read in a
declared zone, and refused without one. Nothing is guessed from a single value: the order of day and month is sure where a day is above 12.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from lodestar.data.contract import rules
from lodestar.data.contract.rules import DAY_OR_MONTH, EPOCHS, NAIVE, NO_TIME, OTHER_UNIT, WRONG_TYPE, Epoch

AWARE_FORMATS = (
    *("%a, %d %b %Y %H:%M:%S %z", "%d %b %Y %H:%M:%S %z", "%a %b %d %H:%M:%S %z %Y", "%d/%b/%Y:%H:%M:%S %z"),
    *("%a, %d %b %Y %H:%M:%S %Z", "%a %b %d %H:%M:%S %Z %Y", "%Y-%m-%dT%H:%M%z", "%Y/%m/%d %H:%M:%S %z"),
)
_CLOCKS = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", " %H:%M:%S.%f")
_DAY_FIRST, _MONTH_FIRST, _OTHERS = (
    tuple("".join(parts) for parts in product(dates, _CLOCKS))
    for dates in (
        ("%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y"),
        ("%m/%d/%Y", "%m.%d.%Y", "%m-%d-%Y"),
        ("%Y/%m/%d", "%Y.%m.%d", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%a %b %d %Y"),
    )
)
NAMED = ("%a %b %d %H:%M:%S %Y",)
# A year in two digits would be read as one of the first century.
_WHOLE_YEAR = r"(^|\D)\d{4}(\D|$)"
_COMPACT = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
YEAR = "%Y"
_YEARS = r"(19|20)\d\d"


@dataclass(frozen=True, kw_only=True)
class TimeForm:
    """How a column writes times: `epoch` for numbers since 1970, `formats` of strptime, of which one fits; neither is ISO 8601.

    `is_aware`: the formats have an offset. `is_compact`: numbers such as 20260131 that the format reads. `is_sure`: no other formats fit.
    `has_dates_only`: no clock is written.
    """

    epoch: Epoch | None = None
    formats: tuple[str, ...] = ()
    is_aware: bool = False
    is_compact: bool = False
    is_sure: bool = True
    has_dates_only: bool = False


ISO = TimeForm()
# Formats that are found without being declared, whatever the values.
SURE_FORMATS = frozenset((*AWARE_FORMATS, *_OTHERS, *NAMED, *_COMPACT.values(), YEAR))


def dates_note(name: str) -> str:
    """What is said of a column of dates without a clock."""
    return f"{name} has dates without a clock: the order within a day is not known"


def find_form(database: Any, table: str, text: str, *, is_landed: bool) -> TimeForm | None:
    """The form that most values of a column have, `text` being SQL of its trimmed text; None for a column without a value.

    A collector writes ISO 8601 or whole numbers, so only those are found in its parts.
    """
    values = f"(SELECT {text} AS text FROM {table} WHERE {text} IS NOT NULL)"
    first = database.execute(f"SELECT text FROM {values} LIMIT 1").fetchone()
    if first is None:
        return None
    number, iso = _share(database, values, rules.NUMBER), _share(database, values, f"{rules.AWARE_TIME}|{rules.NAIVE_TIME}")
    if number > iso:
        return _number_form(database, values, is_landed=is_landed)
    if iso or is_landed:
        return TimeForm(has_dates_only=not is_landed and _share(database, values, ".*:.*") == 0)
    return _formatted(database, values)


def _share(database: Any, values: str, pattern: str) -> int:
    """How many of the first thousand values match a pattern."""
    query = f"SELECT count(*) FROM (SELECT text FROM {values} LIMIT 1000) WHERE regexp_full_match(text, '{pattern}')"
    return int(database.execute(query).fetchone()[0])


def _number_form(database: Any, values: str, *, is_landed: bool) -> TimeForm:
    """The unit of most numbers since 1970, or the format of numbers that are dates."""
    counts = ", ".join(f"count(*) FILTER ({epoch.covers('number')})" for epoch in EPOCHS)
    small = f"count(*) FILTER (abs(number) < {rules.LEAST_EPOCH})"
    found = database.execute(
        f"SELECT count(*), {small}, {counts} FROM (SELECT TRY_CAST(text AS DOUBLE) AS number FROM {values})"
    ).fetchone()
    num_values, num_small, units = found[0], found[1], found[2:]
    if not is_landed:
        is_date = {digits: _valid_dates(database, values, form, digits) for digits, form in _COMPACT.items()}
        digits = max(is_date, key=lambda one: is_date[one])
        if 2 * is_date[digits] > num_values:
            return TimeForm(formats=(_COMPACT[digits],), is_compact=True, has_dates_only=digits == min(_COMPACT))
        if 2 * _share(database, values, _YEARS + r"(\.0+)?") > min(num_values, 1000):
            return TimeForm(formats=(YEAR,), is_compact=True, has_dates_only=True)
    sizes = [units[0] - num_small, *units[1:]]
    return TimeForm(epoch=EPOCHS[sizes.index(max(sizes))])


def _valid_dates(database: Any, values: str, form: str, digits: int) -> int:
    """How many numbers of so many digits are dates of 1900–2099 in a format."""
    is_one = (
        f"regexp_full_match(text, '{_YEARS}\\d{{{digits - 4}}}(\\.0+)?') AND try_strptime(split_part(text, '.', 1), '{form}') IS NOT NULL"
    )
    return int(database.execute(f"SELECT count(*) FROM {values} WHERE {is_one}").fetchone()[0])


def _formatted(database: Any, values: str) -> TimeForm:
    """The formats that most values have; ISO 8601 where none has any."""
    groups = {"aware": AWARE_FORMATS, "day": _DAY_FIRST, "month": _MONTH_FIRST, "other": (*_OTHERS, *NAMED)}
    parsed = ", ".join(f"{_parsed('text', formats)} IS NOT NULL AS {_name(name)}" for name, formats in groups.items())
    counts = ", ".join(f"count(*) FILTER ({_name(name)})" for name in groups)
    only = ", ".join(f"count(*) FILTER ({one} AND NOT {other})" for one, other in (("is_day", "is_month"), ("is_month", "is_day")))
    found = database.execute(f"""
        SELECT {counts}, {only}, count(*) FILTER (contains(text, ':'))
        FROM (SELECT text, {parsed} FROM (SELECT text FROM {values} LIMIT 100000))""").fetchone()
    aware, day, month, other, day_only, month_only, clocks = found
    if aware and aware >= max(day, month, other):
        return TimeForm(formats=AWARE_FORMATS, is_aware=True)
    if not max(day, month, other):
        return ISO
    if other >= max(day, month):
        return TimeForm(formats=groups["other"], has_dates_only=not clocks)
    is_sure = bool(day_only) != bool(month_only)
    return TimeForm(formats=_DAY_FIRST if day_only else _MONTH_FIRST, is_sure=is_sure, has_dates_only=not clocks)


def _name(group: str) -> str:
    return f"is_{group}"


def _parsed(text: str, formats: Sequence[str]) -> str:
    """SQL of a text's timestamp by the first format that fits, NULL where none does."""
    listed = ", ".join(f"'{form}'" for form in formats)
    return f"CASE WHEN regexp_matches({text}, '{_WHOLE_YEAR}') THEN try_strptime({text}, [{listed}]) END"


def value_and_faults(text: str, form: TimeForm, zone: str) -> tuple[str, list[str]]:
    """SQL of UTC µs, NULL where the text has another form; cases of the codes of texts that give none. `zone` may be empty."""
    if form.epoch:
        return _epoch(text, form.epoch)
    if form.is_compact:
        parsed = (
            f"CASE WHEN regexp_full_match({text}, '\\d+(\\.0+)?') THEN try_strptime(split_part({text}, '.', 1), '{form.formats[0]}') END"
        )
        return _naive(text, parsed, zone, NAIVE)
    if form.is_aware:
        return f"epoch_us({_parsed(text, form.formats)})", [
            _is_other_unit(text),
            f"WHEN {_parsed(text, form.formats)} IS NULL THEN '{WRONG_TYPE}'",
        ]
    if form.formats:
        return _naive(text, _parsed(text, form.formats), zone if form.is_sure else "", NAIVE if form.is_sure else DAY_OR_MONTH)
    aware = f"WHEN regexp_full_match({text}, '{rules.AWARE_TIME}') THEN epoch_us(TRY_CAST({text} AS TIMESTAMPTZ))"
    naive = f"regexp_full_match({text}, '{rules.NAIVE_TIME}')"
    local = f"WHEN {naive} THEN {in_zone(f'TRY_CAST({text} AS TIMESTAMP)', zone)}" if zone else ""
    value = f"CASE {aware} {local} END"
    faults = [] if zone else [f"WHEN {naive} THEN '{NAIVE}'"]
    return value, [*faults, f"WHEN {value} IS NULL THEN CASE {_is_other_unit(text)} ELSE '{WRONG_TYPE}' END"]


def in_zone(timestamp: str, zone: str) -> str:
    """SQL of the UTC µs of a timestamp without an offset, in a zone."""
    return f"epoch_us(timezone('{zone}', {timestamp}))"


def _naive(text: str, parsed: str, zone: str, code: str) -> tuple[str, list[str]]:
    value = in_zone(parsed, zone) if zone else "NULL::BIGINT"
    found = [] if zone else [f"WHEN {parsed} IS NOT NULL THEN '{code}'"]
    missing = f"WHEN {parsed} IS NULL THEN CASE {_is_other_unit(text)} ELSE '{WRONG_TYPE}' END"
    return value, [*found, missing]


def _epoch(text: str, epoch: Epoch) -> tuple[str, list[str]]:
    """Numbers since 1970 in a unit: whole ones exactly, those with decimal places to the microsecond."""
    is_whole, is_number = (f"regexp_full_match({text}, '{pattern}')" for pattern in (rules.INTEGER, rules.NUMBER))
    whole, number = f"TRY_CAST({text} AS BIGINT)", f"TRY_CAST({text} AS DOUBLE)"
    exact = f"{whole} * {epoch.unit_us} // {epoch.per_us}"
    rounded = f"TRY_CAST(TRY_CAST({text} AS DECIMAL(28, 6)) * {epoch.unit_us} / {epoch.per_us} AS BIGINT)"
    value = f"""CASE
        WHEN {is_whole} THEN CASE WHEN {epoch.covers(whole)} AND NOT {_is_small(whole)} THEN {exact} END
        WHEN {is_number} THEN CASE WHEN {epoch.covers(number)} AND NOT {_is_small(number)} THEN {rounded} END END"""
    others = f"({is_number} AND abs({number}) < {rules.MAX_EPOCH}) OR regexp_full_match({text}, '{rules.AWARE_TIME}|{rules.NAIVE_TIME}')"
    codes = f"""
        WHEN {value} IS NULL THEN CASE
            WHEN {is_number} AND {_is_small(number)} THEN '{NO_TIME}'
            WHEN {others} THEN '{OTHER_UNIT}' ELSE '{WRONG_TYPE}' END"""
    return value, [codes]


def _is_small(number: str) -> str:
    return f"({number} > -{rules.LEAST_EPOCH} AND {number} < {rules.LEAST_EPOCH})"


def _is_other_unit(text: str) -> str:
    """A case: a number among times that are written out."""
    return f"WHEN regexp_full_match({text}, '{rules.INTEGER}') THEN '{OTHER_UNIT}'"
