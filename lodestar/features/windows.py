"""Counts in three forms from one declaration: over history, over a stream, and as the number that a model is given.

An event counts in a window of w hours from the end of its hour, or from the hour after it became known if that is later, until w hours
after its hour has ended. A count therefore changes at whole hours only, holds what was known then and nothing else, and is found again
exactly from the log: a late event changes no row of the past. A decayed count is a sum of such counts, in whole numbers: it has the same
value whoever adds it up, in whatever order.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar import schema
from lodestar.features import taken
from lodestar.schema import Count, EventType, View

HOUR_US = 3_600_000_000
EVENTS_AT_ONCE = 200_000
# A step is up, with so many windows passed by, or down for one window.
KIND_BITS, KINDS = 5, 31
STEPS = "steps"

Hours = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Which of the rows count in some windows, and how long these are in hours: of different lengths, the shortest first."""

    counts: NDArray[np.bool_]
    hours: Sequence[int]

    def __post_init__(self) -> None:
        if list(self.hours) != sorted(set(self.hours)):
            raise ValueError(f"windows are of different lengths, the shortest first; got {list(self.hours)}")


def count(database: Any, view: View) -> None:
    """Create the table of a view's raw counts from what was dealt out; rows are (entity, hour, counts), hours since 1970.

    An entity is the number that `taken.names` tells the id of.
    """
    import pyarrow as pa

    columns = ", ".join(f"{one.name} INTEGER" for one in view.counts)
    database.execute(f"CREATE TABLE {view.name} (entity INTEGER, hour INTEGER, {columns})")
    for chunk in taken.chunks(database, view.entity):
        key = chunk[taken.NUMBERS[view.entity]].astype(np.int64)
        ends, enters = hours_of(chunk)
        for rows in _groups(key):
            keys, hours, counts = counted(view.counts, key[rows], ends[rows], enters[rows], chunk["type"][rows])
            arrays = [pa.array(values.astype(np.int32)) for values in (keys, hours, *counts)]
            database.register(STEPS, pa.table(arrays, names=["entity", "hour", *_names(view)]))
            database.execute(f"INSERT INTO {view.name} SELECT * FROM {STEPS}")
            database.unregister(STEPS)


