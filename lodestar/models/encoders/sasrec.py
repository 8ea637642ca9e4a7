"""SASRec: a causal Transformer over a user's interactions, newest last.

Kang & McAuley, "Self-attentive sequential recommendation", ICDM 2018, arXiv:1808.09781; with relative position bias
(`lodestar.models.encoders.attention`). Trained with `train.loss` gbce it is gSASRec (Petrov & Macdonald, RecSys 2023, arXiv:2308.07192).
"""

from torch import Tensor, nn

from lodestar.config import ModelConfig
from lodestar.models.encoders.attention import Block, causal_mask
from lodestar.models.encoders.encoder import Encoder
from lodestar.schema.arrays import Bool, Float


class SASRec(Encoder):
    """SASRec encoder (Kang & McAuley 2018): causal Transformer blocks and a final layer norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.blocks = nn.ModuleList(Block(config, config.max_length) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch time dim"]:
        """User vectors after each position, [B, T, D]."""
        hidden_BTD, attn_mask_BTT = self.scale_inputs(history_BTD, mask_BT), causal_mask(mask_BT)
        for block in self.blocks:
            hidden_BTD = block(hidden_BTD, hidden_BTD, attn_mask_BTT)
        vectors: Tensor = self.norm(hidden_BTD)
        return vectors

    def user_vector(self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch dim"]:
        """User vectors after the whole history [B, D]; the last block computes the last position only."""
        hidden_BTD, attn_mask_BTT = self.scale_inputs(history_BTD, mask_BT), causal_mask(mask_BT)
        *first, last = self.blocks
        for block in first:
            hidden_BTD = block(hidden_BTD, hidden_BTD, attn_mask_BTT)
        vector: Tensor = self.norm(last(hidden_BTD[:, -1:], hidden_BTD, attn_mask_BTT[:, -1:]))
        return vector[:, 0]
