"""User tower of the two-tower and content models: exponentially decayed means of the history through an MLP.

Covington et al., "Deep neural networks for YouTube recommendations", RecSys 2016; Yi et al., "Sampling-bias-corrected neural modeling for
large corpus item recommendations", RecSys 2019. The item tower is the item's id embedding plus
`lodestar.models.encoders.next_item.TextEmbedding`.
"""

import torch
from torch import Tensor, nn

from lodestar.config import ModelConfig
from lodestar.models.encoders.attention import MASKED, causal_mask
from lodestar.models.encoders.encoder import Encoder
from lodestar.schema.arrays import Bool, Float

DECAYS = (0.02, 0.6, 0.9, 1.0)  # weight decay per position back: the last item, a few items, a session, the whole history


class Tower(Encoder):
    """User tower (Covington et al. 2016): K decayed means of the history, then an MLP with a linear shortcut and layer norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.layers = nn.Sequential(
            nn.Linear(len(DECAYS) * config.dim, 4 * config.dim), nn.GELU(), self.dropout, nn.Linear(4 * config.dim, config.dim)
        )
        self.shortcut = nn.Linear(len(DECAYS) * config.dim, config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.register_buffer("log_kept", torch.tensor(DECAYS).log(), persistent=False)

    def forward(self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch time dim"]:
        """User vectors after each position, [B, T, D]."""
        attn_mask_BTT, position = causal_mask(mask_BT), torch.arange(mask_BT.shape[1], device=mask_BT.device)
        distance_TT = (position[:, None] - position[None, :]).clamp_min(0)
        weight_BKTT = distance_TT[None, None] * self.get_buffer("log_kept")[None, :, None, None] + attn_mask_BTT[:, None]
        means_BKTD = torch.softmax(weight_BKTT.clamp_min(MASKED), dim=-1) @ self.scale_inputs(history_BTD, mask_BT)[:, None]
        means_BTF = means_BKTD.transpose(1, 2).flatten(2)
        vectors: Tensor = self.norm(self.shortcut(means_BTF) + self.layers(means_BTF))
        return vectors
