"""User sequences: each user's items in the order of their first interaction, for training and as model input in serving."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from lodestar import schema
from lodestar.features.asof.history import STAMP
from lodestar.features.batch import event_partitions
from lodestar.features.batch.event_partitions import Rows
from lodestar.schema.time_units import SECOND_US

ROWS = pa.schema(
    {
        schema.USER_ID: pa.string(),
        schema.RECENT_ITEMS: pa.list_(pa.string()),
        schema.RECENT_TYPES: pa.list_(pa.string()),
        schema.RECENT_GAPS_S: pa.list_(pa.float32()),
        schema.FEATURE_TIME: STAMP,
        schema.KNOWN_TIME: STAMP,
    }
)


def first_interactions(database: Any) -> Iterator[Rows]:
    """First event of each user on each item, sorted by user, time and order of the log; each chunk has all events of its users."""
    yield from map(first_of_each, event_partitions.chunks(database, schema.USER_ID))


def first_of_each(events: Rows) -> Rows:
    """First event of each user on each item, sorted by user and time; `events` are in the order of the log."""
    user, item = event_partitions.NUMBERS[schema.USER_ID], event_partitions.NUMBERS[schema.ITEM_ID]
    by_time = np.argsort(events["time"], kind="stable")
    rows = events.take(by_time[event_partitions.sort_by_number(events[user][by_time])])
    pair = rows[user].astype(np.int64) * (int(rows[item].max(initial=0)) + 1) + rows[item]
    is_first = np.zeros(len(rows), dtype=np.bool_)
    # `unique` returns the first index of each pair, which is the earliest: the rows are sorted by time.
    is_first[np.unique(pair, return_index=True)[1]] = True
    return rows.compress(is_first)


def tables(database: Any) -> Iterator["pa.Table"]:
    """Rows of the user sequence view, the model input in serving, one per user; some users at a time, to bound memory."""
    users, items = event_partitions.names(database, schema.USER_ID), event_partitions.names(database, schema.ITEM_ID)
    for interactions in first_interactions(database):
        yield recent(interactions, users, items)


def recent(interactions: Rows, users: Any, items: Any) -> "pa.Table":
    """Recent items of each user (at most MAX_HISTORY), oldest first, with event types and time gaps in seconds; one row per user.

    `users` and `items` are the ids by number. A row's known time is the latest of all its user's events, older ones included: the events
    known by then give the same row again.
    """
    user, time = interactions[event_partitions.NUMBERS[schema.USER_ID]], interactions["time"]
    item = interactions[event_partitions.NUMBERS[schema.ITEM_ID]]
    starts = np.flatnonzero(np.diff(user, prepend=-1))
    ends = np.append(starts[1:], len(user))
    recent_starts = np.maximum(starts, ends - schema.MAX_HISTORY)
    gaps = np.diff(time, prepend=time[:1]) / SECOND_US
    gaps[starts] = 0
    lengths = ends - recent_starts
    kept = np.repeat(recent_starts - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths) + np.arange(lengths.sum())
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    type_indices = pa.array(interactions["type"][kept].astype(np.int8))
    types = pa.DictionaryArray.from_arrays(type_indices, pa.array(event_partitions.TYPES)).cast(pa.string())
    columns = {
        schema.USER_ID: users.take(pa.array(user[starts])),
        schema.RECENT_ITEMS: pa.ListArray.from_arrays(offsets, items.take(pa.array(item[kept]))),
        schema.RECENT_TYPES: pa.ListArray.from_arrays(offsets, types),
        schema.RECENT_GAPS_S: pa.ListArray.from_arrays(offsets, pa.array(gaps[kept].astype(np.float32))),
        schema.FEATURE_TIME: pa.array(time[ends - 1]).cast(STAMP),
        schema.KNOWN_TIME: pa.array(np.maximum.reduceat(interactions["known"], starts)).cast(STAMP),
    }
    return pa.table(columns, schema=ROWS)