def hours_of(events: taken.Rows) -> tuple[Hours, Hours]:
    """The end of each event's hour, and the hour from which it is known, since 1970."""
    ends = events["time"] // HOUR_US + 1
    return ends, np.maximum(ends, -(-events["known"] // HOUR_US))


def counted(counts: Sequence[Count], key: Hours, ends: Hours, enters: Hours, types: NDArray[np.uint8]) -> tuple[Hours, Hours, list[Hours]]:
    """What `sweep` finds of events by key, end of hour, hour from which they are known and place of their type; of each count its value."""
    lengths: dict[frozenset[EventType], set[int]] = defaultdict(set)
    for one in counts:
        lengths[one.types].update(one.weights)
    groups = [Windows(counts=_among(types, kinds), hours=sorted(hours)) for kinds, hours in lengths.items()]
    keys, at, found = sweep(key, ends, enters, groups)
    plain = [(kinds, length) for kinds, hours in lengths.items() for length in sorted(hours)]
    values = dict(zip(plain, found, strict=True))
    return keys, at, [sum((weight * values[one.types, length] for length, weight in one.weights.items()), 0 * at) for one in counts]


def _among(types: NDArray[np.uint8], wanted: frozenset[EventType]) -> NDArray[np.bool_]:
    return np.isin(np.array(taken.TYPES), sorted(wanted))[types]


def sweep(key: Hours, ends: Hours, enters: Hours, groups: Sequence[Windows]) -> tuple[Hours, Hours, list[Hours]]:
    """Keys, hours and a count per window, group after group, at every hour at which a count of that key may change, by key and hour.

    Each event, given by its key, the end of its hour and the hour from which it is known, is a step up, and for each window a step down.
    One sort puts all steps in order; counts are running sums, and need no new start for a key, since its steps add up to nought. There
    are at most KINDS // 2 windows: ValueError otherwise.
    """
    num_kinds = sum(2 * len(group.hours) for group in groups)
    if num_kinds > KINDS:
        raise ValueError(f"a view counts in up to {KINDS // 2} windows, decayed ones in one for each halving; got {num_kinds // 2}")
    longest = max(group.hours[-1] for group in groups)
    base = int(ends.min(initial=0))
    bits = (int(max(ends.max(initial=0) + longest, enters.max(initial=0))) - base + 1).bit_length()
    steps, first, firsts = [key[:0]], 0, []
    for group in groups:
        steps += _steps(key[group.counts], ends[group.counts] - base, enters[group.counts] - base, group.hours, first, bits)
        firsts.append(first)
        first += 2 * len(group.hours)
    packed = np.concatenate(steps)
    packed.sort()
    kind, at = (packed & KINDS).astype(np.int8), packed >> KIND_BITS
    last = np.flatnonzero(np.append(at[1:] != at[:-1], True)) if len(at) else np.zeros(0, dtype=np.intp)
    counts = []
    for first, group in zip(firsts, groups, strict=True):
        num = len(group.hours)
        for place in range(num):
            change = ((kind >= first) & (kind <= first + place)).astype(np.int8) - (kind == first + num + place)
            counts.append(np.cumsum(change, dtype=np.int32)[last].astype(np.int64))
    at = at[last]
    return at >> bits, (at & ((1 << bits) - 1)) + base, counts


def _steps(key: Hours, ends: Hours, enters: Hours, hours: Sequence[int], first: int, bits: int) -> Iterator[Hours]:
    """The steps of one group, whose kinds begin at `first`."""
    num = len(hours)
    passed = np.searchsorted(hours, enters - ends, side="right")  # windows that had gone by when the event became known
    yield _packed(key, enters, first + passed, bits)[passed < num]
    for place, length in enumerate(hours):
        yield _packed(key, ends + length, first + num + place, bits)[passed <= place]


def _packed(key: Hours, hour: Hours, kind: Hours | int, bits: int) -> Hours:
    """Key, hour and kind of a step in one number that sorts in that order."""
    return ((key << bits | hour) << KIND_BITS) | kind


def _groups(key: Hours) -> Iterator[Hours]:
    """Row numbers of some keys at a time, so many that their steps stay in the cache."""
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    first = starts[np.searchsorted(starts, np.arange(0, len(key), EVENTS_AT_ONCE)).clip(max=len(starts) - 1)]
    yield from (order[start:end] for start, end in pairwise([*np.unique(np.append(0, first)), len(key)]))


def _names(view: View) -> list[str]:
    return [one.name for one in view.counts]


def largest(database: Any, view: View, end_us: int) -> dict[str, float]:
    """The fitted state: of each count of a view the highest until `end_us`, at least 1."""
    most = ", ".join(f"coalesce(max({name}), 1)" for name in _names(view))
    row = database.execute(f"SELECT {most} FROM {view.name} WHERE hour::BIGINT * {HOUR_US} <= {end_us}").fetchone()
    return {name: max(1.0, float(value)) for name, value in zip(_names(view), row, strict=True)}


def scaled_rows(view: View, most: Mapping[str, float]) -> str:
    """SQL of the view's rows as a model is given them: what `scaled` makes of the counts, those of an entity together, in order of time."""
    columns = ", ".join(f"least(1, ln(1 + {name}) / ln(1 + {most[name]}))::FLOAT AS {name}" for name in _names(view))
    moment = f"make_timestamptz(hour::BIGINT * {HOUR_US})"
    return f"""
        SELECT {view.entity}, {columns}, {moment} AS {schema.FEATURE_TIME}, {moment} AS {schema.KNOWN_TIME}
        FROM {view.name} JOIN {taken.NAMES[view.entity]} ON entity = {taken.NUMBERS[view.entity]}"""


def scaled(counts: Mapping[str, int], most: Mapping[str, float]) -> dict[str, np.float32]:
    """log(1 + n) / log(1 + the highest n of the training window), at most 1."""
    return {name: np.float32(min(1.0, math.log(1 + n) / math.log(1 + most[name]))) for name, n in counts.items()}


class Stream:
    """The counts of all keys of a view, event after event in the order in which they become known.

    `count` may be asked for the present only: what has left every window is forgotten, so the state of a key is as long as its hours.
    """

    def __init__(self, view: View) -> None:
        self._counts = view.counts
        self._longest_h = max(max(one.weights) for one in view.counts)
        self._taken: dict[str, dict[tuple[int, int, EventType], int]] = defaultdict(lambda: defaultdict(int))

    def add(self, key: str, time_us: int, known_us: int, kind: EventType) -> None:
        """One event."""
        ends = time_us // HOUR_US + 1
        self._taken[key][ends, max(ends, -(-known_us // HOUR_US)), kind] += 1

    def count(self, key: str, now_us: int) -> dict[str, int]:
        """The counts of a key now."""
        hour = now_us // HOUR_US
        mine = self._taken.get(key, {})
        for entry in [entry for entry in mine if entry[0] + self._longest_h <= hour]:
            del mine[entry]
        return {one.name: sum(n * _weight(one, hour, *entry) for entry, n in mine.items()) for one in self._counts}


def _weight(one: Count, hour: int, ends: int, enters: int, kind: EventType) -> int:
    """What one event counts at an hour."""
    is_known = kind in one.types and enters <= hour
    return sum(weight for length, weight in one.weights.items() if hour < ends + length) if is_known else 0
