"""Windowed counts from one declaration in three forms: batch (over the log), streaming, and scaled as model input.

An event counts in a window of w hours from the end of its hour, or from the hour after it became known if that is later, until w hours
after the end of its hour. So a count changes at whole hours only, includes only what was known then, and can be rebuilt exactly from the
log: a late event changes no past row. A decayed count is a sum of such counts with integer weights, so it does not depend on the order
of addition.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lodestar.features.batch import event_partitions
from lodestar.schema import Count, EventType, View
from lodestar.schema.arrays import Bool, Flags, Int, Int32, Int64, Ints, UInt8
from lodestar.schema.time_units import HOUR_US

EVENTS_AT_ONCE = 200_000
# The kind of a step: up, with the number of windows that have expired already, or down for one window.
KIND_BITS, KINDS = 5, 31

Hours = NDArray[np.int64]
Counts = NDArray[np.int32] | NDArray[np.int64]  # 64 bits where counts are weighted


@dataclass(frozen=True, kw_only=True)
class Windows:
    """A group of windows: mask of the rows that count in them, and their lengths in hours, ascending and unique (else ValueError)."""

    counts: Bool[Flags, " events"]
    hours: Sequence[int]

    def __post_init__(self) -> None:
        if list(self.hours) != sorted(set(self.hours)):
            raise ValueError(f"windows are of different lengths, the shortest first; got {list(self.hours)}")


def event_hours(
    time_us: Int64[Hours, " events"], known_us: Int64[Hours, " events"]
) -> tuple[Int64[Hours, " events"], Int64[Hours, " events"]]:
    """End of each event's hour, and the hour from which it counts as known, both in hours since 1970, [events]."""
    ends = time_us // HOUR_US + 1
    return ends, np.maximum(ends, -(-known_us // HOUR_US))


def windowed_counts(
    features: Sequence[Count],
    key: Int64[Hours, " events"],
    ends: Int64[Hours, " events"],
    enters: Int64[Hours, " events"],
    types: UInt8[NDArray[np.uint8], " events"],
) -> tuple[Int64[Hours, " steps"], Int64[Hours, " steps"], list[Int[Counts, " steps"]]]:
    """Keys, hours and values of each count, at every hour at which a count may change.

    Events are given by key, end of hour, hour from which they are known and index of their type, [events] each (see `sweep`).
    """
    lengths: dict[frozenset[EventType], set[int]] = defaultdict(set)
    for feature in features:
        lengths[feature.types].update(feature.weights)
    groups = [Windows(counts=_type_mask(types, event_types), hours=sorted(hours)) for event_types, hours in lengths.items()]
    keys, at, found = sweep(key, ends, enters, groups)
    plain = [(event_types, length) for event_types, hours in lengths.items() for length in sorted(hours)]
    values = dict(zip(plain, found, strict=True))
    return (
        keys,
        at,
        [_weighted_sum([(values[feature.types, length], weight) for length, weight in feature.weights.items()]) for feature in features],
    )


def _weighted_sum(terms: Sequence[tuple[NDArray[np.int32], int]]) -> Counts:
    """Sum of counts by their weights; a single count of weight 1, as most are, is not copied."""
    (values, weight), *others = terms
    if weight == 1 and not others:
        return values
    total = values.astype(np.int64) * weight
    for values, weight in others:
        total += values.astype(np.int64) * weight
    return total


def _type_mask(types: NDArray[np.uint8], wanted: frozenset[EventType]) -> NDArray[np.bool_]:
    codes = (*event_partitions.TYPES, "", "")  # neither a refusal nor a neutral event counts
    return np.isin(np.array(codes), sorted(wanted))[types]


def sweep(
    key: Int64[Hours, " events"], ends: Int64[Hours, " events"], enters: Int64[Hours, " events"], groups: Sequence[Windows]
) -> tuple[Int64[Hours, " steps"], Int64[Hours, " steps"], list[Int32[Ints, " steps"]]]:
    """Sweep line over events: keys, hours and one count per window, at every hour at which a key's count may change, sorted.

    Each event (key, end of its hour, hour from which it is known) is a step up, and a step down for each window. One sort orders all steps;
    counts are running sums without a reset between keys, as the steps of a key add up to 0. ValueError for more than KINDS // 2 windows.
    """
    num_kinds = sum(2 * len(group.hours) for group in groups)
    if num_kinds > KINDS:
        raise ValueError(f"a view has at most {KINDS // 2} windows (a decayed count has one per halving), got {num_kinds // 2}")
    longest = max(group.hours[-1] for group in groups)
    base = int(ends.min(initial=0))
    bits = (int(max(ends.max(initial=0) + longest, enters.max(initial=0))) - base + 1).bit_length()
    steps, first, firsts = [key[:0]], 0, []
    for group in groups:
        steps += _steps(key[group.counts], ends[group.counts] - base, enters[group.counts] - base, group.hours, first, bits)
        firsts.append(first)
        first += 2 * len(group.hours)
    packed = np.concatenate(steps)
    packed.sort(kind="stable")
    kind, at = (packed & KINDS).astype(np.int8), packed >> KIND_BITS
    last = np.flatnonzero(np.append(at[1:] != at[:-1], True)) if len(at) else np.zeros(0, dtype=np.intp)
    counts = []
    for first, group in zip(firsts, groups, strict=True):
        num = len(group.hours)
        for index in range(num):
            change = ((kind >= first) & (kind <= first + index)).astype(np.int8) - (kind == first + num + index)
            counts.append(np.cumsum(change, dtype=np.int32)[last])
    at = at[last]
    return at >> bits, (at & ((1 << bits) - 1)) + base, counts


def _steps(key: Hours, ends: Hours, enters: Hours, hours: Sequence[int], first: int, bits: int) -> Iterator[Hours]:
    """Packed steps of one group, whose kinds start at `first`."""
    num = len(hours)
    passed = np.searchsorted(hours, enters - ends, side="right")  # windows that had expired when the event became known
    yield _pack(key, enters, first + passed, bits)[passed < num]
    for index, length in enumerate(hours):
        yield _pack(key, ends + length, first + num + index, bits)[passed <= index]


def _pack(key: Hours, hour: Hours, kind: Hours | int, bits: int) -> Hours:
    """Key, hour and kind of a step packed into one sortable integer."""
    return ((key << bits | hour) << KIND_BITS) | kind


def groups(key: Int64[Hours, " events"]) -> Iterator[Int64[Hours, " block"]]:
    """Row indices of blocks of whole keys, small enough that their steps stay in the CPU cache."""
    order = event_partitions.sort_by_number(key)
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    first = starts[np.searchsorted(starts, np.arange(0, len(key), EVENTS_AT_ONCE)).clip(max=len(starts) - 1)]
    yield from (order[start:end] for start, end in pairwise([*np.unique(np.append(0, first)), len(key)]))


def scaled(counts: Mapping[str, int], scale: Mapping[str, float]) -> dict[str, np.float32]:
    """Counts scaled to 0–1, by name: log(1 + n) / log(1 + maximum in training), at most 1, as float32."""
    return {name: np.float32(min(1.0, math.log(1 + n) / math.log(1 + scale[name]))) for name, n in counts.items()}


class StreamingCounter:
    """Streaming counts of a view for all keys, from events in the order in which they become known.

    `count` answers for the present only: events that have left every window are dropped, so a key's state is bounded by its active hours.
    """

    def __init__(self, view: View) -> None:
        self._features = view.counts
        self._longest_h = max(max(feature.weights) for feature in view.counts)
        self._events: dict[str, dict[tuple[int, int, EventType], int]] = defaultdict(lambda: defaultdict(int))

    def add(self, key: str, time_us: int, known_us: int, event_type: EventType) -> None:
        """Add an event; times in UTC µs."""
        ends = time_us // HOUR_US + 1
        self._events[key][ends, max(ends, -(-known_us // HOUR_US)), event_type] += 1

    def count(self, key: str, now_us: int) -> dict[str, int]:
        """Counts of a key at the present time (UTC µs), by name."""
        hour = now_us // HOUR_US
        key_events = self._events.get(key, {})
        for entry in [entry for entry in key_events if entry[0] + self._longest_h <= hour]:
            del key_events[entry]
        if not key_events:
            self._events.pop(key, None)
        return {feature.name: sum(n * _weight(feature, hour, *entry) for entry, n in key_events.items()) for feature in self._features}


def _weight(feature: Count, hour: int, ends: int, enters: int, event_type: EventType) -> int:
    """The weight of one event in a count at an hour; 0 outside its window."""
    is_known = event_type in feature.types and enters <= hour
    return sum(weight for length, weight in feature.weights.items() if hour < ends + length) if is_known else 0
