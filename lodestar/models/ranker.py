"""A ranker of candidates: attention of each over the history, crosses of all that is known, and an answer for each task.

Attention by the candidate is that of Zhou et al., "Deep Interest Network" (KDD 2018), crosses of low rank are those of Wang et al.,
"DCN V2" (WWW 2021). Letters in shapes: B requests, T places (the newest last), C candidates, D numbers of an item, F counts, W width,
K tasks, X all that is crossed.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lodestar.config import RankConfig

AGES = 8  # places of the history by the logarithm of their age


class Ranker(nn.Module):
    """History [B, T, D] with mask [B, T], candidates [B, C, D] and counts [B, C, F] in, a logit for each task out, [B, C, K]."""

    def __init__(self, item_dim: int, num_counts: int, num_tasks: int, config: RankConfig) -> None:
        super().__init__()
        width, crossed = config.dim, 4 * config.dim + num_counts + 1
        self.item = nn.Linear(item_dim, width)
        self.query = nn.Linear(width, width)
        self.age = nn.Parameter(torch.zeros(AGES))
        self.crosses = nn.ModuleList(_Cross(crossed, config.dim) for _ in range(config.crosses))
        self.hidden = nn.Linear(crossed, 2 * width)
        self.tasks = nn.Linear(2 * width, num_tasks)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, history_BTD: Tensor, mask_BT: Tensor, candidates_BCD: Tensor, counts_BCF: Tensor) -> Tensor:
        return self.answers(self.item(history_BTD), mask_BT, self.item(candidates_BCD), counts_BCF)

    def answers(self, taken_BTW: Tensor, mask_BT: Tensor, candidate_BCW: Tensor, counts_BCF: Tensor) -> Tensor:
        """The same from items that have been brought to the width, which is done once for all of them where they are served."""
        taken_BTW = taken_BTW * mask_BT[:, :, None]
        near_BCT = self.query(candidate_BCW) @ taken_BTW.transpose(1, 2) * taken_BTW.shape[2] ** -0.5 + self._ages(mask_BT)[:, None]
        # Beside the items stands nothing at all, so that a candidate may look at none of them.
        open_BCT = functional.pad(near_BCT.masked_fill(~mask_BT[:, None], -torch.inf), (1, 0))
        wanted_BCW = open_BCT.softmax(dim=2)[:, :, 1:] @ taken_BTW
        length_B1 = mask_BT.sum(dim=1, keepdim=True)
        mean_BCW = (taken_BTW.sum(dim=1) / length_B1.clamp_min(1))[:, None].expand_as(candidate_BCW)
        long_BC1 = torch.log1p(length_B1.float())[:, None].expand_as(candidate_BCW[:, :, :1])
        start_BCX = torch.cat(
            [candidate_BCW, wanted_BCW, candidate_BCW * wanted_BCW, candidate_BCW * mean_BCW, counts_BCF, long_BC1], dim=2
        )
        found_BCX = start_BCX = self.dropout(start_BCX)
        for cross in self.crosses:
            found_BCX = cross(start_BCX, found_BCX)
        answers: Tensor = self.tasks(self.dropout(functional.relu(self.hidden(found_BCX))))
        return answers

    def _ages(self, mask_BT: Tensor) -> Tensor:
        """What a place's age adds to attention, [1, T]; the newest is 1."""
        age_T = torch.arange(mask_BT.shape[1], 0, -1, device=mask_BT.device)
        return self.age[torch.log2(age_T.float()).long().clamp_max(AGES - 1)][None]


class _Cross(nn.Module):
    def __init__(self, size: int, rank: int) -> None:
        super().__init__()
        self.inward, self.outward = nn.Linear(size, rank, bias=False), nn.Linear(rank, size)

    def forward(self, start_BCX: Tensor, found_BCX: Tensor) -> Tensor:
        crossed: Tensor = start_BCX * self.outward(self.inward(found_BCX)) + found_BCX
        return crossed
