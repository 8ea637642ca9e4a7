"""GRU and LSTM over a history: a state that is carried from item to item.

Hidasi et al., "Session-based recommendations with recurrent neural networks", ICLR 2016, arXiv:1511.06939; every place is a target, and the
loss is the trainer's.
"""

import torch
from torch import Tensor, nn

from lodestar.config import ModelConfig
from lodestar.models.encoder import Encoder


class Recurrent(Encoder):
    """`model.layers` layers of one kind."""

    def __init__(self, config: ModelConfig, kind: type[nn.GRU] | type[nn.LSTM]) -> None:
        super().__init__(config)
        between = config.dropout if config.layers > 1 else 0.0
        self.cells = kind(config.dim, config.dim, num_layers=config.layers, dropout=between, batch_first=True)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Padding goes to the right, where no state has been through it."""
        padding_B1 = mask_BT.shape[1] - mask_BT.sum(dim=1, keepdim=True)
        state_BTD, _ = self.cells(_rolled(self.begin(history_BTD, mask_BT), padding_B1))
        vectors: Tensor = self.norm(_rolled(self.dropout(state_BTD), -padding_B1))
        return vectors


def gru(config: ModelConfig) -> Recurrent:
    return Recurrent(config, nn.GRU)


def lstm(config: ModelConfig) -> Recurrent:
    return Recurrent(config, nn.LSTM)


def _rolled(vectors_BTD: Tensor, places_B1: Tensor) -> Tensor:
    """Each row moved to the left by its number of places, around the end."""
    length = vectors_BTD.shape[1]
    source_BT = (torch.arange(length, device=vectors_BTD.device)[None] + places_B1) % length
    return vectors_BTD.gather(1, source_BT[:, :, None].expand(-1, -1, vectors_BTD.shape[2]))
