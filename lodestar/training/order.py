"""How sure the order of a history is: what was taken in one sitting might as well have come in another order.

Items stray from their places anew each epoch. On a line along which noise is the same everywhere, items of one moment lie close together,
and a break between sittings is too long to be crossed.
"""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lodestar.data.gaps import Seconds, between, dated
from lodestar.data.interactions import Interactions
from lodestar.models.counts import Sequences

Places = NDArray[np.float64]

BREAK_US = 1_800_000_000
SAME_MOMENT, STEP, BREAK = 0.3, 1.3, 20.0  # places between two items: with no time between them, with some, and with a break


def along(interactions: Interactions) -> list[Places]:
    """Each user's items on that line, oldest first."""
    gap_us = np.diff(interactions.time, prepend=interactions.time[:1])
    apart = np.where(gap_us <= 0, SAME_MOMENT, np.where(gap_us > BREAK_US, BREAK, STEP))
    return np.split(np.cumsum(apart), interactions.bounds()[1:-1]) if interactions.users else []


def paces(interactions: Interactions) -> list[Seconds]:
    """Each user's seconds between items, oldest first."""
    return [between(interactions.time[start:end]) for start, end in pairwise(interactions.bounds())]


class Order:
    """Sequences one after another, on one device, each of which may be only the beginning of what its `places` hold.

    With `gaps` items come with their pace, which stays where it is when they stray.
    """

    def __init__(self, sequences: Sequences, places: list[Places], device: torch.device, gaps: list[Seconds] | None = None) -> None:
        lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
        self.items = torch.from_numpy(np.concatenate([*sequences, np.zeros(0, np.int32)]).astype(np.int64)).to(device)
        begun = np.concatenate([*(place[:length] for place, length in zip(places, lengths, strict=True)), np.zeros(0)])
        self._place = torch.from_numpy(begun).to(device)
        self._pace = self._paced(gaps, lengths).to(device) if gaps is not None else None
        self._sequence = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)).to(device)

    def jittered(self, spread: float, chance: np.random.Generator) -> Tensor:
        """The items of all sequences, int64, each sequence's moved by noise of that standard deviation."""
        items = self._moved(spread, chance) if spread else self.items
        return items if self._pace is None else items | self._pace

    @staticmethod
    def _paced(gaps: list[Seconds], lengths: NDArray[np.int64]) -> Tensor:
        """What is added to items, which lie below it."""
        begun = [gap[:length] for gap, length in zip(gaps, lengths, strict=True)]
        return torch.from_numpy(dated(np.zeros(int(lengths.sum()), np.int64), np.concatenate([*begun, np.zeros(0, np.int64)])))

    def _moved(self, spread: float, chance: np.random.Generator) -> Tensor:
        noise = torch.from_numpy(chance.normal(scale=spread, size=len(self.items))).to(self.items.device)
        by_place = torch.argsort(self._place + noise, stable=True)
        return self.items[by_place[torch.argsort(self._sequence[by_place], stable=True)]]
