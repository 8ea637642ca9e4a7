"""Attention of places to places: what the Transformers here share.

Positions are learned per distance between two items and not per slot, so padding on the left changes nothing and the keys of past items
stay valid when a new one arrives. Letters in shapes: B histories, S places that ask, T places, D width, H heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lodestar.config import ModelConfig

UNREACHABLE = -1e9


class Block(nn.Module):
    """Pre-norm attention with a learned bias per head and distance, then a feed-forward layer; `distances` is how many are told apart."""

    def __init__(self, config: ModelConfig, distances: int) -> None:
        super().__init__()
        width, self.heads = config.dim, config.heads
        self.attention_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.distance_bias = nn.Parameter(torch.zeros(config.heads, distances))
        self.output = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), Dropout(config.dropout), nn.Linear(4 * width, width)
        )
        self.dropout = Dropout(config.dropout)
        start_small(self)

    def forward(self, asking_BSD: Tensor, hidden_BTD: Tensor, reach_BST: Tensor, ahead: int = 0) -> Tensor:
        """The last S of T places ask; all T answer, also those that lie up to `ahead` places ahead."""
        bias_BHST = by_distance(self.distance_bias, reach_BST.shape[1], reach_BST.shape[2], ahead) + reach_BST[:, None]
        mixed_BSD = asking_BSD + self.dropout(self._attend(asking_BSD, hidden_BTD, bias_BHST))
        result: Tensor = mixed_BSD + self.dropout(self.feed_forward(mixed_BSD))
        return result

    def _attend(self, asking_BSD: Tensor, hidden_BTD: Tensor, bias_BHST: Tensor) -> Tensor:
        query_BHSE = split_heads(self.query(self.attention_norm(asking_BSD)), self.heads)
        keys_BTD, values_BTD = self.key_value(self.attention_norm(hidden_BTD)).chunk(2, dim=-1)
        logits_BHST = query_BHSE @ split_heads(keys_BTD, self.heads).transpose(2, 3) * query_BHSE.shape[3] ** -0.5 + bias_BHST
        mixed_BHSE = functional.softmax(logits_BHST, dim=-1) @ split_heads(values_BTD, self.heads)
        attended: Tensor = self.output(mixed_BHSE.transpose(1, 2).flatten(2))
        return attended


class Dropout(nn.Module):
    """Dropout that draws eight masks from one random number: on a CPU drawing is what dropout costs. The rate is rounded to 1/256."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.dropped = round(rate * 256)

    def forward(self, hidden: Tensor) -> Tensor:
        if not self.training or self.dropped == 0:
            return hidden
        words = torch.empty((hidden.numel() + 7) // 8, dtype=torch.int64, device=hidden.device).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: hidden.numel()].view(hidden.shape) >= self.dropped
        return hidden * (kept * (256 / (256 - self.dropped)))


def start_small(module: nn.Module) -> None:
    """Linear layers at half the usual scale, without bias: a residual layer begins as nearly nothing."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.5 * layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)


def split_heads(vectors_BTD: Tensor, heads: int) -> Tensor:
    """[B, H, T, D / H]."""
    batch, places, width = vectors_BTD.shape
    return vectors_BTD.view(batch, places, heads, width // heads).transpose(1, 2)


def causal(mask_BT: Tensor) -> Tensor:
    """What is added where a place must not look, [B, T, T]."""
    place = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    return torch.where((place[:, None] >= place[None, :]) & mask_BT[:, None, :], 0.0, UNREACHABLE)


def by_distance(bias_HN: Tensor, asking: int, places: int, ahead: int = 0) -> Tensor:
    """The bias of each of the last `asking` of `places` for each place, [H, S, T]; column `ahead` is that of a place for itself.

    What is further than the last column has the last column's; what is further ahead than the first has none. Rows of one matrix that is
    read with a shorter row than it was written with stray by a place each: no gather, whose gradient would add to few numbers from many.
    """
    heads, length = bias_HN.shape[0], asking + places
    further_HN = torch.cat([bias_HN, bias_HN[:, -1:].expand(-1, places)], dim=1)
    line_HL = functional.pad(further_HN[:, : ahead + places].flip(1), (0, asking))[:, :length]
    rows_HA = line_HL[:, None].expand(heads, asking, length).reshape(heads, asking * length)
    return rows_HA[:, : asking * (length - 1)].reshape(heads, asking, length - 1)[:, :, asking - 1 : length - 1]
