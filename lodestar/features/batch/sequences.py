"""User sequences: each user's interactions in order, for training and as model input in serving.

Which events are interactions is decided by the rules of feedback: one is kept if the item could have been recommended at its time. So a
seen item counts once (or again after the gap of repeat consumption), and nothing after a refusal counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lodestar import schema
from lodestar.features.asof.history import STAMP
from lodestar.features.batch import duckdb_views, event_partitions
from lodestar.features.batch.event_partitions import NEUTRAL, REFUSED, TYPES, Rows
from lodestar.schema.arrays import Bool, Flags, Int64, Longs, Shaped
from lodestar.schema.feedback import Feedback
from lodestar.schema.time_units import SECOND_US

ROWS = pa.schema(
    {
        schema.USER_ID: pa.string(),
        schema.RECENT_ITEMS: pa.list_(pa.string()),
        schema.RECENT_TYPES: pa.list_(pa.string()),
        schema.RECENT_GAPS_S: pa.list_(pa.float32()),
        schema.REFUSED_ITEMS: pa.list_(pa.string()),
        schema.FEATURE_TIME: STAMP,
        schema.KNOWN_TIME: STAMP,
    }
)
USER, ITEM = event_partitions.NUMBERS[schema.USER_ID], event_partitions.NUMBERS[schema.ITEM_ID]


@dataclass(frozen=True, kw_only=True)
class UserEvents:
    """Events of some users, sorted by user, then time, then order of the log: `kept` are interactions, `filters` decide on the rest.

    `filters` are first refusals of an item, and events that made an item seen and are no interactions. `makes_seen` is by type code.
    `counts` are the numbers of positive events, refusals and neutral events, those that decide nothing included.
    """

    kept: Shaped[Rows, " interactions"]
    filters: Shaped[Rows, " filters"]
    makes_seen: Bool[Flags, " types"]
    counts: tuple[int, int, int]

    @property
    def seen(self) -> Bool[Flags, " interactions"]:
        """Whether each interaction made its item seen."""
        found: Flags = self.makes_seen[self.kept["type"]]
        return found

    def of_users_with(self, least: int) -> Self:
        """The interactions of users who have at least this many, without what filters beside them."""
        starts = np.flatnonzero(np.diff(self.kept[USER], prepend=-1))
        lengths = np.diff(starts, append=len(self.kept))
        return replace(self, kept=self.kept[np.repeat(lengths >= least, lengths)], filters=self.filters[:0])

    def known_us(self) -> tuple[Int64[Longs, " users"], Int64[Longs, " users"]]:
        """Numbers of the users, ascending, and the latest time at which any of a user's events here became known (UTC µs)."""
        users = np.concatenate([self.kept[USER], self.filters[USER]]).astype(np.int64)
        known = np.concatenate([self.kept["known"], self.filters["known"]])
        found, index = np.unique(users, return_inverse=True)
        latest = np.full(len(found), np.iinfo(np.int64).min)
        np.maximum.at(latest, index, known)
        return found, latest


def user_events(database: Any) -> Iterator[UserEvents]:
    """Events of all users under the rules of feedback, some users at a time; each chunk has all events of its users."""
    rules = duckdb_views.rules_of(database)
    for events in event_partitions.chunks(database, schema.USER_ID):
        yield select(events, rules)


def select(events: Shaped[Rows, " events"], rules: Feedback) -> UserEvents:
    """The interactions among events, which are in the order of the log and hold all events of their users."""
    makes_seen = makes_seen_by_type(rules)
    refused, neutral = (int(np.count_nonzero(events["type"] == code)) for code in (REFUSED, NEUTRAL))
    counts = len(events) - refused - neutral, refused, neutral
    if rules.filters_history and not refused and not neutral:
        return UserEvents(kept=first_of_each(events), filters=events[:0], makes_seen=makes_seen, counts=counts)
    rows = events[np.lexsort((events["time"], events[USER]))]
    gap_us = int(rules.repeat_gap_s * SECOND_US) if rules.consumption == "repeat" else None
    kept, filters = _selection(rows, makes_seen, gap_us)
    return UserEvents(kept=rows[kept], filters=rows[filters], makes_seen=makes_seen, counts=counts)


def makes_seen_by_type(rules: Feedback) -> Bool[Flags, " types"]:
    """Whether an event makes its item seen, by type code: TYPES, REFUSED and NEUTRAL, [types]."""
    return np.array([*(event_type in rules.seen for event_type in TYPES), False, True])


def first_of_each(events: Shaped[Rows, " events"]) -> Shaped[Rows, " interactions"]:
    """First event of each user on each item, sorted by user and time; `events` are in the order of the log."""
    by_time = np.argsort(events["time"], kind="stable")
    rows = events.take(by_time[event_partitions.sort_by_number(events[USER][by_time])])
    is_first = np.zeros(len(rows), dtype=np.bool_)
    # `unique` returns the first index of each pair, which is the earliest: the rows are sorted by time.
    is_first[np.unique(_pairs(rows), return_index=True)[1]] = True
    return rows.compress(is_first)


