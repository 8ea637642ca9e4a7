"""Each user's items in the order in which they were taken, a repeated one at its first time: what models learn from and are asked with."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from lodestar import schema
from lodestar.features import taken
from lodestar.features.taken import Rows

STAMP = pa.timestamp("us", tz="UTC")
MICROSECONDS = 1e6
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


def firsts(database: Any) -> Iterator[Rows]:
    """Events, all of some users at a time, by user, then time, then the order of the log; of each item the first."""
    yield from map(first_of_each, taken.chunks(database, schema.USER_ID))


def first_of_each(events: Rows) -> Rows:
    """Of each user's events, in the order of the log, the first on each item, by user and time."""
    user, item = taken.NUMBERS[schema.USER_ID], taken.NUMBERS[schema.ITEM_ID]
    rows = events[np.lexsort((events["time"], events[user]))]
    pair = rows[user].astype(np.int64) * (int(rows[item].max(initial=0)) + 1) + rows[item]
    # `unique` names the first place of each pair, which is the earliest: the rows are in the order of time.
    return rows[np.sort(np.unique(pair, return_index=True)[1])]


def tables(database: Any) -> Iterator["pa.Table"]:
    """The view's rows, one per user: what a model is asked with. Some users at a time, for nothing takes more memory than lists."""
    users, items = taken.names(database, schema.USER_ID), taken.names(database, schema.ITEM_ID)
    for rows in firsts(database):
        yield recent(rows, users, items)


def recent(rows: Rows, users: Any, items: Any) -> "pa.Table":
    """The last items of each user, oldest first, with their types and the seconds since the item before; one row per user.

    `users` and `items` are the names of the numbers. A row is known when all that it was made from was, what is too long ago included:
    from the events that were known by then, the same row is made again.
    """
    user, time = rows[taken.NUMBERS[schema.USER_ID]], rows["time"]
    starts = np.flatnonzero(np.diff(user, prepend=-1))
    ends = np.append(starts[1:], len(user))
    begins = np.maximum(starts, ends - schema.MAX_HISTORY)
    gaps = np.diff(time, prepend=time[:1]) / MICROSECONDS
    gaps[starts] = 0
    lengths = ends - begins
    kept = np.repeat(begins - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths) + np.arange(lengths.sum())
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    types = pa.DictionaryArray.from_arrays(pa.array(rows["type"][kept].astype(np.int8)), pa.array(taken.TYPES)).cast(pa.string())
    columns = {
        schema.USER_ID: users.take(pa.array(user[starts])),
        schema.RECENT_ITEMS: pa.ListArray.from_arrays(offsets, items.take(pa.array(rows[taken.NUMBERS[schema.ITEM_ID]][kept]))),
        schema.RECENT_TYPES: pa.ListArray.from_arrays(offsets, types),
        schema.RECENT_GAPS_S: pa.ListArray.from_arrays(offsets, pa.array(gaps[kept].astype(np.float32))),
        schema.FEATURE_TIME: pa.array(time[ends - 1]).cast(STAMP),
        schema.KNOWN_TIME: pa.array(np.maximum.reduceat(rows["known"], starts)).cast(STAMP),
    }
    return pa.table(columns, schema=ROWS)
