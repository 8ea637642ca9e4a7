"""When a text says that something happened: a moment with its offset, or a count from 1970."""

import re
from datetime import UTC, datetime, timedelta

from lodestar.data import rules
from serving.collect.row_error import NAIVE, OUT_OF_RANGE, WRONG_TYPE, RowError

_INTEGER, _MOMENT, _NAIVE = (re.compile(pattern, re.ASCII) for pattern in (rules.INTEGER, rules.MOMENT, rules.NAIVE))
_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST, _END = (_1970 + timedelta(microseconds=moment_us) for moment_us in (rules.EARLIEST_US, rules.END_US))
_LEAP_YEAR = 400  # stands for the year 0, which has no datetime


Time = tuple[str, datetime]  # a moment as it is written, and when it is; a NamedTuple takes as long to make as half of the rest


def moment(text: str) -> Time:
    """What a text says; RowError E106 where it has no offset, E107 where it is no time, E102 where the year is out of range."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        if _INTEGER.fullmatch(text):
            return _counted(int(text))
        raise RowError(NAIVE if _NAIVE.fullmatch(text) else WRONG_TYPE)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:  # an offset of a day, midnight as 24:00:00, or no time at all
        when = _unusual(found)
    if not _EARLIEST <= when < _END:
        raise RowError(OUT_OF_RANGE)
    return text, when


def _counted(number: int) -> Time:
    unit_us = next(epoch.unit_us for epoch in rules.EPOCHS if epoch.low <= abs(number) < epoch.high)
    try:
        when = _1970 + timedelta(microseconds=number * unit_us)
    except OverflowError as error:
        raise RowError(OUT_OF_RANGE) from error
    return moment(when.isoformat(timespec="microseconds"))


def _unusual(found: "re.Match[str]") -> datetime:
    """When a text says that datetime does not read; a year that it has not is out of range."""
    year, month, day, hour, minute, second = (int(found[place]) for place in range(1, 7))
    is_midnight = (hour, minute, second, int((found[7] or "0")[:6])) == (24, 0, 0, 0)
    try:
        moment = datetime(year or _LEAP_YEAR, month, day, 0 if is_midnight else hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise RowError(WRONG_TYPE) from error
    offset = timedelta(hours=int(found[9] or 0), minutes=int(found[10] or 0))
    try:
        return moment + timedelta(days=is_midnight) - (-offset if found[8] == "-" else offset)
    except OverflowError as error:
        raise RowError(OUT_OF_RANGE) from error
