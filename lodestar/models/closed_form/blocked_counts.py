"""Item-item counts in blocks of rows, truncated to the top neighbours of each item: for catalogues whose pairs exceed memory.

The result holds at most `NUM_NEIGHBOURS` entries per item, and a block a bounded number of pairs: 200,000 users with 50 interactions each
over 100,000 items fit in one gigabyte.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lodestar.models.closed_form.counts import Counts
from lodestar.schema.arrays import Int64, Longs

NUM_NEIGHBOURS = 512
PAIRS_AT_ONCE = 1 << 23
MAX_PAIRS = 1 << 25  # up to this many pairs, counts are one untruncated matrix of 0.3 to 1 GB
TRUNCATION_NOTE = f"truncated to the top {NUM_NEIGHBOURS} neighbours of each item"


def compute_by_ranges(pairs_N: Int64[Longs, " items"], rows: Callable[[int, int], Counts]) -> Counts:
    """Stack row blocks of an item-item matrix, truncated to the top neighbours, float32 [items, items].

    `rows(first, last)` computes the rows of items first to last (exclusive); `pairs_N` is an upper bound of the entries of each row.
    """
    blocks = [top_k_per_row(rows(first, last), NUM_NEIGHBOURS).astype(np.float32) for first, last in _row_ranges(pairs_N)]
    return sparse.vstack(blocks, format="csr")


def top_k_per_row(points: Counts, most: int) -> Counts:
    """The largest `most` entries of each row of a sparse matrix; ties are broken by column order."""
    points.sort_indices()
    is_kept, starts = np.ones(len(points.data), dtype=np.bool_), points.indptr
    for row in np.flatnonzero(np.diff(starts) > most).tolist():
        row_slice = slice(starts[row], starts[row + 1])
        values = points.data[row_slice]
        threshold = np.partition(values, len(values) - most)[len(values) - most]
        is_above, is_equal = values > threshold, values == threshold
        is_kept[row_slice] = is_above | (is_equal & (np.cumsum(is_equal) <= most - np.count_nonzero(is_above)))
    ends = np.append(0, np.cumsum(is_kept, dtype=np.int64))[starts]
    return sparse.csr_matrix((points.data[is_kept], points.indices[is_kept], ends), shape=points.shape)


def _row_ranges(pairs_N: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Row ranges (first, last exclusive) with at most PAIRS_AT_ONCE pairs, or one row."""
    ends, first = np.cumsum(pairs_N), 0
    while first < len(ends):
        pairs_before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, pairs_before + PAIRS_AT_ONCE, side="right")))
        yield first, last
        first = last
