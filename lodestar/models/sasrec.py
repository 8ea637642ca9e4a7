"""SASRec: a causal Transformer over the items a user took.

Kang & McAuley, "Self-attentive sequential recommendation", ICDM 2018, arXiv:1808.09781; with distances in place of positions
(`lodestar.models.attention`). Trained with `train.loss` gbce it is gSASRec (Petrov & Macdonald, RecSys 2023, arXiv:2308.07192).
"""

from torch import Tensor, nn

from lodestar.config import ModelConfig
from lodestar.models.attention import Block, causal
from lodestar.models.encoder import Encoder


class SASRec(Encoder):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.blocks = nn.ModuleList(Block(config, config.max_length) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        hidden_BTD, reach_BTT = self.begin(history_BTD, mask_BT), causal(mask_BT)
        for block in self.blocks:
            hidden_BTD = block(hidden_BTD, hidden_BTD, reach_BTT)
        vectors: Tensor = self.norm(hidden_BTD)
        return vectors

    def newest(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """The last block asks for the last place and nothing else."""
        hidden_BTD, reach_BTT = self.begin(history_BTD, mask_BT), causal(mask_BT)
        *first, last = self.blocks
        for block in first:
            hidden_BTD = block(hidden_BTD, hidden_BTD, reach_BTT)
        vector: Tensor = self.norm(last(hidden_BTD[:, -1:], hidden_BTD, reach_BTT[:, -1:]))
        return vector[:, 0]
