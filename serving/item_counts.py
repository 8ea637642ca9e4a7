"""What is counted of items, kept for a second: counts change on the hour or with a push, and many requests ask for the same items."""

import time

import numpy as np
from numpy.typing import NDArray

from lodestar.schema.pairs import ITEM_COUNTS
from serving.packed import Numbers

FRESH_S = 1.0

Rows = NDArray[np.intp]  # of the item table


class ItemCounts:
    """Of all items of a catalogue, by row."""

    def __init__(self, num_items: int) -> None:
        self._counts = Numbers(np.full((num_items, len(ITEM_COUNTS)), np.nan), np.zeros(num_items, dtype=np.int64))
        self._read_s = np.full(num_items, -np.inf)

    def stale(self, rows: Rows) -> Rows:
        """Those of some rows that are to be read again, each once."""
        return np.unique(rows[self._read_s[rows] < time.monotonic() - FRESH_S])

    def keep(self, rows: Rows, counts: Numbers) -> None:
        self._counts.values[rows], self._counts.known_us[rows], self._read_s[rows] = *counts, time.monotonic()

    def of(self, rows: Rows) -> Numbers:
        """Of some rows."""
        return Numbers(self._counts.values[rows], self._counts.known_us[rows])
