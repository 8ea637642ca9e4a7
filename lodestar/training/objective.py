"""Model and loss as one module, so that workers can average the gradients of both."""

import torch
from torch import Tensor, nn

from lodestar.config import TrainConfig
from lodestar.models.counts import Sequences
from lodestar.models.next_item import NextItem
from lodestar.training.batches import Batch
from lodestar.training.distributed import Group
from lodestar.training.losses import bce, bpr, gbce, sampled_softmax, softmax
from lodestar.training.negatives import draw, drawing_rates
from lodestar.training.rows import RowTable


class Objective(nn.Module):
    """The sum of the losses of this worker's part of a batch; negatives depend on the seed only, so that all workers draw the same."""

    def __init__(self, model: NextItem, sequences: Sequences, train: TrainConfig, group: Group) -> None:
        super().__init__()
        self.model, self.train_config, self.group = model, train, group
        uniform = torch.full((model.items.num_embeddings,), 1 / model.items.num_embeddings)
        self.rates = drawing_rates(sequences, len(uniform)) if train.loss == "sampled_softmax" else uniform

    def forward(self, batch: Batch, seed: int, rows: RowTable | None) -> Tensor:
        """With `rows`, of the item table only what the whole batch names is looked at, and all workers name the same."""
        train, device = self.train_config, self.group.device
        negatives = (
            draw(self.rates, train.num_negatives, torch.Generator().manual_seed(seed + train.seed)) if train.loss != "softmax" else None
        )
        log_rate = (self.rates[negatives] * train.num_negatives).log().to(device) if negatives is not None else None
        table = None
        if rows is not None and negatives is not None:
            named = torch.unique(torch.cat([batch.history[batch.mask], batch.target[batch.mask], negatives]))
            table, batch, negatives = rows.lend(named.to(device)), batch.renumbered(named), torch.searchsorted(named, negatives)
        mine = batch.part(self.group.rank, self.group.size)
        with torch.autocast(device.type, torch.bfloat16, enabled=train.precision == "bf16"):
            users_MD, target_M, items_ND = self.model(mine.history.to(device), mine.mask.to(device), mine.target.to(device), table)
        loss = self._loss(users_MD.float(), target_M, items_ND, negatives.to(device) if negatives is not None else None, log_rate)
        # A family may learn from fewer or more places than a batch has: each batch counts by its own places.
        return loss * (mine.num_targets / max(1, len(target_M)))

    def _loss(self, users_MD: Tensor, target_M: Tensor, items_ND: Tensor, negatives_K: Tensor | None, log_rate_K: Tensor | None) -> Tensor:
        train = self.train_config
        if negatives_K is None or log_rate_K is None:
            return softmax(users_MD, items_ND, target_M, train.label_smoothing)
        if train.loss == "gbce":
            return gbce(users_MD, items_ND, target_M, negatives_K, train.calibration, len(self.rates))
        if train.loss == "sampled_softmax":
            return sampled_softmax(users_MD, items_ND, target_M, negatives_K, log_rate_K)
        return (bce if train.loss == "bce" else bpr)(users_MD, items_ND, target_M, negatives_K)
