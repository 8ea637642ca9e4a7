"""HSTU: attention that adds up instead of averaging, gated, in one layer without a feed-forward part.

Zhai et al., "Actions speak louder than words: trillion-parameter sequential transducers", ICML 2024, arXiv:2402.17152. How strongly a user
likes something is told by how often it comes, which a softmax would divide away.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lodestar.config import ModelConfig
from lodestar.models.attention import Dropout, by_distance, causal, split_heads, start_small
from lodestar.models.encoder import Encoder


class HSTU(Encoder):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        hidden_BTD, reach_BTT = self.begin(history_BTD, mask_BT), causal(mask_BT)
        can_see_BTT = (reach_BTT == 0) * 1.0
        for layer in self.layers:
            hidden_BTD = layer(hidden_BTD, can_see_BTT)
        vectors: Tensor = self.norm(hidden_BTD)
        return vectors


class Layer(nn.Module):
    """One projection makes gate, value, query and key; what attention adds up is normed, gated and projected back."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, self.heads = config.dim, config.heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.parts, self.output = nn.Linear(width, 4 * width), nn.Linear(width, width)
        self.distance_bias = nn.Parameter(torch.zeros(config.heads, config.max_length))
        self.dropout = Dropout(config.dropout)
        self.share = 1 / config.max_length
        start_small(self)

    def forward(self, hidden_BTD: Tensor, can_see_BTT: Tensor) -> Tensor:
        gate_BTD, *parts = functional.silu(self.parts(self.before(hidden_BTD))).chunk(4, dim=-1)
        value_BHTE, query_BHTE, key_BHTE = (split_heads(part, self.heads) for part in parts)
        bias_HTT = by_distance(self.distance_bias, can_see_BTT.shape[1], can_see_BTT.shape[2])
        likes_BHTT = functional.silu(query_BHTE @ key_BHTE.transpose(2, 3) + bias_HTT)
        added_BTD = ((likes_BHTT * can_see_BTT[:, None] * self.share) @ value_BHTE).transpose(1, 2).flatten(2)
        result: Tensor = hidden_BTD + self.dropout(self.output(self.after(added_BTD) * gate_BTD))
        return result
