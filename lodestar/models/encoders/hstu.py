"""HSTU: pointwise gated attention without softmax and without a feed-forward layer, so repeated items add up.

Zhai et al., "Actions speak louder than words: trillion-parameter sequential transducers", ICML 2024, arXiv:2402.17152. The number of
interactions with an item is a signal of preference strength that softmax would normalise away. With `use_time_gaps`, attention has a bias
by time difference as well as by relative position.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from lodestar.bundle.timed_items import unpack_gaps, unpack_items
from lodestar.config import ModelConfig
from lodestar.models.encoders.attention import Dropout, causal_mask, init_small, relative_position_bias, split_heads
from lodestar.models.encoders.encoder import Encoder
from lodestar.schema.arrays import Bool, Float, Int, Num

NUM_TIME_BUCKETS = 32  # powers of two up to 2**30 seconds, which is 34 years


class HSTU(Encoder):
    """HSTU encoder (Zhai et al. 2024): stacked pointwise gated attention layers, with time gaps if configured."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.dim)
        self.is_timed = config.use_time_gaps

    def embed(self, history_BT: Int[Tensor, "batch time"], table_ND: Float[Tensor, "items dim"]) -> Float[Tensor, "batch time columns"]:
        """Item vectors [B, T, D] and, with `use_time_gaps`, a last column with the seconds since the previous item, [B, T, D + 1]."""
        vectors_BTD = super().embed(unpack_items(history_BT), table_ND)
        if not self.is_timed:
            return vectors_BTD
        return torch.cat([vectors_BTD, unpack_gaps(history_BT)[:, :, None].to(vectors_BTD.dtype)], dim=2)

    def training_targets(
        self,
        table_ND: Float[Tensor, "items dim"],
        history_BT: Int[Tensor, "batch time"],
        mask_BT: Bool[Tensor, "batch time"],
        target_BT: Int[Tensor, "batch time"],
    ) -> tuple[Float[Tensor, "batch time dim"], Int[Tensor, "batch time"], Bool[Tensor, "batch time"]]:
        """Next-item targets, unpacked to plain item indices."""
        users_BTD, target_BT, counts_BT = super().training_targets(table_ND, history_BT, mask_BT, target_BT)
        return users_BTD, unpack_items(target_BT), counts_BT

    def forward(
        self, history_BTD: Float[Tensor, "batch time columns"], mask_BT: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time dim"]:
        """User vectors after each position, [B, T, D]."""
        span_BTT = time_buckets(history_BTD[:, :, -1], mask_BT) if self.is_timed else None
        hidden_BTD, attn_mask_BTT = self.scale_inputs(history_BTD[:, :, : self.width], mask_BT), causal_mask(mask_BT)
        mask_BTT = (attn_mask_BTT == 0) * 1.0
        for layer in self.layers:
            hidden_BTD = layer(hidden_BTD, mask_BTT, span_BTT)
        vectors: Tensor = self.norm(hidden_BTD)
        return vectors


def time_buckets(gap_BT: Num[Tensor, "batch time"], mask_BT: Bool[Tensor, "batch time"]) -> Int[Tensor, "batch time time"]:
    """Log2 buckets of the time from each key position to each query position, int64 [B, T, T], in 0–31; from gaps in seconds [B, T].

    Whole seconds, so that the result does not depend on the window; half a second is added, so that no logarithm is a whole number.
    """
    seconds_BT = gap_BT.long() * mask_BT
    next_gap_BT = torch.cat([seconds_BT[:, 1:], torch.zeros_like(seconds_BT[:, :1])], dim=1)
    age_BT = next_gap_BT.flip(1).cumsum(dim=1).flip(1)
    elapsed_BTT = (age_BT[:, None, :] - age_BT[:, :, None]).clamp_min(0)
    return (torch.log(elapsed_BTT.float() + 0.5) / math.log(2)).floor().long().add(1).clamp_max(NUM_TIME_BUCKETS - 1)


class Layer(nn.Module):
    """HSTU layer: one projection to gate, value, query and key; SiLU attention; norm, gate and output projection; residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, self.heads = config.dim, config.num_heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.parts, self.output = nn.Linear(width, 4 * width), nn.Linear(width, width)
        self.distance_bias = nn.Parameter(torch.zeros(config.num_heads, config.max_length))
        self.span_bias = nn.Parameter(torch.zeros(NUM_TIME_BUCKETS, config.num_heads)) if config.use_time_gaps else None
        self.dropout = Dropout(config.dropout)
        self.share = 1 / config.max_length
        init_small(self)

    def forward(
        self,
        hidden_BTD: Float[Tensor, "batch time dim"],
        mask_BTT: Float[Tensor, "batch time time"],
        span_BTT: Int[Tensor, "batch time time"] | None,
    ) -> Float[Tensor, "batch time dim"]:
        """Outputs [B, T, D]; `mask_BTT` is 1 where a query may attend to a key, `span_BTT` the time buckets."""
        gate_BTD, *parts = functional.silu(self.parts(self.before(hidden_BTD))).chunk(4, dim=-1)
        value_BHTE, query_BHTE, key_BHTE = (split_heads(part, self.heads) for part in parts)
        bias_BHTT = relative_position_bias(self.distance_bias, mask_BTT.shape[1], mask_BTT.shape[2])[None]
        if self.span_bias is not None and span_BTT is not None:
            bias_BHTT = bias_BHTT + functional.embedding(span_BTT, self.span_bias).permute(0, 3, 1, 2)
        attention_BHTT = functional.silu(query_BHTE @ key_BHTE.transpose(2, 3) + bias_BHTT)
        attended_BTD = ((attention_BHTT * mask_BTT[:, None] * self.share) @ value_BHTE).transpose(1, 2).flatten(2)
        result: Tensor = hidden_BTD + self.dropout(self.output(self.after(attended_BTD) * gate_BTD))
        return result
