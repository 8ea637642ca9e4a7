"""Negative items, a whole batch in one draw."""

import torch
from torch import Tensor

from lodestar.models.counts import Sequences

POPULARITY_POWER = 0.75  # between uniform (0) and as popular as taken (1): Mikolov et al. 2013


def drawing_rates(sequences: Sequences, num_items: int) -> Tensor:
    """The share of draws each item gets, float32 [items], above 0 for all."""
    taken = torch.zeros(num_items, dtype=torch.float64)
    for sequence in sequences:
        taken += torch.bincount(torch.from_numpy(sequence).long(), minlength=num_items)
    weight = (taken + 1) ** POPULARITY_POWER
    return (weight / weight.sum()).float()


def draw(rates_N: Tensor, count: int, chance: torch.Generator) -> Tensor:
    """`count` items with replacement, int64."""
    edges = rates_N.double().cumsum(0)
    places = torch.rand(count, generator=chance, dtype=torch.float64) * edges[-1]
    return torch.searchsorted(edges, places).clamp_max(len(rates_N) - 1)
