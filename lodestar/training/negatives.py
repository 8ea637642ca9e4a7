"""Negative items, a whole batch in one draw."""

import numpy as np
import torch
from torch import Tensor

from lodestar.config import TrainConfig
from lodestar.data.histories import packed
from lodestar.models.counts import Sequences
from lodestar.training.losses import bce, bpr

POPULARITY_POWER = 0.75  # between uniform (0) and as popular as taken (1): Mikolov et al. 2013
OWN_NEGATIVES = {"bce": bce, "bpr": bpr}  # each place has a negative of its own; others share `train.num_negatives`


def rates_of(train: TrainConfig, sequences: Sequences, num_items: int) -> Tensor:
    """The share of draws each item gets, float32 [items]: by how often it was taken where the loss corrects for it, else all alike."""
    return drawing_rates(sequences, num_items) if train.loss == "sampled_softmax" else torch.full((num_items,), 1 / num_items)


def drawing_rates(sequences: Sequences, num_items: int) -> Tensor:
    """The share of draws each item gets, float32 [items], above 0 for all."""
    taken = torch.from_numpy(np.bincount(packed(sequences).flat(), minlength=num_items))
    weight = (taken.double() + 1) ** POPULARITY_POWER
    return (weight / weight.sum()).float()


class Negatives:
    """Draws that depend on the seed only, so that all of `size` workers draw the same."""

    def __init__(self, rates_N: Tensor, train: TrainConfig, size: int) -> None:
        self.rates, self.train, self.size = rates_N, train, size

    def of(self, rows: int, width: int, seed: int) -> Tensor:
        """For a batch of that shape, int64: none for the full softmax, those that all places share, or one for each place of a worker."""
        train = self.train
        if train.loss == "softmax":
            return torch.zeros(0, dtype=torch.int64)
        most_places = rows * (width + 1)  # of any worker's part, whatever the family makes of it
        count = most_places * self.size if train.loss in OWN_NEGATIVES else train.num_negatives
        return draw(self.rates, count, torch.Generator().manual_seed(seed + train.seed))


def draw(rates_N: Tensor, count: int, chance: torch.Generator) -> Tensor:
    """`count` items with replacement, int64."""
    edges = rates_N.double().cumsum(0)
    places = torch.rand(count, generator=chance, dtype=torch.float64) * edges[-1]
    return torch.searchsorted(edges, places).clamp_max(len(rates_N) - 1)
