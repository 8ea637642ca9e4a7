"""Order jitter: data augmentation that perturbs the order of items within a session anew in each epoch.

Within a session, item order is uncertain. Items get positions on a line (close together at equal timestamps, far apart across a session
break), Gaussian noise is added, and they are sorted again; breaks are 20 positions long, so that noise of up to 4 hardly ever crosses them.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lodestar.bundle.timed_items import Seconds, pack, seconds_between
from lodestar.data.split.interactions import Interactions
from lodestar.data.split.ragged_array import RaggedArray, from_lists
from lodestar.models.closed_form.counts import Sequences, Weights, flat_weights
from lodestar.schema.arrays import Int64, UInt8
from lodestar.training.loop.batches import NO_ITEM, TrainingItems

GapClasses = NDArray[np.uint8]

BREAK_US = 1_800_000_000  # a gap of more than 30 minutes is a session break
GAP_DISTANCES = (0.3, 1.3, 20.0)  # distance of adjacent items on the line: equal timestamps, same session, session break
SAME_TIME, STEP, BREAK = range(len(GAP_DISTANCES))
CHUNK_ITEMS = 1 << 18  # items whose noise is held on a CPU


def gap_classes(interactions: Interactions) -> RaggedArray[np.uint8]:
    """Class of the time gap before each of a user's items (same time, step, session break), oldest first."""
    times = interactions.time
    found = np.zeros(len(times), dtype=np.uint8)
    for start in range(1, len(times), CHUNK_ITEMS):
        gap_us = np.diff(times[start - 1 : start + CHUNK_ITEMS])
        found[start : start + CHUNK_ITEMS] = np.where(gap_us <= 0, SAME_TIME, np.where(gap_us > BREAK_US, BREAK, STEP))
    return interactions.by_user(found)


def time_gaps(interactions: Interactions) -> RaggedArray[np.int64]:
    """Seconds since the previous item for each of a user's items, oldest first; 0 for the first."""
    found = interactions.by_user(seconds_between(interactions.time))
    found.values[found.start] = 0
    return found


class OrderJitter:
    """Concatenated sequences on one device, whose item order is perturbed with noise of standard deviation `spread` (in positions).

    A sequence may be a prefix of its `gap_classes`. With `gaps` (seconds), items are packed with their time gaps, which stay in place.
    `weights`, if any, stay with their items; of each user's `refused` items, if any, one is drawn anew in each epoch.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # what is known of each item
        self,
        sequences: Sequences,
        gap_classes: Sequence[UInt8[GapClasses, "_"]],
        spread: float,
        device: torch.device,
        gaps: Sequence[Int64[Seconds, "_"]] | None = None,
        weights: Weights = (),
        refused: Sequences = (),
    ) -> None:
        ragged = from_lists(sequences)
        self.spread, self.lengths = spread, ragged.lengths
        self.items = torch.from_numpy(ragged.flat().astype(np.int32)).to(device)
        self._gap_classes = torch.from_numpy(from_lists(gap_classes).head(ragged.lengths).flat().copy()).to(device) if spread else None
        if gaps is not None:
            packed_gaps = pack(np.zeros(len(self.items), np.int64), from_lists(gaps).head(ragged.lengths).flat())
        self._packed_gaps = torch.from_numpy(packed_gaps).to(device) if gaps is not None else None
        flat = flat_weights(sequences, weights)
        self._weights = None if flat is None else torch.from_numpy(flat.copy()).to(device)
        self._refused = from_lists(refused) if len(refused) and from_lists(refused).lengths.any() else None

    def jittered(self, rng: np.random.Generator) -> TrainingItems:
        """All sequences in a newly perturbed order within each; items are int32, or int64 if packed with time gaps."""
        items, weights = (self.items, self._weights) if self._gap_classes is None else self._perturb(self._gap_classes, rng)
        return TrainingItems(
            items=items if self._packed_gaps is None else items | self._packed_gaps,
            weight=weights,
            refused=None if self._refused is None else self._draw_refused(self._refused, rng),
        )

    def _perturb(self, classes: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor | None]:
        perturbed, lengths = torch.empty_like(self.items), torch.from_numpy(self.lengths).to(self.items.device)
        weights = None if self._weights is None else torch.empty_like(self._weights)
        distances = torch.tensor(GAP_DISTANCES, dtype=torch.float64, device=perturbed.device)
        for first, last, start, end in self._chunks():
            noise = torch.from_numpy(rng.normal(scale=self.spread, size=end - start)).to(perturbed.device)
            noisy_position = distances[classes[start:end].int()].cumsum(0) + noise
            sequence = torch.repeat_interleave(lengths[first:last])
            by_position = torch.argsort(noisy_position, stable=True)
            order = by_position[torch.argsort(sequence[by_position], stable=True)]
            perturbed[start:end] = self.items[start:end][order]
            if weights is not None and self._weights is not None:
                weights[start:end] = self._weights[start:end][order]
        return perturbed, weights

    def _draw_refused(self, refused: RaggedArray[np.int32], rng: np.random.Generator) -> Tensor:
        """One refused item of each user who has any, at all positions of the user; else NO_ITEM."""
        has_any = refused.lengths > 0
        drawn = np.full(len(refused), NO_ITEM, dtype=np.int64)
        drawn[has_any] = refused.values[refused.start[has_any] + rng.integers(0, refused.lengths[has_any])]
        return torch.from_numpy(np.repeat(drawn, self.lengths)).to(self.items.device)

    def _chunks(self) -> Iterator[tuple[int, int, int, int]]:
        """Chunks as ranges of sequences and of items: everything at once on a GPU, else at most CHUNK_ITEMS items or one sequence."""
        ends = np.cumsum(self.lengths)
        first, start = 0, 0
        while first < len(ends):
            last = (
                len(ends) if self.items.device.type == "cuda" else max(first + 1, int(np.searchsorted(ends, start + CHUNK_ITEMS, "right")))
            )
            yield first, last, start, int(ends[last - 1])
            first, start = last, int(ends[last - 1])
