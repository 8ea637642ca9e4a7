"""A user's history and filter from packed rows: the user sequence view, and the user filter view with what newer sequences add."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from lodestar import schema
from lodestar.engine.user_filter import NO_FILTER, NO_ITEMS, NO_TIMES, Pushed, UserFilter
from lodestar.schema.packed import Layout, event_us, known_us
from lodestar.schema.time_units import NEVER, SECOND_US

PackedRow = tuple[Layout, bytes]


class UserHistory(NamedTuple):
    """A user's recent items, oldest first, and the time (UTC µs) at which they became known; NEVER for an unknown user.

    `gaps_s` are the seconds since the previous item, if they were requested; `filtered` is what is not recommended to the user.
    """

    items: tuple[str, ...]
    known_us: int
    gaps_s: tuple[float, ...] = ()
    filtered: UserFilter = NO_FILTER


UNKNOWN_USER = UserHistory((), NEVER)


def user_history(
    sequence: PackedRow | None, filters: PackedRow | None, names: Sequence[str], *, reads_filters: bool = False
) -> UserHistory:
    """A history from a sequence row's features `names`, items and, if requested, time gaps, with the user's filter if that is read.

    ValueError if a row is damaged.
    """
    found = UNKNOWN_USER
    if sequence is not None:
        layout, row = sequence
        items, *gaps_s = (tuple(layout.value(row, name) or ()) for name in names)
        found = UserHistory(items, known_us(row), gaps_s[0] if gaps_s else ())
    return found._replace(filtered=decode_filter(filters, sequence)) if reads_filters else found


def decode_filter(filters: PackedRow | None, sequence: PackedRow | None) -> UserFilter:
    """The filter of a user from its row, and from the user's sequence row where that became known later; ValueError if one is damaged."""
    found, filtered_us = NO_FILTER, NEVER
    if filters is not None:
        layout, row = filters
        filtered_us = known_us(row)
        forever, resting, until = (layout.value(row, name) for name in (schema.FILTERED_ITEMS, schema.RESTING_ITEMS, schema.RESTING_UNTIL))
        found = UserFilter(
            NO_ITEMS if forever is None else np.frombuffer(forever, dtype="<u4"),
            NO_ITEMS if resting is None else np.frombuffer(resting, dtype="<u4"),
            NO_TIMES if until is None else np.frombuffer(until, dtype="<i8"),
        )
    if sequence is None or known_us(sequence[1]) <= filtered_us:
        return found
    return found._replace(pushed=_pushed(*sequence))


def _pushed(layout: Layout, row: bytes) -> Pushed:
    """Items of a sequence row with types and times, which are its event time less the gaps after each, and refused items."""
    names = (schema.RECENT_ITEMS, schema.RECENT_TYPES, schema.REFUSED_ITEMS)
    items, types, refused = (tuple(layout.value(row, name) or ()) for name in names)
    gaps_s = layout.value(row, schema.RECENT_GAPS_S) or []
    ages_s = list(accumulate(reversed(gaps_s[1:]), initial=0.0))[::-1]
    times_us = tuple(event_us(row) - round(age * SECOND_US) for age in ages_s[: len(items)])
    if len(types) != len(items) or len(times_us) != len(items):
        return Pushed(refused=(*refused, *items))  # pushed without types or gaps: not recommended until the next build
    return Pushed(items, types, times_us, refused)
