"""User-item and item-item count matrices (sparse) from sequences of item indices: the input of all closed-form models."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lodestar.config import Device
from lodestar.data.split.ragged_array import from_lists
from lodestar.schema.arrays import Float32, Floats, Int64, Integer, Ints, Longs, Num

Sequences = Sequence[Integer[Ints, "_"]]  # item indices of each user, oldest first; int64 if packed with time gaps
Weights = Sequence[Float32[Floats, "_"]]  # of each user's interactions, at least as many as items; empty: all 1
Counts = Any  # scipy.sparse.csr_matrix, which is not typed


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Training data of a closed-form model: each user's item indices, oldest first, and timestamps (`times_us`, UTC µs).

    A user's timestamps, and `weights` if there are any, may be more than their items: the first ones belong to them. `device` is where
    matrices are inverted.
    """

    sequences: Sequences
    times_us: Sequence[Int64[Longs, "_"]]
    num_items: int
    device: Device = "cpu"
    weights: Weights = ()


def user_item(sequences: Sequences, num_items: int, weights: Weights = ()) -> Counts:
    """Interaction counts, or sums of their weights, by user and item, sparse float32 [users, items]."""
    interactions = from_lists(sequences)
    users = np.repeat(np.arange(len(interactions)), interactions.lengths)
    return _count_matrix(users, interactions.flat(), (len(interactions), num_items), flat_weights(sequences, weights))


def binary_user_item(sequences: Sequences, num_items: int, weights: Weights = ()) -> Counts:
    """Binary interactions by user and item (1 for any number of them), or sums of their weights, sparse float32 [users, items]."""
    interactions = user_item(sequences, num_items, weights)
    if len(weights) == 0:
        interactions.data[:] = 1
    return interactions


def flat_weights(sequences: Sequences, weights: Weights) -> Float32[Floats, " interactions"] | None:
    """The weights of all items of the sequences, concatenated; None where all are 1."""
    return from_lists(weights).head(from_lists(sequences).lengths).flat() if len(weights) else None


def cooccurrence_counts(sequences: Sequences, num_items: int, window: int, weights: Weights = ()) -> Counts:
    """Co-occurrence counts, sparse float32 [items, items]: how often the column's item is 1 to `window` positions after the row's.

    A pair counts by the geometric mean of its weights.
    """
    interactions = from_lists(sequences)
    items, users = interactions.flat(), np.repeat(np.arange(len(interactions)), interactions.lengths)
    roots = _roots(sequences, weights)
    total = _count_matrix(items[:0], items[:0], (num_items, num_items))
    for distance in range(1, min(window, len(items) - 1) + 1):
        same = users[distance:] == users[:-distance]
        values = None if roots is None else roots[:-distance][same] * roots[distance:][same]
        total = total + _count_matrix(items[:-distance][same], items[distance:][same], (num_items, num_items), values)
    return total


def _roots(sequences: Sequences, weights: Weights) -> Floats | None:
    flat = flat_weights(sequences, weights)
    return None if flat is None else np.sqrt(flat)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs of items within `window` positions of one sequence, for counting co-occurrence in blocks of rows."""

    items: Integer[NDArray[Any], " interactions"]
    users: Integer[NDArray[Any], " interactions"]
    window: int
    roots: Float32[Floats, " interactions"] | None = None  # of the weights

    @classmethod
    def of(cls, sequences: Sequences, window: int, weights: Weights = ()) -> Self:
        """Pairs of these sequences of item indices."""
        interactions = from_lists(sequences)
        users = np.repeat(np.arange(len(interactions), dtype=np.int32), interactions.lengths)
        return cls(items=interactions.flat(), users=users, window=window, roots=_roots(sequences, weights))

    def numbers(self, num_items: int) -> Int64[Longs, " items"]:
        """In how many pairs each item is, int64 [items]."""
        return sum(
            (np.bincount(side, minlength=num_items) for first, then, _ in self._at_distances() for side in (first, then)),
            start=np.zeros(num_items, dtype=np.int64),
        )

    def degrees(self, num_items: int) -> tuple[Num[NDArray[Any], " items"], Num[NDArray[Any], " items"]]:
        """How much the pairs add up to in which each item is the earlier one, and the later one, [items] each; int64 without weights."""
        leads, follows = (np.zeros(num_items, dtype=np.int64 if self.roots is None else np.float64) for _ in range(2))
        for first, then, values in self._at_distances():
            leads += np.bincount(first, values, minlength=num_items)
            follows += np.bincount(then, values, minlength=num_items)
        return leads, follows

    def rows(self, start: int, stop: int, num_items: int, *, ahead: bool) -> Counts:
        """Rows `start` to `stop` (exclusive) of the co-occurrence counts of later (`ahead`) or earlier items, [stop - start, items]."""
        chosen: list[tuple[NDArray[Any], NDArray[Any]]] = []
        weights: list[Floats] = []
        for first, then, values in self._at_distances():
            row, column = (first, then) if ahead else (then, first)
            is_chosen = (row >= start) & (row < stop)
            chosen.append((row[is_chosen] - start, column[is_chosen]))
            weights += [] if values is None else [values[is_chosen]]
        rows, columns = (np.concatenate([pair[side] for pair in chosen]) for side in range(2))
        return _count_matrix(rows, columns, (stop - start, num_items), np.concatenate(weights) if weights else None)

    def _at_distances(self) -> Iterator[tuple[NDArray[Any], NDArray[Any], Floats | None]]:
        for distance in range(1, min(self.window, len(self.items) - 1) + 1):
            same = self.users[distance:] == self.users[:-distance]
            values = None if self.roots is None else self.roots[:-distance][same] * self.roots[distance:][same]
            yield self.items[:-distance][same], self.items[distance:][same], values


def _count_matrix(rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int], values: Floats | None = None) -> Counts:
    return sparse.csr_matrix((np.ones(len(rows), dtype=np.float32) if values is None else values, (rows, columns)), shape=shape)
