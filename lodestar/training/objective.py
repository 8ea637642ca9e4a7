"""Model and loss as one module, so that workers can average the gradients of both."""

import torch
from torch import Tensor, nn

from lodestar.config import TrainConfig
from lodestar.models.counts import Sequences
from lodestar.models.sasrec import SASRec
from lodestar.training.batches import Batch
from lodestar.training.losses import gbce, sampled_softmax, softmax
from lodestar.training.negatives import draw, drawing_rates


class Objective(nn.Module):
    """The sum of a batch's losses; negatives depend on the seed only, so that all workers draw the same."""

    def __init__(self, model: SASRec, sequences: Sequences, train: TrainConfig) -> None:
        super().__init__()
        self.model, self.train_config = model, train
        uniform = torch.full((model.items.num_embeddings,), 1 / model.items.num_embeddings)
        rates = drawing_rates(sequences, len(uniform)) if train.loss == "sampled_softmax" else uniform
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, batch: Batch, seed: int) -> Tensor:
        device = self.model.items.weight.device
        history, mask = batch.history.to(device), batch.mask.to(device)
        users_MD, target_M = self.model(history, mask)[mask], batch.target.to(device)[mask]
        items_ND, train = self.model.items.weight, self.train_config
        if train.loss == "softmax":
            return softmax(users_MD, items_ND, target_M, train.label_smoothing)
        rates_N = self.get_buffer("rates")
        negatives = draw(rates_N.cpu(), train.num_negatives, torch.Generator().manual_seed(seed + train.seed)).to(device)
        if train.loss == "gbce":
            return gbce(users_MD, items_ND, target_M, negatives, train.calibration)
        return sampled_softmax(users_MD, items_ND, target_M, negatives, (rates_N * train.num_negatives).log())
