"""Histories cut into windows and packed by a token budget, so that little of a batch is padding.

Every place of a window is trained to predict the next one. Cuts move each epoch: no item is always first in its window.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lodestar.models.counts import Sequences

LENGTH_JITTER = 20  # places: windows of nearly one length meet other partners each epoch


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Padded on the left: history int64 [B, T] and its mask, target int64 [B, T]; `num_targets` counts the places whose mask is true."""

    history: Tensor
    mask: Tensor
    target: Tensor

    @property
    def num_targets(self) -> int:
        return int(self.mask.sum())

    def renumbered(self, named: Tensor) -> Self:
        """The same with items as places in `named`, which is sorted and holds all of them."""
        return type(self)(history=torch.searchsorted(named, self.history), mask=self.mask, target=torch.searchsorted(named, self.target))

    def part(self, rank: int, size: int) -> Self:
        """Every `size`-th row: what one of several workers takes."""
        rows = slice(rank, None, size)
        return type(self)(history=self.history[rows], mask=self.mask[rows], target=self.target[rows])


def batches(sequences: Sequences, max_length: int, batch_tokens: int, chance: np.random.Generator) -> list[Batch]:
    """One epoch in a random order; a batch has at most `batch_tokens` places with padding, or one window."""
    windows = [window for sequence in sequences for window in _windows(sequence, max_length, chance)]
    near = np.array([len(window) for window in windows]) + chance.uniform(0, LENGTH_JITTER, len(windows))
    packs = list(_packs([windows[index] for index in np.argsort(near)], batch_tokens))
    return [_batch(packs[index]) for index in chance.permutation(len(packs))]


def padded(sequences: Sequences) -> tuple[Tensor, Tensor]:
    """Item indices int64 [B, T] with zeros on the left, and the mask of what is real; at least one place."""
    width = max(1, *(len(sequence) for sequence in sequences)) if sequences else 1
    items = np.zeros((len(sequences), width), dtype=np.int64)
    mask = np.zeros((len(sequences), width), dtype=bool)
    for row, sequence in enumerate(sequences):
        items[row, width - len(sequence) :] = sequence
        mask[row, width - len(sequence) :] = True
    return torch.from_numpy(items), torch.from_numpy(mask)


def _windows(sequence: NDArray[np.int32], max_length: int, chance: np.random.Generator) -> Iterator[NDArray[np.int32]]:
    """Neighbours share one item, so that each but the first of the sequence is a target once."""
    last_target = len(sequence) - 1
    first_cut = int(chance.integers(1, max_length + 1)) if last_target > max_length else last_target
    cuts = [0, *range(first_cut, last_target, max_length), last_target]
    yield from (sequence[start : end + 1] for start, end in pairwise(cuts) if end > start)


def _packs(windows: Sequences, batch_tokens: int) -> Iterator[Sequences]:
    pack: Sequences = []
    widest = 0
    for window in windows:
        widest = max(widest, len(window) - 1)
        if pack and widest * (len(pack) + 1) > batch_tokens:
            yield pack
            pack, widest = [], len(window) - 1
        pack.append(window)
    if pack:
        yield pack


def _batch(windows: Sequences) -> Batch:
    history, mask = padded([window[:-1] for window in windows])
    target, _ = padded([window[1:] for window in windows])
    return Batch(history=history, mask=mask, target=target)
