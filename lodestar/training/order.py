"""How sure the order of a history is: what was taken in one sitting might as well have come in another order.

Items stray from their places anew each epoch. On a line along which noise is the same everywhere, items of one moment lie close together,
and a break between sittings is too long to be crossed.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lodestar.data.gaps import Seconds, between, dated
from lodestar.data.histories import Histories, packed
from lodestar.data.interactions import Interactions
from lodestar.models.counts import Sequences

Steps = NDArray[np.uint8]

BREAK_US = 1_800_000_000
PLACES = (0.3, 1.3, 20.0)  # between two items: with no time between them, with some, and with a break
SAME_MOMENT, STEP, BREAK = range(len(PLACES))
AT_ONCE = 1 << 18  # items whose noise is held on a CPU


def steps(interactions: Interactions) -> Histories[np.uint8]:
    """Of each user's items, oldest first, how each lies from the one before."""
    times = interactions.time
    found = np.zeros(len(times), dtype=np.uint8)
    for start in range(1, len(times), AT_ONCE):
        gap_us = np.diff(times[start - 1 : start + AT_ONCE])
        found[start : start + AT_ONCE] = np.where(gap_us <= 0, SAME_MOMENT, np.where(gap_us > BREAK_US, BREAK, STEP))
    return interactions.by_user(found)


def paces(interactions: Interactions) -> Histories[np.int64]:
    """Each user's seconds between items, oldest first; 0 for the first."""
    found = interactions.by_user(between(interactions.time))
    found.values[found.start] = 0
    return found


class Order:
    """Sequences one after another, on one device, each of which may be only the beginning of what its `steps` hold.

    In each epoch items stray by noise of that `spread`, a standard deviation in places. With `gaps` they come with their pace, which stays.
    """

    def __init__(
        self,
        sequences: Sequences,
        steps: Sequence[Steps],
        spread: float,
        device: torch.device,
        gaps: Sequence[Seconds] | None = None,
    ) -> None:
        taken = packed(sequences)
        self.spread, self.lengths = spread, taken.lengths
        self.items = torch.from_numpy(taken.flat().astype(np.int32)).to(device)
        self._steps = torch.from_numpy(packed(steps).first(taken.lengths).flat().copy()).to(device) if spread else None
        if gaps is not None:
            pace = dated(np.zeros(len(self.items), np.int64), packed(gaps).first(taken.lengths).flat())
        self._pace = torch.from_numpy(pace).to(device) if gaps is not None else None

    def jittered(self, chance: np.random.Generator) -> Tensor:
        """The items of all sequences, int32, int64 with their pace; each strays within its sequence."""
        items = self.items if self._steps is None else self._moved(self._steps, chance)
        return items if self._pace is None else items | self._pace

    def _moved(self, steps: Tensor, chance: np.random.Generator) -> Tensor:
        moved, lengths = torch.empty_like(self.items), torch.from_numpy(self.lengths).to(self.items.device)
        places = torch.tensor(PLACES, dtype=torch.float64, device=moved.device)
        for first, last, start, end in self._parts():
            noise = torch.from_numpy(chance.normal(scale=self.spread, size=end - start)).to(moved.device)
            strayed = places[steps[start:end].int()].cumsum(0) + noise
            sequence = torch.repeat_interleave(lengths[first:last])
            by_place = torch.argsort(strayed, stable=True)
            moved[start:end] = self.items[start:end][by_place[torch.argsort(sequence[by_place], stable=True)]]
        return moved

    def _parts(self) -> Iterator[tuple[int, int, int, int]]:
        """Sequences from and to, and items from and to: all at once on a GPU, else as many as are held at a time, or one."""
        ends = np.cumsum(self.lengths)
        first, start = 0, 0
        while first < len(ends):
            last = len(ends) if self.items.device.type == "cuda" else max(first + 1, int(np.searchsorted(ends, start + AT_ONCE, "right")))
            yield first, last, start, int(ends[last - 1])
            first, start = last, int(ends[last - 1])
