"""BERT4Rec: a bidirectional Transformer trained to predict masked items (cloze task); at inference the next item is the masked one.

Sun et al., "BERT4Rec", CIKM 2019, arXiv:1904.06690; with relative positions and full softmax. Replications differ mainly by the length of
training (Petrov & Macdonald, RecSys 2022, arXiv:2207.07483).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lodestar.config import ModelConfig
from lodestar.models.encoders.attention import MASKED, Block
from lodestar.models.encoders.encoder import Encoder
from lodestar.schema.arrays import Bool, Float, Int

MASK_RATE = 0.3  # share of positions masked in training
LAST_ITEM_MASK_RATE = 0.5  # the last position is masked more often, since inference predicts it


class BERT4Rec(Encoder):
    """BERT4Rec encoder (Sun et al. 2019): bidirectional Transformer blocks and a mask embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.reach = config.max_length
        self.hidden = nn.Parameter(torch.randn(config.dim) * config.dim**-0.5)
        self.blocks = nn.ModuleList(Block(config, 2 * self.reach + 1) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch time dim"]:
        """Outputs at each position [B, T, D], attending to all positions of the history."""
        hidden_BTD = self.scale_inputs(history_BTD, mask_BT)
        attn_mask_BTT = torch.where(mask_BT[:, None, :], 0.0, MASKED).expand(-1, mask_BT.shape[1], -1)
        for block in self.blocks:
            hidden_BTD = block(hidden_BTD, hidden_BTD, attn_mask_BTT, self.reach)
        vectors: Tensor = self.norm(hidden_BTD)
        return vectors

    def user_vector(self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch dim"]:
        """User vectors [B, D]: the output at a mask token appended to the history."""
        mask_token_B1D = self.hidden.expand(history_BTD.shape[0], 1, -1)
        users_BTD: Tensor = self(
            torch.cat([history_BTD, mask_token_B1D], dim=1), torch.cat([mask_BT, torch.ones_like(mask_BT[:, :1])], dim=1)
        )
        return users_BTD[:, -1]

    def training_targets(
        self,
        table_ND: Float[Tensor, "items dim"],
        history_BT: Int[Tensor, "batch time"],
        mask_BT: Bool[Tensor, "batch time"],
        target_BT: Int[Tensor, "batch time"],
    ) -> tuple[Float[Tensor, "batch time+1 dim"], Int[Tensor, "batch time+1"], Bool[Tensor, "batch time+1"]]:
        """Cloze task: mask positions of the window (history and last target) and predict them from all others.

        Outputs [B, T + 1, D], items [B, T + 1] and the mask of the masked positions [B, T + 1].
        """
        items_BT = torch.cat([history_BT, target_BT[:, -1:]], dim=1)
        present_BT = torch.cat([mask_BT, torch.ones_like(mask_BT[:, :1])], dim=1)
        random_BT = torch.rand(items_BT.shape, device=items_BT.device)
        random_BT[:, -1] *= MASK_RATE / LAST_ITEM_MASK_RATE
        masked_BT = (random_BT < MASK_RATE) & present_BT
        masked_BT[:, -1] |= ~masked_BT.any(dim=1)
        vectors_BTD = torch.where(masked_BT[:, :, None], self.hidden, functional.embedding(items_BT, table_ND))
        users_BTD: Tensor = self(vectors_BTD, present_BT)
        return users_BTD, items_BT, masked_BT
