"""Negative sampling: uniform or by popularity, for a whole batch in one draw."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lodestar.config import TrainConfig
from lodestar.data.split.ragged_array import from_lists
from lodestar.models.closed_form.counts import Sequences
from lodestar.progress import log_event
from lodestar.schema.arrays import Float, Int64
from lodestar.training.optimisation.losses import bce, bpr

POPULARITY_POWER = 0.75  # between uniform (0) and proportional to popularity (1): Mikolov et al. 2013
PER_POSITION_LOSSES = {"bce": bce, "bpr": bpr}  # one negative per position; other losses share `train.num_negatives`
# Weight of a refused item in each loss by the number of shared negatives: as much as the target has there.
NEGATIVE_SHARES: dict[str, Callable[[int], float]] = {
    "bce": lambda _: 0.5,
    "bpr": lambda _: 1.0,
    "sampled_softmax": lambda _: 1.0,
    "gbce": lambda count: 1 / (1 + count),
}


def sampling_probabilities(train: TrainConfig, sequences: Sequences, num_items: int) -> Float[Tensor, "{num_items}"]:
    """Sampling probability of each item, float32 [items]: by popularity for sampled_softmax, which corrects for it, else uniform."""
    return popularity_probabilities(sequences, num_items) if train.loss == "sampled_softmax" else torch.full((num_items,), 1 / num_items)


def popularity_probabilities(sequences: Sequences, num_items: int) -> Float[Tensor, "{num_items}"]:
    """Sampling probabilities proportional to (interactions + 1) ** 0.75, float32 [items] (Mikolov et al. 2013)."""
    counts = torch.from_numpy(np.bincount(from_lists(sequences).flat(), minlength=num_items))
    weight = (counts.double() + 1) ** POPULARITY_POWER
    return (weight / weight.sum()).float()


class Negatives:
    """Sampler of a batch's negatives; depends on the seed only, so that all of `size` workers sample the same ones.

    gBCE shares at most one negative for each item but the target, its full calibration; logged as `capped` where `num_negatives` is more.
    """

    def __init__(self, rates_N: Float[Tensor, " items"], train: TrainConfig, size: int) -> None:
        self.rates, self.train, self.size = rates_N, train, size
        self.num_shared = min(train.num_negatives, max(1, len(rates_N) - 1)) if train.loss == "gbce" else train.num_negatives
        if self.num_shared < train.num_negatives:
            log_event("capped", num_negatives=self.num_shared, asked=train.num_negatives, items=len(rates_N))

    def sample_batch(self, rows: int, width: int, seed: int) -> Int64[Tensor, " negatives"]:
        """Sample negatives of a batch with `rows` windows of `width` positions, int64 [K].

        K is 0 for the full softmax, at least one for each position of all workers for bce and bpr, else `num_shared`.
        """
        train = self.train
        if train.loss == "softmax":
            return torch.zeros(0, dtype=torch.int64)
        max_positions = rows * (width + 1)  # an upper bound of a worker's targets, for every family
        count = max_positions * self.size if train.loss in PER_POSITION_LOSSES else self.num_shared
        return sample(self.rates, count, torch.Generator().manual_seed(seed + train.seed))


def sample(rates_N: Float[Tensor, " items"], count: int, rng: torch.Generator) -> Int64[Tensor, "{count}"]:
    """Sample `count` items with replacement by these probabilities, int64 [count]."""
    edges = rates_N.double().cumsum(0)
    points = torch.rand(count, generator=rng, dtype=torch.float64) * edges[-1]
    return torch.searchsorted(edges, points).clamp_max(len(rates_N) - 1)
