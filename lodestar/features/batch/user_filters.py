"""User filters: the items that are not recommended to each user, all of them, in four bytes an item.

An item is a uint32, its number in the catalogue of the row's feature generation, whose rows are read by that generation's bundle alone.
A user has at most MAX_FILTERED items, 80 kB; of more the refused ones and then the newest are kept, and such users are counted.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lodestar import schema
from lodestar.features.asof.history import STAMP
from lodestar.features.batch.event_partitions import REFUSED
from lodestar.features.batch.sequences import ITEM, USER, UserEvents
from lodestar.schema.arrays import Bool, Flags, Int64, Longs
from lodestar.schema.feedback import Feedback
from lodestar.schema.time_units import SECOND_US

MAX_FILTERED = 20_000
# Where a history filters all that was seen, a row is for users whose history may forget an item before the next build.
MIN_FORGOTTEN = schema.MAX_HISTORY // 2
ROWS = pa.schema(
    {
        schema.USER_ID: pa.string(),
        schema.FILTERED_ITEMS: pa.binary(),
        schema.RESTING_ITEMS: pa.binary(),
        schema.RESTING_UNTIL: pa.binary(),
        schema.FEATURE_TIME: STAMP,
        schema.KNOWN_TIME: STAMP,
    }
)


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """Pairs of user and item with what decided on them: the last time (UTC µs), and whether it is a refusal; sorted by user and item."""

    user: Int64[Longs, " pairs"]
    item: Int64[Longs, " pairs"]
    last_us: Int64[Longs, " pairs"]
    is_refused: Bool[Flags, " pairs"]

    @classmethod
    def of(cls, events: UserEvents) -> Self:
        """The pairs of the interactions that made an item seen, and of what filters beside them."""
        rows = np.concatenate([events.kept[events.seen], events.filters])
        number = rows[USER].astype(np.int64) << 32 | rows[ITEM]
        found, index = np.unique(number, return_inverse=True)
        last_us, is_refused = np.full(len(found), np.iinfo(np.int64).min), np.zeros(len(found), dtype=np.bool_)
        np.maximum.at(last_us, index, rows["time"])
        np.logical_or.at(is_refused, index, rows["type"] == REFUSED)
        return cls(user=found >> 32, item=found & 0xFFFFFFFF, last_us=last_us, is_refused=is_refused)

    def select(self, chosen: Bool[Flags, " pairs"]) -> Self:
        """The pairs where a mask holds."""
        return type(self)(user=self.user[chosen], item=self.item[chosen], last_us=self.last_us[chosen], is_refused=self.is_refused[chosen])

    def newest(self, most: int) -> tuple["_Pairs", Int64[Longs, " cut"]]:
        """At most `most` pairs of each user, refused ones first, then the newest, and the users with more."""
        users, counts = np.unique(self.user, return_counts=True)
        cut = users[counts > most]
        if len(cut) == 0:
            return self, cut
        order = np.lexsort((-self.last_us, ~self.is_refused, self.user))
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.select(place < most), cut


def rows(events: UserEvents, users: Any, rules: Feedback) -> tuple["pa.Table", Bool[Flags, " rows"]]:
    """Rows of the user filter view, one per user who needs one, and whether the items of each were cut.

    `users` are the ids by number. With repeat consumption an item rests from when it was seen last until the gap has passed; those whose
    gap had passed at the user's last event are left out.
    """
    if rules.filters_history and len(events.filters) == 0:
        events = events.of_users_with(MIN_FORGOTTEN + 1)
    pairs, cut = _Pairs.of(events).newest(MAX_FILTERED)
    every, known_us = events.known_us()
    event_us = _last_us(events, every)
    wanted, is_forever = every, np.ones(len(pairs.user), dtype=np.bool_)
    if rules.filters_history:
        lengths = np.bincount(np.searchsorted(every, pairs.user), minlength=len(every))
        wanted = every[(lengths > MIN_FORGOTTEN) | np.isin(every, events.filters[USER])]
    gap_us = int(rules.repeat_gap_s * SECOND_US)
    if rules.consumption == "repeat":
        is_forever = pairs.is_refused
    forever = pairs.select(is_forever)
    resting = pairs.select(~is_forever & (pairs.last_us + gap_us > event_us[np.searchsorted(every, pairs.user)]))
    at = np.searchsorted(every, wanted)
    columns = [
        users.take(pa.array(wanted)),
        _packed(forever, forever.item.astype("<u4"), wanted),
        _packed(resting, resting.item.astype("<u4"), wanted),
        _packed(resting, (resting.last_us + gap_us).astype("<i8"), wanted),
        *(pa.array(times[at]).cast(STAMP) for times in (event_us, known_us)),
    ]
    return pa.Table.from_arrays(columns, schema=ROWS), np.isin(wanted, cut)


def _last_us(events: UserEvents, users: Longs) -> Longs:
    """Time of each user's last event that decides, UTC µs."""
    last = np.full(len(users), np.iinfo(np.int64).min)
    for part in (events.kept, events.filters):
        np.maximum.at(last, np.searchsorted(users, part[USER]), part["time"])
    return last


def _packed(pairs: _Pairs, values: NDArray[Any], users: Longs) -> Any:
    """One value per pair as the bytes of each user's values, a binary array; null for a user without any."""
    is_listed = np.isin(pairs.user, users)
    values = values[is_listed]
    counts = np.bincount(np.searchsorted(users, pairs.user[is_listed]), minlength=len(users))
    ends = np.concatenate([[0], np.cumsum(counts)]) * values.itemsize
    valid = pa.py_buffer(np.packbits(counts > 0, bitorder="little").tobytes())
    return pa.Array.from_buffers(pa.binary(), len(users), [valid, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(values.tobytes())])
