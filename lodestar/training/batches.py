"""Histories cut into windows and packed by a token budget, so that little of a batch is padding.

Every place of a window is trained to predict the next one. Cuts move each epoch: no item is always first in its window.
Letters in shapes: W windows, B windows of one batch, T places.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lodestar.models.counts import Sequences

LENGTH_JITTER = 20  # places: windows of nearly one length meet other partners each epoch

Numbers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Padded on the left: history int64 [B, T] and its mask, target int64 [B, T]."""

    history: Tensor
    mask: Tensor
    target: Tensor

    def renumbered(self, named: Tensor) -> Self:
        """The same with items as places in `named`, which is sorted and holds all of them."""
        return type(self)(history=torch.searchsorted(named, self.history), mask=self.mask, target=torch.searchsorted(named, self.target))

    def part(self, rank: int, size: int) -> Self:
        """Every `size`-th row: what one of several workers takes."""
        rows = slice(rank, None, size)
        return type(self)(history=self.history[rows], mask=self.mask[rows], target=self.target[rows])


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Parts of sequences that lie one after another: where each begins, and how many items it foretells, [W] each.

    A window is one item longer than that.
    """

    begin: Numbers
    count: Numbers

    def __len__(self) -> int:
        return len(self.begin)

    def taken(self, chosen: Numbers) -> Self:
        return type(self)(begin=self.begin[chosen], count=self.count[chosen])

    def filled(self, rows: int) -> Self:
        """With empty windows at the end."""
        missing = (0, rows - len(self))
        return type(self)(begin=np.pad(self.begin, missing), count=np.pad(self.count, missing))


@dataclass(frozen=True, kw_only=True)
class Pack:
    """The windows of one step, and how many places each takes with its padding."""

    windows: Windows
    width: int


def cut(lengths: Numbers, max_length: int, chance: np.random.Generator) -> Windows:
    """Windows over sequences of these lengths; neighbours share one item, so that each item but a sequence's first is a target once."""
    last_target = lengths - 1
    is_long = last_target > max_length
    first_cut = last_target.clip(0)
    first_cut[is_long] = chance.integers(1, max_length + 1, size=int(is_long.sum()))
    parts = (first_cut > 0) + -(-(last_target.clip(0) - first_cut) // max_length)
    sequence = np.repeat(np.arange(len(lengths)), parts)
    nth = np.arange(len(sequence)) - np.repeat(np.cumsum(parts) - parts, parts)
    start = np.where(nth == 0, 0, first_cut[sequence] + (nth - 1) * max_length)
    end = np.minimum(first_cut[sequence] + nth * max_length, last_target[sequence])
    return Windows(begin=(np.cumsum(lengths) - lengths)[sequence] + start, count=end - start)


def packs(windows: Windows, batch_tokens: int, chance: np.random.Generator) -> list[Pack]:
    """In a random order, each as wide as its longest window; a pack has at most `batch_tokens` places with padding, or one window."""
    near = np.argsort(windows.count + 1 + chance.uniform(0, LENGTH_JITTER, len(windows)))
    made = [
        Pack(windows=windows.taken(near[first:last]), width=width)
        for first, last, width in _runs(windows.count[near].tolist(), batch_tokens)
    ]
    return [made[index] for index in chance.permutation(len(made))]


def shaped_packs(windows: Windows, batch_tokens: int, widths: Sequence[int], chance: np.random.Generator) -> list[Pack]:
    """The same in few shapes: each has one of the rising `widths` and as many rows as the budget allows, the last of them empty.

    What does not fill a pack of one width goes into the next.
    """
    made, left = [], np.zeros(0, dtype=np.int64)
    order = chance.permutation(len(windows))
    widest = np.searchsorted(widths, windows.count[order])
    for place, width in enumerate(widths):
        rows = max(1, batch_tokens // width)
        waiting = np.concatenate([left, order[widest == place]])
        whole = len(waiting) if width == widths[-1] else len(waiting) - len(waiting) % rows
        made += [Pack(windows=windows.taken(waiting[at : at + rows]).filled(rows), width=width) for at in range(0, whole, rows)]
        left = waiting[whole:]
    return [made[index] for index in chance.permutation(len(made))]


def gathered(items: Tensor, begin_B: Tensor, count_B: Tensor, width: int) -> Batch:
    """The batch of these windows over `items`, all sequences one after another; on their device."""
    place_BT = torch.arange(width, device=items.device) - (width - count_B)[:, None]
    mask_BT = place_BT >= 0
    source_BT = begin_B[:, None] + place_BT.clamp_min(0)
    history_BT, target_BT = items[source_BT].long(), items[(source_BT + 1).clamp_max(len(items) - 1)].long()
    return Batch(history=history_BT * mask_BT, mask=mask_BT, target=target_BT * mask_BT)


def padded(sequences: Sequences) -> tuple[Tensor, Tensor]:
    """Item indices int64 [B, T] with zeros on the left, and the mask of what is real; at least one place."""
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    width = int(lengths.max(initial=1))
    mask = np.arange(width) >= width - lengths[:, None]
    items = np.zeros(mask.shape, dtype=np.int64)
    items[mask] = np.concatenate([*sequences, np.zeros(0, dtype=np.int64)])
    return torch.from_numpy(items), torch.from_numpy(mask)


def _runs(counts: list[int], batch_tokens: int) -> Iterator[tuple[int, int, int]]:
    """From, to and width of each pack of windows in this order."""
    first, widest = 0, 0
    for place, count in enumerate(counts):
        widened = max(widest, count)
        if place > first and widened * (place - first + 1) > batch_tokens:
            yield first, place, widest
            first, widened = place, count
        widest = widened
    if counts:
        yield first, len(counts), widest
