"""Each user's part of one long array, without an object for each: of a hundred million interactions they take what their bounds take.

The array may lie in a file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)
Places = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Histories(Sequence[NDArray[Number]], Generic[Number]):
    """Part p is values[start[p]:end[p]]; parts lie in order and do not overlap where `flat` is asked for."""

    values: NDArray[Number]
    start: Places
    end: Places

    def __len__(self) -> int:
        return len(self.start)

    @overload
    def __getitem__(self, place: int) -> NDArray[Number]: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> NDArray[Number] | Self:
        if isinstance(place, slice):
            return self.chosen(place)
        return self.values[self.start[place] : self.end[place]]

    def __iter__(self) -> Iterator[NDArray[Number]]:
        for start, end in zip(self.start.tolist(), self.end.tolist(), strict=True):
            yield self.values[start:end]

    @property
    def lengths(self) -> Places:
        return self.end - self.start

    def chosen(self, which: slice | NDArray[Any]) -> Self:
        """Some of the parts."""
        return replace(self, start=self.start[which], end=self.end[which])

    def first(self, lengths: Places) -> Self:
        """The beginning of each part."""
        return replace(self, end=self.start + lengths)

    def without_first(self, lengths: Places) -> Self:
        """What comes after that."""
        return replace(self, start=self.start + lengths)

    def flat(self) -> NDArray[Number]:
        """All parts, one after another; the array itself where nothing lies between them."""
        if len(self) == 0:
            return self.values[:0]
        begins = np.append(0, self.end[:-1])
        if (begins[1:] == self.start[1:]).all():
            return self.values[self.start[0] : self.end[-1]]
        between_and_part = np.stack([self.start - begins, self.lengths], axis=1).ravel()
        is_part = np.repeat(np.tile([False, True], len(self)), between_and_part)
        found: NDArray[Number] = self.values[: len(is_part)][is_part]
        return found


def packed(parts: Sequence[NDArray[Number]]) -> Histories[Number]:
    """The same parts over one array."""
    if isinstance(parts, Histories):
        return parts
    ends = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
    values = np.concatenate(parts) if len(parts) else np.zeros(0, dtype=np.int32)
    return Histories(values=values, start=ends[:-1], end=ends[1:])
