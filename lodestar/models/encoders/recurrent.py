"""GRU4Rec-style GRU and LSTM encoders: recurrent networks over the history.

Hidasi et al., "Session-based recommendations with recurrent neural networks", ICLR 2016, arXiv:1511.06939; Hochreiter & Schmidhuber, "Long
short-term memory", Neural Computation 1997. Every position is a target; the loss is configured by `train.loss`.
"""

import torch
from torch import Tensor, nn

from lodestar.config import ModelConfig
from lodestar.models.encoders.encoder import Encoder
from lodestar.schema.arrays import Bool, Float


class Recurrent(Encoder):
    """Recurrent encoder: `num_layers` layers of `nn.GRU` or `nn.LSTM` (`kind`) and a layer norm."""

    def __init__(self, config: ModelConfig, kind: type[nn.GRU] | type[nn.LSTM]) -> None:
        super().__init__(config)
        layer_dropout = config.dropout if config.num_layers > 1 else 0.0
        self.cells = kind(config.dim, config.dim, num_layers=config.num_layers, dropout=layer_dropout, batch_first=True)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch time dim"]:
        """User vectors after each position [B, T, D]; padding is rotated to the right, so that no state passes through it."""
        padding_B1 = mask_BT.shape[1] - mask_BT.sum(dim=1, keepdim=True)
        state_BTD, _ = self.cells(_rotate_left(self.scale_inputs(history_BTD, mask_BT), padding_B1))
        vectors: Tensor = self.norm(_rotate_left(self.dropout(state_BTD), -padding_B1))
        return vectors


def gru(config: ModelConfig) -> Recurrent:
    """GRU encoder (GRU4Rec, Hidasi et al. 2016)."""
    return Recurrent(config, nn.GRU)


def lstm(config: ModelConfig) -> Recurrent:
    """LSTM encoder (Hochreiter & Schmidhuber 1997)."""
    return Recurrent(config, nn.LSTM)


def _rotate_left(vectors_BTD: Tensor, shift_B1: Tensor) -> Tensor:
    """Rotate each row [T, D] to the left by its own number of positions."""
    length = vectors_BTD.shape[1]
    source_BT = (torch.arange(length, device=vectors_BTD.device)[None] + shift_B1) % length
    return vectors_BTD.gather(1, source_BT[:, :, None].expand(-1, -1, vectors_BTD.shape[2]))
