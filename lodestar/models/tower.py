"""The user's tower of a two-tower model: means of the history, more and less of late, through a small network.

Covington et al., "Deep neural networks for YouTube recommendations", RecSys 2016; Yi et al., "Sampling-bias-corrected neural modeling",
RecSys 2019. The other tower is the item's: `lodestar.models.next_item.Written` beside its own vector.
"""

import torch
from torch import Tensor, nn

from lodestar.config import ModelConfig
from lodestar.models.attention import UNREACHABLE, causal
from lodestar.models.encoder import Encoder

KEPT = (0.02, 0.6, 0.9, 1.0)  # of a step's weight a step further back: the last item alone, a few, a sitting, all


class Tower(Encoder):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.layers = nn.Sequential(
            nn.Linear(len(KEPT) * config.dim, 4 * config.dim), nn.GELU(), self.dropout, nn.Linear(4 * config.dim, config.dim)
        )
        self.shortcut = nn.Linear(len(KEPT) * config.dim, config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.register_buffer("log_kept", torch.tensor(KEPT).log(), persistent=False)

    def forward(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        reach_BTT, place = causal(mask_BT), torch.arange(mask_BT.shape[1], device=mask_BT.device)
        distance_TT = (place[:, None] - place[None, :]).clamp_min(0)
        weight_BKTT = distance_TT[None, None] * self.get_buffer("log_kept")[None, :, None, None] + reach_BTT[:, None]
        means_BKTD = torch.softmax(weight_BKTT.clamp_min(UNREACHABLE), dim=-1) @ self.begin(history_BTD, mask_BT)[:, None]
        means_BTF = means_BKTD.transpose(1, 2).flatten(2)
        vectors: Tensor = self.norm(self.shortcut(means_BTF) + self.layers(means_BTF))
        return vectors
