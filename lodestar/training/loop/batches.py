"""Batching: cut histories into windows, and bucket windows of similar length into batches of a token budget, to reduce padding.

Every position of a window predicts the next item. Cuts are random in each epoch, so no item is always first in its window.
Letters in shapes: W windows, B windows of one batch, T positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from lodestar.models.closed_form.counts import Sequences
from lodestar.schema.arrays import Bool, Float, Int, Int64, Longs

NO_ITEM = -1
LENGTH_JITTER = 20  # positions of noise in sorting by length, so that batches mix differently in each epoch


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A left-padded batch: history int64 [B, T], its mask bool [B, T], and targets int64 [B, T].

    `weight` are the weights of the history's items and the last target, None where all are 1. `refused` is an item that each row's user
    refused, NO_ITEM for a user without one; None where nobody refused any.
    """

    history: Int[Tensor, "batch time"]
    mask: Bool[Tensor, "batch time"]
    target: Int[Tensor, "batch time"]
    weight: Float[Tensor, "batch time+1"] | None = None
    refused: Int[Tensor, " batch"] | None = None

    def items(self) -> Int[Tensor, " items"]:
        """All item indices of the batch, sorted."""
        refused = [] if self.refused is None else [self.refused[self.refused != NO_ITEM]]
        found: Tensor = torch.unique(torch.cat([self.history[self.mask], self.target[self.mask], *refused]))
        return found

    def remap_items(self, named: Int[Tensor, " named"]) -> Self:
        """The batch with item indices replaced by their indices in `named`, which is sorted and contains all of them."""
        refused = self.refused
        if refused is not None:
            refused = torch.where(refused == NO_ITEM, NO_ITEM, torch.searchsorted(named, refused))
        history, target = torch.searchsorted(named, self.history), torch.searchsorted(named, self.target)
        return replace(self, history=history, target=target, refused=refused)

    def part(self, rank: int, size: int) -> Self:
        """The share of worker `rank` of `size`: every `size`-th row."""
        rows = slice(rank, None, size)
        return replace(
            self,
            history=self.history[rows],
            mask=self.mask[rows],
            target=self.target[rows],
            weight=None if self.weight is None else self.weight[rows],
            refused=None if self.refused is None else self.refused[rows],
        )


