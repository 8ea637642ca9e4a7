"""Histories with time gaps: item index and seconds since the previous item, packed into one int64.

Time-aware models take packed histories. `unpack_items` returns the item indices of packed or plain histories.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar.schema.arrays import Int64, Integer, Longs, Num
from lodestar.schema.time_units import SECOND_US

ITEM_BITS, ITEM_BYTES = 32, 4
ITEM, LONGEST_S = (1 << ITEM_BITS) - 1, (1 << 31) - 1

Seconds = NDArray[np.int64]


def seconds_between(time_us: Int64[Longs, " items"]) -> Int64[Seconds, " items"]:
    """Seconds since the previous item, 0 for the first, from ascending times in µs; rounded as the online store does."""
    return as_stored_seconds(np.diff(time_us, prepend=time_us[:1]) / SECOND_US)


def as_stored_seconds(gaps_s: Num[NDArray[Any], " items"]) -> Int64[Seconds, " items"]:
    """Gaps in whole seconds as read from the online store: rounded to float32, then truncated. Avoids training-serving skew."""
    return gaps_s.astype(np.float32).astype(np.int64)


def pack(items: Integer[NDArray[np.integer[Any]], " items"], gaps_s: Int64[Seconds, " items"]) -> Int64[Longs, " items"]:
    """Pack item indices and gaps, clipped to LONGEST_S, into int64: the gap in the high 32 bits."""
    return items.astype(np.int64) | np.clip(gaps_s, 0, LONGEST_S) << ITEM_BITS


def unpack_items(history: Any) -> Any:
    """Item indices of a packed or plain history, a numpy array or a torch tensor."""
    return history & ITEM if history.dtype.itemsize > ITEM_BYTES else history


def unpack_gaps(history: Any) -> Any:
    """Gaps in seconds of a packed history (numpy or torch); 0 for a plain one."""
    return history >> ITEM_BITS if history.dtype.itemsize > ITEM_BYTES else history * 0
