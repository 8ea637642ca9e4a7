"""Ragged array: lists of unequal length as slices of one flat array, which may be memory-mapped.

There is no object per list: memory beyond the flat array is the start and end offsets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from lodestar.schema.arrays import Int64, Longs, Shaped

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True, kw_only=True, eq=False)
class RaggedArray(Sequence[NDArray[Number]], Generic[Number]):
    """Sequence of arrays: part p is values[start[p]:end[p]]; `flat` requires parts in ascending order that do not overlap."""

    values: Shaped[NDArray[Number], " values"]
    start: Int64[Longs, " parts"]
    end: Int64[Longs, " parts"]

    def __len__(self) -> int:
        return len(self.start)

    @overload
    def __getitem__(self, index: int) -> NDArray[Number]: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> NDArray[Number] | Self:
        if isinstance(index, slice):
            return self.select(index)
        return self.values[self.start[index] : self.end[index]]

    def __iter__(self) -> Iterator[NDArray[Number]]:
        for start, end in zip(self.start.tolist(), self.end.tolist(), strict=True):
            yield self.values[start:end]

    @property
    def lengths(self) -> Int64[Longs, " parts"]:
        """Length of each part, [parts]."""
        return self.end - self.start

    def select(self, which: slice | Shaped[NDArray[Any], " chosen"]) -> Self:
        """The parts of a slice, or of an array of indices or a boolean mask; shares the values."""
        return replace(self, start=self.start[which], end=self.end[which])

    def head(self, lengths: Int64[Longs, " parts"]) -> Self:
        """The first `lengths[p]` values of each part p; shares the values."""
        return replace(self, end=self.start + lengths)

    def skip(self, lengths: Int64[Longs, " parts"]) -> Self:
        """Each part p without its first `lengths[p]` values; shares the values."""
        return replace(self, start=self.start + lengths)

    def flat(self) -> Shaped[NDArray[Number], " values"]:
        """All parts concatenated, [sum of lengths]; a view of the values where the parts are contiguous, else a copy."""
        if len(self) == 0:
            return self.values[:0]
        begins = np.append(0, self.end[:-1])
        if (begins[1:] == self.start[1:]).all():
            return self.values[self.start[0] : self.end[-1]]
        between_and_part = np.stack([self.start - begins, self.lengths], axis=1).ravel()
        is_part = np.repeat(np.tile([False, True], len(self)), between_and_part)
        flattened: NDArray[Number] = self.values[: len(is_part)][is_part]
        return flattened


def from_lists(parts: Sequence[Shaped[NDArray[Number], "_"]]) -> RaggedArray[Number]:
    """Arrays of unequal length as a ragged array over one new array; a ragged array is returned as it is."""
    if isinstance(parts, RaggedArray):
        return parts
    ends = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
    values = np.concatenate(parts) if len(parts) else np.zeros(0, dtype=np.int32)
    return RaggedArray(values=values, start=ends[:-1], end=ends[1:])  # pyrefly: ignore[bad-return]
