"""Transformer blocks with relative position bias, masks and dropout, shared by the encoders.

The bias is learned per head and distance of two positions (after T5, Raffel et al., JMLR 2020, arXiv:1910.10683) and not per absolute
position, so left padding changes nothing and cached keys of past items stay valid when a new one arrives.
Letters in shapes: B histories, S query positions, T key positions, D width, H heads, E width of a head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lodestar.config import ModelConfig
from lodestar.schema.arrays import Bool, Float

MASKED = -1e9


class Block(nn.Module):
    """Pre-norm Transformer block: attention with relative position bias, then a GELU feed-forward layer.

    `distances` is the number of relative position buckets.
    """

    def __init__(self, config: ModelConfig, distances: int) -> None:
        super().__init__()
        width, self.heads = config.dim, config.num_heads
        self.attention_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.distance_bias = nn.Parameter(torch.zeros(config.num_heads, distances))
        self.output = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), Dropout(config.dropout), nn.Linear(4 * width, width)
        )
        self.dropout = Dropout(config.dropout)
        init_small(self)

    def forward(
        self,
        query_BSD: Float[Tensor, "batch queries dim"],
        hidden_BTD: Float[Tensor, "batch keys dim"],
        attn_mask_BST: Float[Tensor, "batch queries keys"],
        ahead: int = 0,
    ) -> Float[Tensor, "batch queries dim"]:
        """Outputs [B, S, D]: the last S of T positions are queries, all T are keys; the bias covers keys up to `ahead` positions later."""
        bias_BHST = (
            relative_position_bias(self.distance_bias, attn_mask_BST.shape[1], attn_mask_BST.shape[2], ahead) + attn_mask_BST[:, None]
        )
        mixed_BSD = query_BSD + self.dropout(self._attend(query_BSD, hidden_BTD, bias_BHST))
        result: Tensor = mixed_BSD + self.dropout(self.feed_forward(mixed_BSD))
        return result

    def _attend(self, query_BSD: Tensor, hidden_BTD: Tensor, bias_BHST: Tensor) -> Tensor:
        query_BHSE = split_heads(self.query(self.attention_norm(query_BSD)), self.heads)
        keys_BTD, values_BTD = self.key_value(self.attention_norm(hidden_BTD)).chunk(2, dim=-1)
        logits_BHST = query_BHSE @ split_heads(keys_BTD, self.heads).transpose(2, 3) * query_BHSE.shape[3] ** -0.5 + bias_BHST
        mixed_BHSE = functional.softmax(logits_BHST, dim=-1) @ split_heads(values_BTD, self.heads)
        attended: Tensor = self.output(mixed_BHSE.transpose(1, 2).flatten(2))
        return attended


class Dropout(nn.Module):
    """Dropout that draws eight mask entries from one 64-bit random number, since sampling dominates its cost on a CPU.

    The rate is rounded to 1/256.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.dropped = round(rate * 256)

    def forward(self, hidden: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The input with entries zeroed at the rate and the others scaled up, in training; unchanged in evaluation."""
        if not self.training or self.dropped == 0:
            return hidden
        words = torch.empty((hidden.numel() + 7) // 8, dtype=torch.int64, device=hidden.device).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: hidden.numel()].view(hidden.shape) >= self.dropped
        return hidden * (kept * (256 / (256 - self.dropped)))


def init_small(module: nn.Module) -> None:
    """Initialise linear layers at half the usual scale with zero bias, so that residual branches start small."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.5 * layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)


def split_heads(vectors_BTD: Float[Tensor, "batch time dim"], heads: int) -> Float[Tensor, "batch {heads} time dim//{heads}"]:
    """Split vectors [B, T, D] into heads, [B, H, T, D / H]."""
    batch, length, width = vectors_BTD.shape
    return vectors_BTD.view(batch, length, heads, width // heads).transpose(1, 2)


def causal_mask(mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch time time"]:
    """Additive causal and padding mask [B, T, T]: 0 where query t may attend to key t', MASKED elsewhere."""
    position = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    return torch.where((position[:, None] >= position[None, :]) & mask_BT[:, None, :], 0.0, MASKED)


def relative_position_bias(
    bias_HN: Float[Tensor, "heads distances"], num_queries: int, num_keys: int, ahead: int = 0
) -> Float[Tensor, "heads {num_queries} {num_keys}"]:
    """Relative position bias [H, S, T] of the last `num_queries` positions for all `num_keys` positions, from `bias_HN` [H, distances].

    Column `ahead` of `bias_HN` is distance 0. Distances beyond the last bucket share its bias; positions more than `ahead` later get none.
    Implemented by reshaping to rows that are one shorter, which shifts each by one; the gradient of a gather would be slower (scatter-add).
    """
    heads, length = bias_HN.shape[0], num_queries + num_keys
    extended_HN = torch.cat([bias_HN, bias_HN[:, -1:].expand(-1, num_keys)], dim=1)
    row_HL = functional.pad(extended_HN[:, : ahead + num_keys].flip(1), (0, num_queries))[:, :length]
    rows_HA = row_HL[:, None].expand(heads, num_queries, length).reshape(heads, num_queries * length)
    return rows_HA[:, : num_queries * (length - 1)].reshape(heads, num_queries, length - 1)[:, :, num_queries - 1 : length - 1]
