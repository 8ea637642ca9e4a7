"""Caser: horizontal and vertical convolutions over the embeddings of the last items.

Tang & Wang, "Personalized top-n sequential recommendation via convolutional sequence embedding", WSDM 2018, arXiv:1809.07426. Every
position is a target in one pass; there is no user embedding, so unknown users are scored like known ones.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lodestar.config import ModelConfig
from lodestar.models.encoders.encoder import Encoder
from lodestar.schema.arrays import Bool, Float

WINDOW = 8  # items seen by the filters
HEIGHTS = (1, 2, 3, 4, 6, 8)  # of horizontal filters, in items
FILTERS, NUM_VERTICAL_FILTERS = 32, 4


class Caser(Encoder):
    """Caser encoder (Tang & Wang 2018): convolutions over a sliding window of WINDOW items, with a residual of the last item."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.horizontal = nn.ModuleList(nn.Conv1d(config.dim, FILTERS, height) for height in HEIGHTS)
        self.vertical = nn.Conv1d(1, NUM_VERTICAL_FILTERS, WINDOW)  # a weighted sum of the window, shared by all dimensions
        self.mix = nn.Linear(len(HEIGHTS) * FILTERS + NUM_VERTICAL_FILTERS * config.dim, config.dim)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch time dim"]:
        """User vectors after each position [B, T, D], from the window that ends there."""
        inputs_BTD = self.scale_inputs(history_BTD, mask_BT)
        padded_BDT = functional.pad(inputs_BTD.transpose(1, 2), (WINDOW - 1, 0))
        batch, width, length = padded_BDT.shape
        pooled = [
            functional.max_pool1d(functional.relu(filters(padded_BDT)), WINDOW - height + 1, stride=1)
            for height, filters in zip(HEIGHTS, self.horizontal, strict=True)
        ]
        summed = self.vertical(padded_BDT.reshape(batch * width, 1, length)).reshape(
            batch, width * NUM_VERTICAL_FILTERS, length - WINDOW + 1
        )
        features_BTF = torch.cat([*pooled, summed], dim=1).transpose(1, 2)
        vectors: Tensor = self.norm(inputs_BTD + functional.relu(self.mix(self.dropout(features_BTF))))
        return vectors
