"""Sharded item embedding: each worker's device holds a shard of the item table's rows; the encoder is replicated.

In each step a batch's rows are all-gathered, and their summed gradients go to the workers that hold them. In validation each worker scores
its own items. The full model stays in host memory, and is filled for checkpoints and export.
"""

import copy

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from lodestar.config import TrainConfig
from lodestar.models.encoders.next_item import ITEM_WEIGHT, NextItemModel
from lodestar.schema.arrays import Bool, Float, Int
from lodestar.training.distributed.distributed import Group
from lodestar.training.distributed.rowwise_adagrad import RowwiseAdagradTable, ShardRange


def uses_row_sharding(train: TrainConfig, group: Group) -> bool:
    """Whether training shards the item table by rows: `shard` with `rowwise_adagrad` on more than one worker."""
    return train.shard and train.optimiser == "rowwise_adagrad" and group.size > 1


def master_device(train: TrainConfig, group: Group) -> torch.device:
    """The device of the full model during training: the CPU if the item table is sharded, else the worker's."""
    return torch.device("cpu") if uses_row_sharding(train, group) else group.device


class ShardedItemTable:
    """Sharded item table: `local_model` has this worker's rows as its item table; `rows` gathers rows of all workers."""

    def __init__(self, whole: NextItemModel, group: Group) -> None:
        self.whole, self.group = whole, group
        first, stop = self._bounds(group.rank)
        table = whole.items.weight
        full_table, own = table.data, table.data[first:stop].clone()
        table.data = own[:0]  # deepcopy must not copy the full table
        self.local_model = copy.deepcopy(whole).to(group.device)
        table.data = full_table
        self.local_model.items.weight = nn.Parameter(own.to(group.device), requires_grad=False)  # type: ignore[misc]  # they are not hashed
        self.rows = RowwiseAdagradTable(self.local_model.items.weight, ShardRange(group=group, total=len(full_table), first=first))

    @torch.no_grad()
    def gather(self) -> None:
        """Copy all workers' rows and the encoder into the full model; a collective call on all workers."""
        own = self.local_model.state_dict()
        for name, values in self.whole.state_dict().items():
            if name != ITEM_WEIGHT:
                values.copy_(own[name])
        for rank in range(self.group.size):
            first, stop = self._bounds(rank)
            local_rows = self.rows.weight
            part = local_rows if rank == self.group.rank else local_rows.new_empty((stop - first, local_rows.shape[1]))
            distributed.broadcast(part, src=rank)
            self.whole.items.weight[first:stop] = part.cpu()

    def eval(self) -> None:
        """Set the local model to evaluation mode."""
        self.local_model.eval()

    def scores(self, history_BT: Int[Tensor, "batch time"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch own_items"]:
        """Scores of this worker's items [B, own items]; a collective call with the same histories on all workers."""
        batch_items, index_BT = torch.unique(history_BT, return_inverse=True)
        users_BD = self.local_model.encoder.user_vector(functional.embedding(index_BT, self.rows.vectors(batch_items)), mask_BT)
        return users_BD @ self.rows.weight.T

    @property
    def first(self) -> int:
        """Index of this worker's first item."""
        return self._bounds(self.group.rank)[0]

    def _bounds(self, rank: int) -> tuple[int, int]:
        total = self.whole.items.num_embeddings
        return rank * total // self.group.size, (rank + 1) * total // self.group.size
