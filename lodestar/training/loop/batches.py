"""Batching: cut histories into windows, and bucket windows of similar length into batches of a token budget, to reduce padding.

Every position of a window predicts the next item. Cuts are random in each epoch, so no item is always first in its window.
Letters in shapes: W windows, B windows of one batch, T positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from lodestar.models.closed_form.counts import Sequences
from lodestar.schema.arrays import Bool, Int, Int64, Longs

LENGTH_JITTER = 20  # positions of noise in sorting by length, so that batches mix differently in each epoch


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A left-padded batch: history int64 [B, T], its mask bool [B, T], and targets int64 [B, T]."""

    history: Int[Tensor, "batch time"]
    mask: Bool[Tensor, "batch time"]
    target: Int[Tensor, "batch time"]

    def remap_items(self, named: Int[Tensor, " named"]) -> Self:
        """The batch with item indices replaced by their indices in `named`, which is sorted and contains all of them."""
        return type(self)(history=torch.searchsorted(named, self.history), mask=self.mask, target=torch.searchsorted(named, self.target))

    def part(self, rank: int, size: int) -> Self:
        """The share of worker `rank` of `size`: every `size`-th row."""
        rows = slice(rank, None, size)
        return type(self)(history=self.history[rows], mask=self.mask[rows], target=self.target[rows])


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


def gather_batch(items: Int[Tensor, " items"], begin_B: Int[Tensor, " batch"], count_B: Int[Tensor, " batch"], width: int) -> Batch:
    """Gather the batch of windows with these begins and counts [B] from the concatenated `items`, on their device."""
    offset_BT = torch.arange(width, device=items.device) - (width - count_B)[:, None]
    mask_BT = offset_BT >= 0
    source_BT = begin_B[:, None] + offset_BT.clamp_min(0)
    history_BT, target_BT = items[source_BT].long(), items[(source_BT + 1).clamp_max(len(items) - 1)].long()
    return Batch(history=history_BT * mask_BT, mask=mask_BT, target=target_BT * mask_BT)


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
