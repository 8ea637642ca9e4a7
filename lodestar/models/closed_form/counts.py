"""User-item and item-item count matrices (sparse) from sequences of item indices: the input of all closed-form models."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lodestar.config import Device
from lodestar.data.split.ragged_array import from_lists
from lodestar.schema.arrays import Int64, Integer, Ints, Longs

Sequences = Sequence[Integer[Ints, "_"]]  # item indices of each user, oldest first; int64 if packed with time gaps
Counts = Any  # scipy.sparse.csr_matrix, which is not typed


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Training data of a closed-form model: each user's item indices, oldest first, and timestamps (`times_us`, UTC µs).

    A user's timestamps may be more than their items: the first ones belong to them. `device` is where matrices are inverted.
    """

    sequences: Sequences
    times_us: Sequence[Int64[Longs, "_"]]
    num_items: int
    device: Device = "cpu"


def user_item(sequences: Sequences, num_items: int) -> Counts:
    """Interaction counts by user and item, sparse float32 [users, items]."""
    interactions = from_lists(sequences)
    users = np.repeat(np.arange(len(interactions)), interactions.lengths)
    return _count_matrix(users, interactions.flat(), (len(interactions), num_items))


def binary_user_item(sequences: Sequences, num_items: int) -> Counts:
    """Binary interactions by user and item (1 for any number of them), sparse float32 [users, items]."""
    interactions = user_item(sequences, num_items)
    interactions.data[:] = 1
    return interactions


def cooccurrence_counts(sequences: Sequences, num_items: int, window: int) -> Counts:
    """Co-occurrence counts, sparse float32 [items, items]: how often the column's item is 1 to `window` positions after the row's."""
    interactions = from_lists(sequences)
    items, users = interactions.flat(), np.repeat(np.arange(len(interactions)), interactions.lengths)
    total = _count_matrix(items[:0], items[:0], (num_items, num_items))
    for distance in range(1, min(window, len(items) - 1) + 1):
        is_same_user = users[distance:] == users[:-distance]
        total = total + _count_matrix(items[:-distance][is_same_user], items[distance:][is_same_user], (num_items, num_items))
    return total


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs of items within `window` positions of one sequence, for counting co-occurrence in blocks of rows."""

    items: Integer[NDArray[Any], " interactions"]
    users: Integer[NDArray[Any], " interactions"]
    window: int

    @classmethod
    def of(cls, sequences: Sequences, window: int) -> Self:
        """Pairs of these sequences of item indices."""
        interactions = from_lists(sequences)
        users = np.repeat(np.arange(len(interactions), dtype=np.int32), interactions.lengths)
        return cls(items=interactions.flat(), users=users, window=window)

    def degrees(self, num_items: int) -> tuple[Int64[Longs, " items"], Int64[Longs, " items"]]:
        """In how many pairs each item is the earlier one, and in how many the later one, int64 [items] each."""
        leads, follows = np.zeros(num_items, dtype=np.int64), np.zeros(num_items, dtype=np.int64)
        for first, then in self._at_distances():
            leads += np.bincount(first, minlength=num_items)
            follows += np.bincount(then, minlength=num_items)
        return leads, follows

    def rows(self, start: int, stop: int, num_items: int, *, ahead: bool) -> Counts:
        """Rows `start` to `stop` (exclusive) of the co-occurrence counts of later (`ahead`) or earlier items, [stop - start, items]."""
        chosen: list[tuple[NDArray[Any], NDArray[Any]]] = []
        for first, then in self._at_distances():
            row, column = (first, then) if ahead else (then, first)
            is_chosen = (row >= start) & (row < stop)
            chosen.append((row[is_chosen] - start, column[is_chosen]))
        rows, columns = (np.concatenate([pair[side] for pair in chosen]) for side in range(2))
        return _count_matrix(rows, columns, (stop - start, num_items))

    def _at_distances(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        for distance in range(1, min(self.window, len(self.items) - 1) + 1):
            is_same_user = self.users[distance:] == self.users[:-distance]
            yield self.items[:-distance][is_same_user], self.items[distance:][is_same_user]


def _count_matrix(rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int]) -> Counts:
    return sparse.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)
