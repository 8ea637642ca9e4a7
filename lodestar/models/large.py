"""Counts of pairs of items where there are too many for one matrix: by ranges of items, of which the strongest pairs are kept.

What is kept takes `STRONGEST` numbers of each item, and a range at a time a bounded number of pairs: 200,000 users with 50 interactions
each among 100,000 items are counted within a gigabyte.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lodestar.models.counts import Counts

STRONGEST = 512
PAIRS_AT_ONCE = 1 << 23
MOST_PAIRS = 1 << 25  # up to so many are counted in one piece, and all of them kept: 0.3 to 1 GB
KEPT = f"the {STRONGEST} strongest neighbours of each item"


def by_ranges(pairs_N: NDArray[np.int64], rows: Callable[[int, int], Counts]) -> Counts:
    """All rows [items, items] of which `rows` gives those from one item to another; `pairs_N` says how many each has at most."""
    parts = [strongest_of_rows(rows(first, last), STRONGEST).astype(np.float32) for first, last in _ranges(pairs_N)]
    return sparse.vstack(parts, format="csr")


def strongest_of_rows(points: Counts, most: int) -> Counts:
    """The largest `most` of each row of a sparse matrix, equal ones in the order of columns."""
    points.sort_indices()
    is_kept, starts = np.ones(len(points.data), dtype=np.bool_), points.indptr
    for row in np.flatnonzero(np.diff(starts) > most).tolist():
        own = slice(starts[row], starts[row + 1])
        values = points.data[own]
        least = np.partition(values, len(values) - most)[len(values) - most]
        is_above, is_equal = values > least, values == least
        is_kept[own] = is_above | (is_equal & (np.cumsum(is_equal) <= most - np.count_nonzero(is_above)))
    ends = np.append(0, np.cumsum(is_kept, dtype=np.int64))[starts]
    return sparse.csr_matrix((points.data[is_kept], points.indices[is_kept], ends), shape=points.shape)


def _ranges(pairs_N: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Items from and to, with no more than PAIRS_AT_ONCE pairs, or one item."""
    ends, first = np.cumsum(pairs_N), 0
    while first < len(ends):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + PAIRS_AT_ONCE, side="right")))
        yield first, last
        first = last
