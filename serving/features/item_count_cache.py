"""A cache of item counts for one second: counts change on the hour or with a push, and many requests have the same candidates."""

import time

import numpy as np
from numpy.typing import NDArray

from lodestar.schema.ranker_inputs import ITEM_COUNTS
from lodestar.schema.time_units import NEVER
from serving.features.packed_reader import Numbers

FRESH_S = 1.0

Rows = NDArray[np.intp]  # of the item embedding table


class ItemCountCache:
    """Counts of all items of a catalogue, by row of the item embedding table."""

    def __init__(self, num_items: int) -> None:
        self._counts = Numbers(np.full((num_items, len(ITEM_COUNTS)), np.nan), np.full(num_items, NEVER))
        self._read_s = np.full(num_items, -np.inf)

    def stale(self, rows: Rows) -> Rows:
        """The rows whose counts are older than FRESH_S, sorted and unique."""
        return np.unique(rows[self._read_s[rows] < time.monotonic() - FRESH_S])

    def keep(self, rows: Rows, counts: Numbers) -> None:
        """Store the counts of rows, read just now; `counts` has one row for each of `rows`."""
        self._counts.values[rows], self._counts.known_us[rows], self._read_s[rows] = *counts, time.monotonic()

    def of(self, rows: Rows) -> Numbers:
        """The cached counts of rows; NaN, known NEVER, for rows that were never read."""
        return Numbers(self._counts.values[rows], self._counts.known_us[rows])
