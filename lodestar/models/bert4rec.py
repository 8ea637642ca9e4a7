"""BERT4Rec: a Transformer that looks both ways and fills in hidden items; served, the item to come is the hidden one.

Sun et al., "BERT4Rec", CIKM 2019, arXiv:1904.06690; with distances in place of positions, and full softmax as the loss: what made later
replications differ (Petrov & Macdonald, RecSys 2022, arXiv:2207.07483) was the length of training.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lodestar.config import ModelConfig
from lodestar.models.attention import UNREACHABLE, Block
from lodestar.models.encoder import Encoder

HIDDEN = 0.3  # of the places, in training
LAST_HIDDEN = 0.5  # how often the last one is among them: it is what serving asks for


class BERT4Rec(Encoder):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.reach = config.max_length
        self.hidden = nn.Parameter(torch.randn(config.dim) * config.dim**-0.5)
        self.blocks = nn.ModuleList(Block(config, 2 * self.reach + 1) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        hidden_BTD = self.begin(history_BTD, mask_BT)
        reach_BTT = torch.where(mask_BT[:, None, :], 0.0, UNREACHABLE).expand(-1, mask_BT.shape[1], -1)
        for block in self.blocks:
            hidden_BTD = block(hidden_BTD, hidden_BTD, reach_BTT, self.reach)
        vectors: Tensor = self.norm(hidden_BTD)
        return vectors

    def newest(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """What stands at a hidden place after the history."""
        asked_B1D = self.hidden.expand(history_BTD.shape[0], 1, -1)
        users_BTD: Tensor = self(torch.cat([history_BTD, asked_B1D], dim=1), torch.cat([mask_BT, torch.ones_like(mask_BT[:, :1])], dim=1))
        return users_BTD[:, -1]

    def learn(self, table_ND: Tensor, history_BT: Tensor, mask_BT: Tensor, target_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Some places of the whole window are hidden, and foretold from all others."""
        items_BT = torch.cat([history_BT, target_BT[:, -1:]], dim=1)
        known_BT = torch.cat([mask_BT, torch.ones_like(mask_BT[:, :1])], dim=1)
        chance_BT = torch.rand(items_BT.shape, device=items_BT.device)
        chance_BT[:, -1] *= HIDDEN / LAST_HIDDEN
        hidden_BT = (chance_BT < HIDDEN) & known_BT
        hidden_BT[:, -1] |= ~hidden_BT.any(dim=1)
        vectors_BTD = torch.where(hidden_BT[:, :, None], self.hidden, functional.embedding(items_BT, table_ND))
        users_BTD: Tensor = self(vectors_BTD, known_BT)
        return users_BTD, items_BT, hidden_BT
