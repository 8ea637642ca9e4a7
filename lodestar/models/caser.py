"""Caser: a history as a picture, one row per item, and filters that slide over its last rows.

Tang & Wang, "Personalized top-n sequential recommendation via convolutional sequence embedding", WSDM 2018, arXiv:1809.07426. Every place
is a target in one pass; a user has no vector of their own, so that one who is new is answered alike.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lodestar.config import ModelConfig
from lodestar.models.encoder import Encoder

WINDOW = 8  # rows of the picture
HEIGHTS = (1, 2, 3, 4, 6, 8)  # of the filters that look at several rows at once
FILTERS, DOWNWARD = 32, 4


class Caser(Encoder):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.across = nn.ModuleList(nn.Conv1d(config.dim, FILTERS, height) for height in HEIGHTS)
        self.downward = nn.Conv1d(1, DOWNWARD, WINDOW)  # the same sum of rows for every column
        self.mix = nn.Linear(len(HEIGHTS) * FILTERS + DOWNWARD * config.dim, config.dim)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        started_BTD = self.begin(history_BTD, mask_BT)
        picture_BDT = functional.pad(started_BTD.transpose(1, 2), (WINDOW - 1, 0))
        batch, width, length = picture_BDT.shape
        found = [
            functional.max_pool1d(functional.relu(filters(picture_BDT)), WINDOW - height + 1, stride=1)
            for height, filters in zip(HEIGHTS, self.across, strict=True)
        ]
        summed = self.downward(picture_BDT.reshape(batch * width, 1, length)).reshape(batch, width * DOWNWARD, length - WINDOW + 1)
        seen_BTF = torch.cat([*found, summed], dim=1).transpose(1, 2)
        vectors: Tensor = self.norm(started_BTD + functional.relu(self.mix(self.dropout(seen_BTF))))
        return vectors
