"""SASRec: a causal Transformer over the items a user took; a score is the product of the user's vector and an item's.

Kang & McAuley, "Self-attentive sequential recommendation", ICDM 2018, arXiv:1808.09781. Different here: positions are learned per distance
between two items and not per slot, so padding on the left changes nothing and the keys of past items stay valid when a new one arrives.
Letters in shapes: B histories, T places (the newest last), D width, H heads, N items.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from lodestar.config import ModelConfig

UNREACHABLE = -1e9


class SASRec(nn.Module):
    """The item table and the encoder; `num_items` rows, all catalogue items."""

    def __init__(self, num_items: int, config: ModelConfig) -> None:
        super().__init__()
        self.items = nn.Embedding(num_items, config.dim)
        nn.init.normal_(self.items.weight, std=config.dim**-0.5)
        self.encoder = Encoder(config)

    def forward(self, history_BT: Int[Tensor, "batch time"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch time dim"]:
        """The user's vector after every place; what stands where the mask is false is arbitrary."""
        vectors: Tensor = self.encoder(self.items(history_BT), mask_BT)
        return vectors

    def user(self, history_BT: Int[Tensor, "batch time"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch dim"]:
        """The user's vector after the whole history."""
        return self.encoder.newest(self.items(history_BT), mask_BT)


class Encoder(nn.Module):
    """Item vectors in, user vectors out: all that is exported, since the item table is kept outside the graph."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.scale = config.dim**0.5
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch time dim"]:
        hidden_BTD, reach_BTT = self._begin(history_BTD, mask_BT)
        for block in self.blocks:
            hidden_BTD = block(hidden_BTD, hidden_BTD, reach_BTT)
        vectors: Tensor = self.norm(hidden_BTD)
        return vectors

    def newest(self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch dim"]:
        """The last place only: the last block asks for nothing else."""
        hidden_BTD, reach_BTT = self._begin(history_BTD, mask_BT)
        *first, last = self.blocks
        for block in first:
            hidden_BTD = block(hidden_BTD, hidden_BTD, reach_BTT)
        vector: Tensor = self.norm(last(hidden_BTD[:, -1:], hidden_BTD, reach_BTT[:, -1:]))
        return vector[:, 0]

    def _begin(self, history_BTD: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        place = torch.arange(history_BTD.shape[1], device=history_BTD.device)
        is_past_TT = place[:, None] >= place[None, :]
        reach_BTT = torch.where(is_past_TT & mask_BT[:, None, :], 0.0, UNREACHABLE)
        return self.dropout(history_BTD * self.scale) * mask_BT[:, :, None], reach_BTT


class Block(nn.Module):
    """Pre-norm attention with a learned bias per head and distance, then a feed-forward layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, self.heads = config.dim, config.heads
        self.attention_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.distance_bias = nn.Parameter(torch.zeros(config.heads, config.max_length))
        self.output = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), Dropout(config.dropout), nn.Linear(4 * width, width)
        )
        self.dropout = Dropout(config.dropout)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.5 * layer.in_features**-0.5)
                nn.init.zeros_(layer.bias)

    def forward(self, asking_BSD: Tensor, hidden_BTD: Tensor, reach_BST: Tensor) -> Tensor:
        """The last S of T places ask; all T answer."""
        mixed_BSD = asking_BSD + self.dropout(self._attend(asking_BSD, hidden_BTD, reach_BST))
        result: Tensor = mixed_BSD + self.dropout(self.feed_forward(mixed_BSD))
        return result

    def _attend(self, asking_BSD: Tensor, hidden_BTD: Tensor, reach_BST: Tensor) -> Tensor:
        query_BHSE = self._split(self.query(self.attention_norm(asking_BSD)))
        keys_BTD, values_BTD = self.key_value(self.attention_norm(hidden_BTD)).chunk(2, dim=-1)
        bias_BHST = self._bias(asking_BSD.shape[1], hidden_BTD.shape[1]) + reach_BST[:, None]
        logits_BHST = query_BHSE @ self._split(keys_BTD).transpose(2, 3) * query_BHSE.shape[3] ** -0.5 + bias_BHST
        mixed_BHSE = functional.softmax(logits_BHST, dim=-1) @ self._split(values_BTD)
        attended: Tensor = self.output(mixed_BHSE.transpose(1, 2).flatten(2))
        return attended

    def _bias(self, num_asking: int, num_places: int) -> Tensor:
        place = torch.arange(num_places, device=self.distance_bias.device)
        asking = place[num_places - num_asking :]
        distance_ST = (asking[:, None] - place[None, :]).clamp(0, self.distance_bias.shape[1] - 1)
        return self.distance_bias[:, distance_ST]

    def _split(self, vectors_BTD: Tensor) -> Tensor:
        batch, places, width = vectors_BTD.shape
        return vectors_BTD.view(batch, places, self.heads, width // self.heads).transpose(1, 2)


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
