"""Sequences of item indices as sparse counts: the one step that all counting models share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lodestar.data.histories import packed

Sequences = Sequence[NDArray[np.int32]]
Floats = NDArray[np.float32]
Counts = Any  # scipy's compressed rows, which carry no types


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is learnt from: each user's items, oldest first, and moments (UTC µs), of which theirs are the first ones."""

    sequences: Sequences
    moments: Sequence[NDArray[np.int64]]
    num_items: int


def user_item(sequences: Sequences, num_items: int) -> Counts:
    """How often each user took each item, [users, items]."""
    taken = packed(sequences)
    users = np.repeat(np.arange(len(taken)), taken.lengths)
    return _counted(users, taken.flat(), (len(taken), num_items))


def taken_once(sequences: Sequences, num_items: int) -> Counts:
    """1 where a user took an item, however often, [users, items]."""
    taken = user_item(sequences, num_items)
    taken.data[:] = 1
    return taken


def followers(sequences: Sequences, num_items: int, window: int) -> Counts:
    """How often the column's item came at most `window` places after the row's in one sequence, [items, items]."""
    taken = packed(sequences)
    items, users = taken.flat(), np.repeat(np.arange(len(taken)), taken.lengths)
    total = _counted(items[:0], items[:0], (num_items, num_items))
    for distance in range(1, min(window, len(items) - 1) + 1):
        together = users[distance:] == users[:-distance]
        total = total + _counted(items[:-distance][together], items[distance:][together], (num_items, num_items))
    return total


def _counted(rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int]) -> Counts:
    return sparse.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)
