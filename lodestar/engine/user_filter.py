"""User filter at request time: which rows of the item table are not recommended to a user now, by the rules of feedback.

What the feature build knew comes as item numbers of the bundle's own feature generation, and is complete. What was pushed since comes as
the ids of the user's recent history, which is added.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lodestar.schema.arrays import Int64, Longs, UInt
from lodestar.schema.feedback import Feedback
from lodestar.schema.time_units import SECOND_US

Unsigned = NDArray[np.uint32]
NO_ITEMS: Unsigned = np.zeros(0, dtype="<u4")
NO_TIMES: Longs = np.zeros(0, dtype="<i8")


class Pushed(NamedTuple):
    """What a row of the user sequence view that is newer than the filter says: items, their event types and times, and refused items.

    Items are ids, oldest first; `times_us` are UTC µs.
    """

    items: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    times_us: tuple[int, ...] = ()
    refused: tuple[str, ...] = ()


class UserFilter(NamedTuple):
    """Item numbers that are not recommended to a user: `forever`, and `resting` ones until the times `until_us` (UTC µs).

    A named tuple, as every request makes one.
    """

    forever: UInt[Unsigned, " forever"] = NO_ITEMS
    resting: UInt[Unsigned, " resting"] = NO_ITEMS
    until_us: Int64[Longs, " resting"] = NO_TIMES
    pushed: Pushed = Pushed()

    def rows(self, rules: Feedback, row_of: Mapping[str, int], now_us: int) -> Int64[Longs, " excluded"]:
        """Rows of the item table that are not recommended at a time (UTC µs), in no order; `row_of` are rows by item id."""
        found: list[NDArray[np.integer]] = [self.forever]
        if len(self.resting):
            found.append(self.resting[self.until_us > now_us])
        if self.pushed.items or self.pushed.refused:
            ids = [*self.pushed.refused, *self._pushed_seen(rules, now_us)]
            found.append(np.array([row_of[item] for item in ids if item in row_of], dtype=np.int64))
        return np.concatenate(found).astype(np.int64)

    def _pushed_seen(self, rules: Feedback, now_us: int) -> list[str]:
        """Ids of pushed items that were seen, and may not come again yet."""
        pushed, gap_us = self.pushed, int(rules.repeat_gap_s * SECOND_US)
        if rules.consumption == "once":
            return [item for item, kind in zip(pushed.items, pushed.types, strict=True) if kind in rules.seen]
        return [
            item
            for item, kind, time_us in zip(pushed.items, pushed.types, pushed.times_us, strict=True)
            if kind in rules.seen and now_us - time_us < gap_us
        ]


NO_FILTER = UserFilter()