def _pairs(rows: Rows) -> Longs:
    """A number for each pair of user and item."""
    pairs: Longs = rows[USER].astype(np.int64) * (int(rows[ITEM].max(initial=0)) + 1) + rows[ITEM]
    return pairs


def _selection(rows: Rows, makes_seen: Flags, gap_us: int | None) -> tuple[Flags, Flags]:
    """Whether each row, sorted by user and time, is an interaction, and whether it filters beside them; `gap_us` None: seen items never
    come again.
    """
    order = np.argsort(_pairs(rows), kind="stable")
    pair, kind, time = _pairs(rows)[order], rows["type"][order], rows["time"][order]
    start = np.flatnonzero(np.diff(pair, prepend=-1))
    first = np.repeat(start, np.diff(start, append=len(pair)))  # of each row, the index of its pair's first row
    is_refusal, is_seen = kind == REFUSED, makes_seen[kind]
    is_open = (kind < len(TYPES)) & ~_came_before(is_refusal, first)
    if gap_us is None:
        is_wanted = is_open & ~_came_before(is_seen, first)
        kept = is_wanted & (is_seen | ~_came_before(is_wanted, first))
    else:
        last = _last_before(is_seen, first)
        kept = is_open & ((last < first) | (time - time[np.maximum(last, 0)] >= gap_us))
    filters = (is_refusal & ~_came_before(is_refusal, first)) | (is_seen & ~kept)
    if gap_us is None:  # of the events that make an item seen, only the first decides
        filters &= is_refusal | ~_came_before(is_seen, first)
    found = np.zeros((2, len(rows)), dtype=np.bool_)
    found[:, order] = kept, filters
    return found[0], found[1]


def _last_before(marked: Flags, first: NDArray[np.intp]) -> NDArray[np.intp]:
    """Index of the last marked row before each row, below `first` where its pair has none."""
    last = np.maximum.accumulate(np.where(marked, np.arange(len(marked)), -1)) if len(marked) else np.zeros(0, dtype=np.intp)
    return np.concatenate([np.full(min(1, len(marked)), -1), last[:-1]])


def _came_before(marked: Flags, first: NDArray[np.intp]) -> Flags:
    """Whether a marked row of the same pair comes before each row."""
    came: Flags = _last_before(marked, first) >= first
    return came


def recent(events: UserEvents, users: Any, items: Any) -> "pa.Table":
    """Recent items of each user (at most MAX_HISTORY), oldest first, with event types and time gaps in seconds; one row per user.

    `users` and `items` are the ids by number. A row's known time is the latest of all events that decide on it, older ones included: the
    events known by then give the same row again. Users without an interaction have no row.
    """
    interactions = events.kept
    if len(interactions) == 0:
        return ROWS.empty_table()
    user, time, item = interactions[USER], interactions["time"], interactions[ITEM]
    starts = np.flatnonzero(np.diff(user, prepend=-1))
    ends = np.append(starts[1:], len(user))
    recent_starts = np.maximum(starts, ends - schema.MAX_HISTORY)
    gaps = np.diff(time, prepend=time[:1]) / SECOND_US
    gaps[starts] = 0
    offsets, kept = _spans(recent_starts, ends - recent_starts)
    type_indices = pa.array(interactions["type"][kept].astype(np.int8))
    types = pa.DictionaryArray.from_arrays(type_indices, pa.array(TYPES)).cast(pa.string())
    known = np.maximum.reduceat(interactions["known"], starts)
    if len(events.filters):
        numbers, latest = events.known_us()
        known = latest[np.searchsorted(numbers, user[starts])]
    columns = {
        schema.USER_ID: users.take(pa.array(user[starts])),
        schema.RECENT_ITEMS: pa.ListArray.from_arrays(offsets, items.take(pa.array(item[kept]))),
        schema.RECENT_TYPES: pa.ListArray.from_arrays(offsets, types),
        schema.RECENT_GAPS_S: pa.ListArray.from_arrays(offsets, pa.array(gaps[kept].astype(np.float32))),
        schema.REFUSED_ITEMS: _refused(events, user[starts], items),
        schema.FEATURE_TIME: pa.array(time[ends - 1]).cast(STAMP),
        schema.KNOWN_TIME: pa.array(known).cast(STAMP),
    }
    return pa.table(columns, schema=ROWS)


def _refused(events: UserEvents, users: NDArray[np.int32], items: Any) -> Any:
    """The last MAX_HISTORY items that each user refused, oldest first, as a list array; null where there is none."""
    refusals = events.filters[events.filters["type"] == REFUSED]
    if len(refusals) == 0:
        return pa.nulls(len(users), pa.list_(pa.string()))
    starts, ends = (np.searchsorted(refusals[USER], users, side=side) for side in ("left", "right"))
    starts = np.maximum(starts, ends - schema.MAX_HISTORY)
    offsets, chosen = _spans(starts, ends - starts)
    return pa.ListArray.from_arrays(offsets, items.take(pa.array(refusals[ITEM][chosen])), mask=pa.array(starts == ends))


def _spans(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[Any, NDArray[np.int64]]:
    """Offsets of a list array of spans of rows, and the index of each of their rows."""
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return pa.array(ends.astype(np.int32)), np.repeat(starts - ends[:-1], lengths) + np.arange(ends[-1])
