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

OWN_NEGATIVES = {"bce": bce, "bpr": bpr}  # each place has a negative of its own; others share `train.num_negatives`


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
        negatives = self._drawn(batch, seed)
        log_rate = (self.rates[negatives] * train.num_negatives).log().to(device)
        table = None
        if rows is not None:
            named = torch.unique(torch.cat([batch.history[batch.mask], batch.target[batch.mask], negatives]))
            table, batch, negatives = rows.lend(named.to(device)), batch.renumbered(named), torch.searchsorted(named, negatives)
        mine = batch.part(self.group.rank, self.group.size)
        with torch.autocast(device.type, torch.bfloat16, enabled=train.precision == "bf16"):
            users_MD, target_M, items_ND = self.model(mine.history.to(device), mine.mask.to(device), mine.target.to(device), table)
        loss = self._loss(users_MD.float(), target_M, items_ND, negatives.to(device), log_rate)
        # A family may learn from fewer or more places than a batch has: each batch counts by its own places.
        return loss * (mine.num_targets / max(1, len(target_M)))

    def _drawn(self, batch: Batch, seed: int) -> Tensor:
        """Items, int64: none for the full softmax, those that all places share, or more than there are places for each worker."""
        train = self.train_config
        if train.loss == "softmax":
            return torch.zeros(0, dtype=torch.int64)
        most_places = batch.mask.numel() + len(batch.mask)  # of any worker's part, whatever the family makes of it
        count = most_places * self.group.size if train.loss in OWN_NEGATIVES else train.num_negatives
        return draw(self.rates, count, torch.Generator().manual_seed(seed + train.seed))

    def _loss(self, users_MD: Tensor, target_M: Tensor, items_ND: Tensor, negatives_K: Tensor, log_rate_K: Tensor) -> Tensor:
        train = self.train_config
        if train.loss == "softmax":
            return softmax(users_MD, items_ND, target_M, train.label_smoothing)
        if train.loss == "gbce":
            return gbce(users_MD, items_ND, target_M, negatives_K, train.calibration, len(self.rates))
        if train.loss == "sampled_softmax":
            return sampled_softmax(users_MD, items_ND, target_M, negatives_K, log_rate_K)
        first = len(negatives_K) // self.group.size * self.group.rank
        return OWN_NEGATIVES[train.loss](users_MD, items_ND, target_M, negatives_K[first : first + len(target_M)])