@dataclass(frozen=True, kw_only=True)
class TrainingItems:
    """Concatenated sequences of one epoch on one device: item indices, and what the rules of feedback say about them.

    `weight` and `refused` (an item that the user of each position refused, NO_ITEM for none) are None where they say nothing.
    """

    items: Int[Tensor, " items"]
    weight: Float[Tensor, " items"] | None = None
    refused: Int[Tensor, " items"] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def clone(self) -> Self:
        """A copy in memory of its own."""
        weight, refused = (None if part is None else part.clone() for part in (self.weight, self.refused))
        return type(self)(items=self.items.clone(), weight=weight, refused=refused)

    def copy_(self, other: Self) -> None:
        """Copy another epoch's items into these tensors."""
        self.items.copy_(other.items)
        for mine, theirs in ((self.weight, other.weight), (self.refused, other.refused)):
            if mine is not None and theirs is not None:
                mine.copy_(theirs)


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows over the concatenated sequences: index of the first item and number of targets, int64 [W] each.

    A window has one item more than targets.
    """

    begin: Int64[Longs, " windows"]
    count: Int64[Longs, " windows"]

    def __len__(self) -> int:
        return len(self.begin)

    def select(self, chosen: Int64[Longs, " chosen"]) -> Self:
        """The windows at these indices."""
        return type(self)(begin=self.begin[chosen], count=self.count[chosen])

    def filled(self, rows: int) -> Self:
        """Padded to `rows` windows by empty ones at the end."""
        missing = (0, rows - len(self))
        return type(self)(begin=np.pad(self.begin, missing), count=np.pad(self.count, missing))


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """The windows of one step, and its width: positions per window with padding."""

    windows: Windows
    width: int


def cut_windows(lengths: Int64[Longs, " sequences"], max_length: int, rng: np.random.Generator) -> Windows:
    """Cut sequences of these lengths into windows of at most `max_length` targets, at random offsets.

    Adjacent windows overlap by one item, so that each item but a sequence's first is a target exactly once.
    """
    last_target = lengths - 1
    is_long = last_target > max_length
    first_cut = last_target.clip(0)
    first_cut[is_long] = rng.integers(1, max_length + 1, size=int(is_long.sum()))
    parts = (first_cut > 0) + -(-(last_target.clip(0) - first_cut) // max_length)
    sequence = np.repeat(np.arange(len(lengths)), parts)
    nth = np.arange(len(sequence)) - np.repeat(np.cumsum(parts) - parts, parts)
    start = np.where(nth == 0, 0, first_cut[sequence] + (nth - 1) * max_length)
    end = np.minimum(first_cut[sequence] + nth * max_length, last_target[sequence])
    return Windows(begin=(np.cumsum(lengths) - lengths)[sequence] + start, count=end - start)


def bucket_batches(windows: Windows, batch_tokens: int, rng: np.random.Generator) -> list[BatchPlan]:
    """Bucket windows by length into batches of at most `batch_tokens` positions with padding (or one window), in random order.

    A batch is as wide as its longest window.
    """
    by_length = np.argsort(windows.count + 1 + rng.uniform(0, LENGTH_JITTER, len(windows)))
    plans = [
        BatchPlan(windows=windows.select(by_length[first:last]), width=width)
        for first, last, width in _runs(windows.count[by_length].tolist(), batch_tokens)
    ]
    return [plans[index] for index in rng.permutation(len(plans))]


def fixed_shape_batches(windows: Windows, batch_tokens: int, widths: Sequence[int], rng: np.random.Generator) -> list[BatchPlan]:
    """Bucket windows into batches of few shapes, for CUDA graphs: one of the ascending `widths`, and `batch_tokens` // width rows.

    Windows that do not fill a batch of one width go into the next; the last batches are filled by empty windows.
    """
    plans, leftover = [], np.zeros(0, dtype=np.int64)
    order = rng.permutation(len(windows))
    widest = np.searchsorted(widths, windows.count[order])
    for index, width in enumerate(widths):
        rows = max(1, batch_tokens // width)
        bucket = np.concatenate([leftover, order[widest == index]])
        num_full = len(bucket) if width == widths[-1] else len(bucket) - len(bucket) % rows
        plans += [BatchPlan(windows=windows.select(bucket[at : at + rows]).filled(rows), width=width) for at in range(0, num_full, rows)]
        leftover = bucket[num_full:]
    return [plans[index] for index in rng.permutation(len(plans))]


def gather_batch(sequences: TrainingItems, begin_B: Int[Tensor, " batch"], count_B: Int[Tensor, " batch"], width: int) -> Batch:
    """Gather the batch of windows with these begins and counts [B] from the concatenated sequences, on their device."""
    items, weight, refused = sequences.items, None, None
    offset_BT = torch.arange(width, device=items.device) - (width - count_B)[:, None]
    mask_BT = offset_BT >= 0
    source_BT = begin_B[:, None] + offset_BT.clamp_min(0)
    history_BT, target_BT = items[source_BT].long(), items[(source_BT + 1).clamp_max(len(items) - 1)].long()
    if sequences.weight is not None:
        last_B1 = (begin_B + count_B)[:, None].clamp_max(len(items) - 1)
        weight = sequences.weight[torch.cat([source_BT, last_B1], dim=1)]
    if sequences.refused is not None:
        refused = sequences.refused[begin_B]
    return Batch(history=history_BT * mask_BT, mask=mask_BT, target=target_BT * mask_BT, weight=weight, refused=refused)


def left_pad(sequences: Sequences) -> tuple[Int[Tensor, "batch time"], Bool[Tensor, "batch time"]]:
    """Left-pad sequences with zeros: item indices int64 [B, T] and the mask bool [B, T] of items; T is at least 1."""
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    width = int(lengths.max(initial=1))
    mask = np.arange(width) >= width - lengths[:, None]
    items = np.zeros(mask.shape, dtype=np.int64)
    items[mask] = np.concatenate([*sequences, np.zeros(0, dtype=np.int64)])
    return torch.from_numpy(items), torch.from_numpy(mask)


def _runs(counts: list[int], batch_tokens: int) -> Iterator[tuple[int, int, int]]:
    """Index ranges (first, last exclusive) and width of batches of windows with these counts, in this order."""
    first, widest = 0, 0
    for index, count in enumerate(counts):
        widened = max(widest, count)
        if index > first and widened * (index - first + 1) > batch_tokens:
            yield first, index, widest
            first, widened = index, count
        widest = widened
    if counts:
        yield first, len(counts), widest
