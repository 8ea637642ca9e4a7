"""Training objective: model and loss as one module, so that DDP averages gradients of both."""

import torch
from torch import Tensor, nn

from lodestar.config import TrainConfig
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.schema.arrays import Float, Int
from lodestar.training.distributed.distributed import Group
from lodestar.training.distributed.rowwise_adagrad import RowwiseAdagradTable
from lodestar.training.loop.batches import Batch
from lodestar.training.optimisation.losses import below_target, gbce, sampled_softmax, softmax, softmax_chunk
from lodestar.training.optimisation.negatives import NEGATIVE_SHARES, PER_POSITION_LOSSES


class Objective(nn.Module):
    """Sum of losses over this worker's share of a batch.

    `rates` [N] are the sampling probabilities of items. With `is_shaped` (CUDA graphs need static shapes), masked positions are computed
    with weight 0; otherwise they are dropped.
    """

    def __init__(
        self, model: NextItemModel, rates: Float[Tensor, " items"], train: TrainConfig, group: Group, *, is_shaped: bool = False
    ) -> None:
        super().__init__()
        self.model, self.train_config, self.group, self.is_shaped = model, train, group, is_shaped
        self.chunk_fn = torch.compile(softmax_chunk, dynamic=True) if train.compile else softmax_chunk
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, batch: Batch, negatives_K: Int[Tensor, " negatives"], rows: RowwiseAdagradTable | None) -> Float[Tensor, ""]:
        """The summed loss of this worker's share, scaled to its number of positions; `batch` is the global batch.

        With `rows`, only the item vectors of the global batch and the negatives are gathered, the same ones on all workers.
        """
        train, device = self.train_config, self.group.device
        log_rate_K = (self.get_buffer("rates")[negatives_K] * train.num_negatives).log()
        table = None
        if rows is not None:
            batch_items = torch.unique(torch.cat([batch.items(), negatives_K]))
            table = rows.gather(batch_items)
            batch, negatives_K = batch.remap_items(batch_items), torch.searchsorted(batch_items, negatives_K)
        local_batch = batch.part(self.group.rank, self.group.size)
        with torch.autocast(device.type, torch.bfloat16, enabled=train.precision == "bf16"):
            users_BTD, target_BT, counted_BT, items_ND = self.model(local_batch.history, local_batch.mask, local_batch.target, table)
        if self.is_shaped:
            users_MD, target_M, counted_M = users_BTD.flatten(0, 1), target_BT.flatten(), counted_BT.flatten().float()
        else:
            users_MD, target_M = users_BTD[counted_BT], target_BT[counted_BT]
            counted_M = torch.ones(len(target_M), device=device)
        weight_M = counted_M
        if local_batch.weight is not None:
            weight_M = counted_M * self._of_positions(local_batch.weight[:, -target_BT.shape[1] :], counted_BT)
        loss = self._loss(users_MD.float(), target_M, items_ND, negatives_K, log_rate_K, weight_M)
        if local_batch.refused is not None and train.loss != "softmax":
            refused_M = self._of_positions(local_batch.refused[:, None].expand_as(target_BT), counted_BT)
            share = NEGATIVE_SHARES[train.loss](len(negatives_K))
            loss = loss + share * (below_target(users_MD.float(), items_ND, target_M, refused_M) * weight_M).sum()
        # A family may have fewer or more targets than the batch has positions (BERT4Rec): each batch counts by its positions.
        scaled: Tensor = loss * (local_batch.mask.sum() / counted_M.sum().clamp_min(1))
        return scaled

    def _of_positions(self, values_BT: Tensor, counted_BT: Tensor) -> Tensor:
        """Values of the positions that predict, [M], in the order of the loss."""
        return values_BT.flatten() if self.is_shaped else values_BT[counted_BT]

    def _loss(self, users_MD: Tensor, target_M: Tensor, items_ND: Tensor, negatives_K: Tensor, log_q_K: Tensor, weight_M: Tensor) -> Tensor:
        train = self.train_config
        if train.loss == "softmax":
            is_half = train.precision == "bf16" and users_MD.is_cuda
            return softmax(users_MD.bfloat16() if is_half else users_MD, items_ND, target_M, train.label_smoothing, weight_M, self.chunk_fn)
        if train.loss == "gbce":
            loss_M = gbce(users_MD, items_ND, target_M, negatives_K, train.gbce_t, len(self.get_buffer("rates")))
        elif train.loss == "sampled_softmax":
            loss_M = sampled_softmax(users_MD, items_ND, target_M, negatives_K, log_q_K)
        else:
            first = len(negatives_K) // self.group.size * self.group.rank
            loss_M = PER_POSITION_LOSSES[train.loss](users_MD, items_ND, target_M, negatives_K[first : first + len(target_M)])
        return (loss_M * weight_M).sum()
