"""Model and loss as one module, so that workers can average the gradients of both."""

import torch
from torch import Tensor, nn

from lodestar.config import TrainConfig
from lodestar.models.next_item import NextItem
from lodestar.training.batches import Batch
from lodestar.training.distributed import Group
from lodestar.training.losses import gbce, sampled_softmax, softmax, softmax_of_chunk
from lodestar.training.negatives import OWN_NEGATIVES
from lodestar.training.rows import RowTable


class Objective(nn.Module):
    """The sum of the losses of this worker's part of a batch.

    `rates` is the share of draws that each item gets. Where all steps of one shape have to be alike (`is_shaped`), places that do not count
    are computed and count nothing; else they are left out.
    """

    def __init__(self, model: NextItem, rates: Tensor, train: TrainConfig, group: Group, *, is_shaped: bool = False) -> None:
        super().__init__()
        self.model, self.train_config, self.group, self.is_shaped = model, train, group, is_shaped
        self.of_chunk = torch.compile(softmax_of_chunk, dynamic=True) if train.compile else softmax_of_chunk
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, batch: Batch, negatives_K: Tensor, rows: RowTable | None) -> Tensor:
        """With `rows`, of the item table only what the whole batch names is looked at, and all workers name the same."""
        train, device = self.train_config, self.group.device
        log_rate_K = (self.get_buffer("rates")[negatives_K] * train.num_negatives).log()
        table = None
        if rows is not None:
            named = torch.unique(torch.cat([batch.history[batch.mask], batch.target[batch.mask], negatives_K]))
            table, batch, negatives_K = rows.lend(named), batch.renumbered(named), torch.searchsorted(named, negatives_K)
        mine = batch.part(self.group.rank, self.group.size)
        with torch.autocast(device.type, torch.bfloat16, enabled=train.precision == "bf16"):
            users_BTD, target_BT, counts_BT, items_ND = self.model(mine.history, mine.mask, mine.target, table)
        if self.is_shaped:
            users_MD, target_M, share_M = users_BTD.flatten(0, 1), target_BT.flatten(), counts_BT.flatten().float()
        else:
            users_MD, target_M = users_BTD[counts_BT], target_BT[counts_BT]
            share_M = torch.ones(len(target_M), device=device)
        loss = self._loss(users_MD.float(), target_M, items_ND, negatives_K, log_rate_K, share_M)
        # A family may learn from fewer or more places than a batch has: each batch counts by its own places.
        scaled: Tensor = loss * (mine.mask.sum() / share_M.sum().clamp_min(1))
        return scaled

    def _loss(
        self, users_MD: Tensor, target_M: Tensor, items_ND: Tensor, negatives_K: Tensor, log_rate_K: Tensor, share_M: Tensor
    ) -> Tensor:
        train = self.train_config
        if train.loss == "softmax":
            is_half = train.precision == "bf16" and users_MD.is_cuda
            return softmax(users_MD.bfloat16() if is_half else users_MD, items_ND, target_M, train.label_smoothing, share_M, self.of_chunk)
        if train.loss == "gbce":
            loss_M = gbce(users_MD, items_ND, target_M, negatives_K, train.calibration, len(self.get_buffer("rates")))
        elif train.loss == "sampled_softmax":
            loss_M = sampled_softmax(users_MD, items_ND, target_M, negatives_K, log_rate_K)
        else:
            first = len(negatives_K) // self.group.size * self.group.rank
            loss_M = OWN_NEGATIVES[train.loss](users_MD, items_ND, target_M, negatives_K[first : first + len(target_M)])
        return (loss_M * share_M).sum()
