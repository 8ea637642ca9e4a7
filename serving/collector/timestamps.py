"""Parse time stamps of events: a time with its UTC offset, or seconds, milliseconds, microseconds or nanoseconds since 1970."""

import re
from datetime import UTC, datetime, timedelta

from lodestar.data.contract import rules
from lodestar.data.contract.rules import NAIVE, NO_TIME, OUT_OF_RANGE, WRONG_TYPE
from lodestar.schema.time_units import EPOCH
from serving.collector.row_error import RowError

_INTEGER, _AWARE, _NAIVE = (re.compile(pattern, re.ASCII) for pattern in (rules.INTEGER, rules.AWARE_TIME, rules.NAIVE_TIME))
_EARLIEST, _LATEST = (EPOCH + timedelta(microseconds=time_us) for time_us in (rules.EARLIEST_US, rules.LATEST_US))
_LEAP_YEAR = 400  # stands for the year 0, which has no datetime


Timestamp = tuple[str, datetime]  # as it is written, and parsed; creating a NamedTuple costs half as much as all the rest


def parse_timestamp(text: str) -> Timestamp:
    """Parse a time stamp; RowError E106 if it has no offset, E107 if it is not a time, E102 if the year is out of range.

    E112 for a number below one year in seconds.
    """
    found = _AWARE.fullmatch(text)
    if found is None:
        if _INTEGER.fullmatch(text):
            return _parse_epoch(int(text))
        raise RowError(NAIVE if _NAIVE.fullmatch(text) else WRONG_TYPE)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:  # an offset of a day, midnight as 24:00:00, or no time at all
        when = _parse_edge_time(found)
    if not _EARLIEST <= when <= _LATEST:
        raise RowError(OUT_OF_RANGE)
    return text, when


def _parse_epoch(number: int) -> Timestamp:
    size = abs(number)
    if size < rules.LEAST_EPOCH:
        raise RowError(NO_TIME)
    if size >= rules.MAX_EPOCH:
        raise RowError(WRONG_TYPE)
    epoch = next(epoch for epoch in rules.EPOCHS if size < epoch.high)
    time_us = size * epoch.unit_us // epoch.per_us
    try:
        when = EPOCH + timedelta(microseconds=time_us if number > 0 else -time_us)
    except OverflowError as error:
        raise RowError(OUT_OF_RANGE) from error
    return parse_timestamp(when.isoformat(timespec="microseconds"))


def _parse_edge_time(match: "re.Match[str]") -> datetime:
    """Parse a time that `datetime` does not accept, such as midnight as 24:00:00; RowError E107 if invalid, E102 if out of its range."""
    year, month, day, hour, minute, second = (int(match[group]) for group in range(1, 7))
    is_midnight = (hour, minute, second, int((match[7] or "0")[:6])) == (24, 0, 0, 0)
    try:
        local = datetime(year or _LEAP_YEAR, month, day, 0 if is_midnight else hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise RowError(WRONG_TYPE) from error
    offset = timedelta(hours=int(match[9] or 0), minutes=int(match[10] or 0))
    try:
        when = local + timedelta(days=is_midnight) - (-offset if match[8] == "-" else offset)
    except OverflowError as error:
        raise RowError(OUT_OF_RANGE) from error
    if year:
        return when
    if when.year == _LEAP_YEAR:
        raise RowError(OUT_OF_RANGE)
    return when.replace(year=1)  # in UTC the next year has begun
