"""Sequences of item indices as sparse counts: the one step that all counting models share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lodestar.config import Device
from lodestar.data.histories import packed

Sequences = Sequence[NDArray[np.int32]]
Floats = NDArray[np.float32]
Counts = Any  # scipy's compressed rows, which carry no types


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is learnt from: each user's items, oldest first, and moments (UTC µs), of which theirs are the first ones.

    `device` is where matrices are solved.
    """

    sequences: Sequences
    moments: Sequence[NDArray[np.int64]]
    num_items: int
    device: Device = "cpu"


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


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Who came at most `window` places after whom in one sequence, as `followers` counts it, for some items at a time."""

    items: NDArray[Any]
    users: NDArray[Any]
    window: int

    @classmethod
    def of(cls, sequences: Sequences, window: int) -> Self:
        taken = packed(sequences)
        users = np.repeat(np.arange(len(taken), dtype=np.int32), taken.lengths)
        return cls(items=taken.flat(), users=users, window=window)

    def degrees(self, num_items: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """In how many pairs each item comes first, and in how many after another."""
        leads, follows = np.zeros(num_items, dtype=np.int64), np.zeros(num_items, dtype=np.int64)
        for first, then in self._at_distances():
            leads += np.bincount(first, minlength=num_items)
            follows += np.bincount(then, minlength=num_items)
        return leads, follows

    def rows(self, start: int, stop: int, num_items: int, *, ahead: bool) -> Counts:
        """How often the column's item came after the row's (`ahead`) or before it, for the items from `start` to `stop`."""
        chosen: list[tuple[NDArray[Any], NDArray[Any]]] = []
        for first, then in self._at_distances():
            row, column = (first, then) if ahead else (then, first)
            is_chosen = (row >= start) & (row < stop)
            chosen.append((row[is_chosen] - start, column[is_chosen]))
        rows, columns = (np.concatenate([pair[side] for pair in chosen]) for side in range(2))
        return _counted(rows, columns, (stop - start, num_items))

    def _at_distances(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        for distance in range(1, min(self.window, len(self.items) - 1) + 1):
            together = self.users[distance:] == self.users[:-distance]
            yield self.items[:-distance][together], self.items[distance:][together]


def _counted(rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int]) -> Counts:
    return sparse.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)
