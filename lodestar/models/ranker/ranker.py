"""Multi-task ranker of candidates: target attention over the history (DIN), low-rank cross layers (DCN V2), one logit per task.

Zhou et al., "Deep interest network for click-through rate prediction", KDD 2018, arXiv:1706.06978; Wang et al., "DCN V2", WWW 2021,
arXiv:2008.13535. Letters in shapes: B requests, T positions (newest last), C candidates, D item inputs, F count features, W width,
K tasks, X inputs of the cross layers.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lodestar.config import RankerConfig
from lodestar.schema.arrays import Bool, Float

NUM_AGE_BUCKETS = 8  # log2 buckets of a history position's age


class Ranker(nn.Module):
    """Ranker of candidates (DIN, Zhou et al. 2018; DCN V2, Wang et al. 2021) with `num_tasks` task logits."""

    def __init__(self, item_dim: int, num_counts: int, num_tasks: int, config: RankerConfig) -> None:
        super().__init__()
        width, crossed = config.dim, 4 * config.dim + num_counts + 1
        self.item = nn.Linear(item_dim, width)
        self.query = nn.Linear(width, width)
        self.age = nn.Parameter(torch.zeros(NUM_AGE_BUCKETS))
        self.crosses = nn.ModuleList(_Cross(crossed, config.dim) for _ in range(config.num_cross_layers))
        self.hidden = nn.Linear(crossed, 2 * width)
        self.tasks = nn.Linear(2 * width, num_tasks)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        history_BTD: Float[Tensor, "batch time dim"],
        mask_BT: Bool[Tensor, "batch time"],
        candidates_BCD: Float[Tensor, "batch candidates dim"],
        counts_BCF: Float[Tensor, "batch candidates counts"],
    ) -> Float[Tensor, "batch candidates tasks"]:
        """Logits per task [B, C, K] from history [B, T, D] with mask [B, T], candidates [B, C, D] and count features [B, C, F]."""
        return self.task_logits(self.item(history_BTD), mask_BT, self.item(candidates_BCD), counts_BCF)

    def task_logits(
        self,
        history_BTW: Float[Tensor, "batch time width"],
        mask_BT: Bool[Tensor, "batch time"],
        candidate_BCW: Float[Tensor, "batch candidates width"],
        counts_BCF: Float[Tensor, "batch candidates counts"],
    ) -> Float[Tensor, "batch candidates tasks"]:
        """Logits per task [B, C, K] from projected items (width W), which serving precomputes once for the whole catalogue."""
        history_BTW = history_BTW * mask_BT[:, :, None]
        attention_BCT = (
            self.query(candidate_BCW) @ history_BTW.transpose(1, 2) * history_BTW.shape[2] ** -0.5 + self._age_bias(mask_BT)[:, None]
        )
        # An extra zero key lets a candidate attend to no item.
        padded_BCT = functional.pad(attention_BCT.masked_fill(~mask_BT[:, None], -torch.inf), (1, 0))
        attended_BCW = padded_BCT.softmax(dim=2)[:, :, 1:] @ history_BTW
        length_B1 = mask_BT.sum(dim=1, keepdim=True)
        mean_BCW = (history_BTW.sum(dim=1) / length_B1.clamp_min(1))[:, None].expand_as(candidate_BCW)
        log_length_BC1 = torch.log1p(length_B1.float())[:, None].expand_as(candidate_BCW[:, :, :1])
        inputs_BCX = torch.cat(
            [candidate_BCW, attended_BCW, candidate_BCW * attended_BCW, candidate_BCW * mean_BCW, counts_BCF, log_length_BC1], dim=2
        )
        hidden_BCX = inputs_BCX = self.dropout(inputs_BCX)
        for cross in self.crosses:
            hidden_BCX = cross(inputs_BCX, hidden_BCX)
        logits: Tensor = self.tasks(self.dropout(functional.relu(self.hidden(hidden_BCX))))
        return logits

    def _age_bias(self, mask_BT: Tensor) -> Tensor:
        """Attention bias by the age of a position, [1, T]; the newest has age 1."""
        age_T = torch.arange(mask_BT.shape[1], 0, -1, device=mask_BT.device)
        return self.age[torch.log2(age_T.float()).long().clamp_max(NUM_AGE_BUCKETS - 1)][None]


class _Cross(nn.Module):
    """Low-rank cross layer of DCN V2."""

    def __init__(self, size: int, rank: int) -> None:
        super().__init__()
        self.inward, self.outward = nn.Linear(size, rank, bias=False), nn.Linear(rank, size)

    def forward(self, inputs_BCX: Tensor, hidden_BCX: Tensor) -> Tensor:
        crossed: Tensor = inputs_BCX * self.outward(self.inward(hidden_BCX)) + hidden_BCX
        return crossed
