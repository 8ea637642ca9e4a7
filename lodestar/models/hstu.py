"""HSTU: attention that adds up instead of averaging, gated, in one layer without a feed-forward part.

Zhai et al., "Actions speak louder than words: trillion-parameter sequential transducers", ICML 2024, arXiv:2402.17152. How strongly a user
likes something is told by how often it comes, which a softmax would divide away. With `timed`, how long ago it came adds to its place.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from lodestar.config import ModelConfig
from lodestar.data.gaps import gaps_of, items_of
from lodestar.models.attention import Dropout, by_distance, causal, split_heads, start_small
from lodestar.models.encoder import Encoder

SPANS = 32  # up to 2 to the 30 seconds, which is 34 years


class HSTU(Encoder):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        self.is_timed = config.timed

    def looked_up(self, history_BT: Tensor, table_ND: Tensor) -> Tensor:
        """Items' vectors and, where time counts, a last column with the seconds since the item before."""
        vectors_BTD = super().looked_up(items_of(history_BT), table_ND)
        if not self.is_timed:
            return vectors_BTD
        return torch.cat([vectors_BTD, gaps_of(history_BT)[:, :, None].to(vectors_BTD.dtype)], dim=2)

    def learn(self, table_ND: Tensor, history_BT: Tensor, mask_BT: Tensor, target_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same with targets as plain items."""
        users_BTD, target_BT, counts_BT = super().learn(table_ND, history_BT, mask_BT, target_BT)
        return users_BTD, items_of(target_BT), counts_BT

    def forward(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        span_BTT = spans(history_BTD[:, :, -1], mask_BT) if self.is_timed else None
        hidden_BTD, reach_BTT = self.begin(history_BTD[:, :, : self.width], mask_BT), causal(mask_BT)
        can_see_BTT = (reach_BTT == 0) * 1.0
        for layer in self.layers:
            hidden_BTD = layer(hidden_BTD, can_see_BTT, span_BTT)
        vectors: Tensor = self.norm(hidden_BTD)
        return vectors


def spans(gap_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """How long before each place every other one lies, by the power of two of the seconds that it does not reach, [B, T, T].

    In whole seconds, so that one window gives what another does; half a second is added, so that no logarithm is a whole number.
    """
    since_BT = gap_BT.long() * mask_BT
    later_BT = torch.cat([since_BT[:, 1:], torch.zeros_like(since_BT[:, :1])], dim=1)
    age_BT = later_BT.flip(1).cumsum(dim=1).flip(1)
    elapsed_BTT = (age_BT[:, None, :] - age_BT[:, :, None]).clamp_min(0)
    return (torch.log(elapsed_BTT.float() + 0.5) / math.log(2)).floor().long().add(1).clamp_max(SPANS - 1)


class Layer(nn.Module):
    """One projection makes gate, value, query and key; what attention adds up is normed, gated and projected back."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, self.heads = config.dim, config.heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.parts, self.output = nn.Linear(width, 4 * width), nn.Linear(width, width)
        self.distance_bias = nn.Parameter(torch.zeros(config.heads, config.max_length))
        self.span_bias = nn.Parameter(torch.zeros(SPANS, config.heads)) if config.timed else None
        self.dropout = Dropout(config.dropout)
        self.share = 1 / config.max_length
        start_small(self)

    def forward(self, hidden_BTD: Tensor, can_see_BTT: Tensor, span_BTT: Tensor | None) -> Tensor:
        gate_BTD, *parts = functional.silu(self.parts(self.before(hidden_BTD))).chunk(4, dim=-1)
        value_BHTE, query_BHTE, key_BHTE = (split_heads(part, self.heads) for part in parts)
        bias_BHTT = by_distance(self.distance_bias, can_see_BTT.shape[1], can_see_BTT.shape[2])[None]
        if self.span_bias is not None and span_BTT is not None:
            bias_BHTT = bias_BHTT + functional.embedding(span_BTT, self.span_bias).permute(0, 3, 1, 2)
        likes_BHTT = functional.silu(query_BHTE @ key_BHTE.transpose(2, 3) + bias_BHTT)
        added_BTD = ((likes_BHTT * can_see_BTT[:, None] * self.share) @ value_BHTE).transpose(1, 2).flatten(2)
        result: Tensor = hidden_BTD + self.dropout(self.output(self.after(added_BTD) * gate_BTD))
        return result
