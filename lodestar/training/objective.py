"""Model and loss as one module, so that workers can average the gradients of both."""

import torch
from torch import Tensor, nn

from lodestar.config import TrainConfig
from lodestar.models.counts import Sequences
from lodestar.models.next_item import NextItem
from lodestar.training.batches import Batch
from lodestar.training.losses import bce, bpr, gbce, sampled_softmax, softmax
from lodestar.training.negatives import draw, drawing_rates

PAIRWISE = {"bce": bce, "bpr": bpr}


class Objective(nn.Module):
    """The sum of a batch's losses; negatives depend on the seed only, so that all workers draw the same."""

    def __init__(self, model: NextItem, sequences: Sequences, train: TrainConfig) -> None:
        super().__init__()
        self.model, self.train_config = model, train
        uniform = torch.full((model.items.num_embeddings,), 1 / model.items.num_embeddings)
        rates = drawing_rates(sequences, len(uniform)) if train.loss == "sampled_softmax" else uniform
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, batch: Batch, seed: int) -> Tensor:
        device = self.model.items.weight.device
        users_MD, target_M, items_ND = self.model(batch.history.to(device), batch.mask.to(device), batch.target.to(device))
        # A family may learn from fewer or more places than a batch has: each batch counts by its own places.
        return self._loss(users_MD, target_M, items_ND, seed) * (batch.num_targets / max(1, len(target_M)))

    def _loss(self, users_MD: Tensor, target_M: Tensor, items_ND: Tensor, seed: int) -> Tensor:
        train, device = self.train_config, items_ND.device
        if train.loss == "softmax":
            return softmax(users_MD, items_ND, target_M, train.label_smoothing)
        rates_N = self.get_buffer("rates")
        negatives = draw(rates_N.cpu(), train.num_negatives, torch.Generator().manual_seed(seed + train.seed)).to(device)
        if train.loss == "gbce":
            return gbce(users_MD, items_ND, target_M, negatives, train.calibration)
        if train.loss in PAIRWISE:
            return PAIRWISE[train.loss](users_MD, items_ND, target_M, negatives)
        return sampled_softmax(users_MD, items_ND, target_M, negatives, (rates_N * train.num_negatives).log())
