"""Histories with their pace: an item and the seconds since the one before it in one number.

A model that looks at time is asked with these in place of items. Who looks at items alone takes `items_of` either; plain items stay as
they are.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

ITEM_BITS, ITEM_BYTES = 32, 4
ITEM, LONGEST_S = (1 << ITEM_BITS) - 1, (1 << 31) - 1
MICROSECONDS = 1e6

Seconds = NDArray[np.int64]


def between(time_us: NDArray[np.int64]) -> Seconds:
    """The seconds since the item before, 0 for the first, as a store holds them: rounded to float32, then cut off."""
    return whole(np.diff(time_us, prepend=time_us[:1]) / MICROSECONDS)


def whole(gaps_s: NDArray[Any]) -> Seconds:
    """What a store holds, as whole seconds."""
    return gaps_s.astype(np.float32).astype(np.int64)


def dated(items: NDArray[np.integer[Any]], gaps_s: Seconds) -> Seconds:
    """Items with the seconds since the one before each, of which no more than LONGEST_S are told."""
    return items.astype(np.int64) | np.clip(gaps_s, 0, LONGEST_S) << ITEM_BITS


def items_of(history: Any) -> Any:
    """Of an array of numpy or torch."""
    return history & ITEM if history.dtype.itemsize > ITEM_BYTES else history


def gaps_of(history: Any) -> Any:
    """In seconds, 0 where items are plain."""
    return history >> ITEM_BITS if history.dtype.itemsize > ITEM_BYTES else history * 0
