"""Windowed counts in three forms from one declaration: over history, over a stream, and as the number that a model is given.

An event counts in a window of w hours from the end of its hour, or from the hour after it became known if that is later, until w hours
after its hour has ended. A count therefore changes at whole hours only, holds what was known then and nothing else, and is found again
exactly from the log: a late event changes no row of the past.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar import schema
from lodestar.features import taken
from lodestar.schema import Windowed

HOUR_US = 3_600_000_000
EVENTS_AT_ONCE = 200_000
# A step is up, with so many windows passed by, or down for one window.
MOST_WINDOWS, KIND_BITS, KINDS = 8, 4, 15
STEPS = "steps"

Hours = NDArray[np.int64]


def count(database: Any, features: Sequence[Windowed]) -> str:
    """Create the table of a view's raw counts from `taken` and give its name; rows are (entity, hour, counts), hours since 1970.

    An entity is the number that `taken.names` tells the id of.
    """
    import pyarrow as pa

    (view,), (entity,) = {feature.view for feature in features}, {feature.entity for feature in features}
    features = sorted(features, key=lambda feature: feature.window_h)
    columns = ", ".join(f"{feature.name} INTEGER" for feature in features)
    database.execute(f"CREATE TABLE {view} (entity INTEGER, hour INTEGER, {columns})")
    for chunk in taken.chunks(database, entity):
        key = chunk[taken.NUMBERS[entity]].astype(np.int64)
        ends = chunk["time"] // HOUR_US + 1
        enters = np.maximum(ends, -(-chunk["known"] // HOUR_US))
        for rows in _groups(key):
            keys, hours, counts = sweep(key[rows], ends[rows], enters[rows], [feature.window_h for feature in features])
            arrays = [pa.array(values.astype(np.int32)) for values in (keys, hours, *counts)]
            database.register(STEPS, pa.table(arrays, names=["entity", "hour", *_names(features)]))
            database.execute(f"INSERT INTO {view} SELECT * FROM {STEPS}")
            database.unregister(STEPS)
    return view


def sweep(key: Hours, ends: Hours, enters: Hours, windows_h: Sequence[int]) -> tuple[Hours, Hours, list[Hours]]:
    """Keys, hours and a count per window, at every hour at which a count of that key may change, by key and hour.

    Each event, given by its key, the end of its hour and the hour from which it is known, is a step up, and for each window a step down.
    One sort puts all steps in order; counts are running sums, and need no new start for a key, since its steps add up to nought. Windows
    ascend, and there are at most eight: ValueError otherwise.
    """
    num = len(windows_h)
    if num > MOST_WINDOWS or list(windows_h) != sorted(set(windows_h)):
        raise ValueError(f"a view counts in 1–{MOST_WINDOWS} windows, each of another length, shortest first; got {list(windows_h)}")
    passed = np.searchsorted(windows_h, enters - ends, side="right")  # windows that had gone by when the event became known
    if (passed == num).all():  # nothing was ever known in time
        return key[:0], key[:0], [key[:0] for _ in windows_h]
    base = int(ends.min())
    bits = (int(max(ends.max() + windows_h[-1], enters.max())) - base + 1).bit_length()
    steps = [_packed(key, enters - base, passed, bits)[passed < num]]
    steps += [_packed(key, ends + hours - base, num + place, bits)[passed <= place] for place, hours in enumerate(windows_h)]
    packed = np.concatenate(steps)
    packed.sort()
    kind, at = (packed & KINDS).astype(np.int8), packed >> KIND_BITS
    last = np.flatnonzero(np.append(at[1:] != at[:-1], True))
    counts = [
        np.cumsum((kind <= place).astype(np.int8) - (kind == num + place), dtype=np.int32)[last].astype(np.int64) for place in range(num)
    ]
    at = at[last]
    return at >> bits, (at & ((1 << bits) - 1)) + base, counts


def _packed(key: Hours, hour: Hours, kind: Hours | int, bits: int) -> Hours:
    """Key, hour and kind of a step in one number that sorts in that order."""
    return ((key << bits | hour) << KIND_BITS) | kind


def _groups(key: Hours) -> Iterator[Hours]:
    """Row numbers of some keys at a time, so many that their steps stay in the cache."""
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    first = starts[np.searchsorted(starts, np.arange(0, len(key), EVENTS_AT_ONCE)).clip(max=len(starts) - 1)]
    yield from (order[start:end] for start, end in pairwise([*np.unique(np.append(0, first)), len(key)]))


def _names(features: Sequence[Windowed]) -> list[str]:
    return [feature.name for feature in features]


def largest(database: Any, features: Sequence[Windowed], end_us: int) -> dict[str, float]:
    """The fitted state: of each feature the highest count until `end_us`, at least 1."""
    most = ", ".join(f"coalesce(max({feature.name}), 1)" for feature in features)
    row = database.execute(f"SELECT {most} FROM {features[0].view} WHERE hour::BIGINT * {HOUR_US} <= {end_us}").fetchone()
    return {feature.name: max(1.0, float(value)) for feature, value in zip(features, row, strict=True)}


def scaled_rows(features: Sequence[Windowed], most: Mapping[str, float]) -> str:
    """SQL of the view's rows as a model is given them: what `scaled` makes of the counts, those of an entity together, in order of time."""
    entity = features[0].entity
    columns = ", ".join(f"least(1, ln(1 + {one.name}) / ln(1 + {most[one.name]}))::FLOAT AS {one.name}" for one in features)
    moment = f"make_timestamptz(hour::BIGINT * {HOUR_US})"
    return f"""
        SELECT {entity}, {columns}, {moment} AS {schema.FEATURE_TIME}, {moment} AS {schema.KNOWN_TIME}
        FROM {features[0].view} JOIN {taken.NAMES[entity]} ON entity = {taken.NUMBERS[entity]}"""


def scaled(counts: Mapping[str, int], most: Mapping[str, float]) -> dict[str, np.float32]:
    """log(1 + n) / log(1 + the highest n of the training window), at most 1."""
    return {name: np.float32(min(1.0, math.log(1 + n) / math.log(1 + most[name]))) for name, n in counts.items()}


class Stream:
    """The counts of all keys of an entity, event after event in the order in which they become known.

    `count` may be asked for the present only: what has left every window is forgotten, so the state of a key is as long as its hours.
    """

    def __init__(self, features: Sequence[Windowed]) -> None:
        self._features = tuple(features)
        self._longest_h = max(feature.window_h for feature in features)
        self._taken: dict[str, dict[tuple[int, int], int]] = defaultdict(lambda: defaultdict(int))

    def add(self, key: str, time_us: int, known_us: int) -> None:
        """One positive event."""
        ends = time_us // HOUR_US + 1
        self._taken[key][ends, max(ends, -(-known_us // HOUR_US))] += 1

    def count(self, key: str, now_us: int) -> dict[str, int]:
        """The counts of a key now."""
        hour = now_us // HOUR_US
        mine = self._taken.get(key, {})
        for ends, enters in [pair for pair in mine if pair[0] + self._longest_h <= hour]:
            del mine[ends, enters]
        return {
            feature.name: sum(n for (ends, enters), n in mine.items() if enters <= hour < ends + feature.window_h)
            for feature in self._features
        }
