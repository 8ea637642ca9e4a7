"""An item table whose rows lie in parts, one on each worker's device, beside an encoder that all have.

In each step the rows that a batch names go to all workers, and the sum of their gradients to those that have them. Scores are found by
each worker for its own items. The whole model stays in the memory of the machine, and is filled when it is to be kept.
"""

import copy

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from lodestar.config import TrainConfig
from lodestar.models.next_item import NextItem
from lodestar.training.distributed import Group
from lodestar.training.rows import RowTable, Share

TABLE = "items.weight"


def is_wanted(train: TrainConfig, group: Group) -> bool:
    return train.shard and train.optimiser == "rowwise_adagrad" and group.size > 1


def home(train: TrainConfig, group: Group) -> torch.device:
    """Where a whole model lies while it is trained."""
    return torch.device("cpu") if is_wanted(train, group) else group.device


class PartedTable:
    """`taught` has this worker's rows in place of the table; `rows` lends them, and those of the others."""

    def __init__(self, whole: NextItem, group: Group) -> None:
        self.whole, self.group = whole, group
        first, stop = self._bounds(group.rank)
        table = whole.items.weight
        everything, own = table.data, table.data[first:stop].clone()
        table.data = own[:0]  # so that it is not copied along
        self.taught = copy.deepcopy(whole).to(group.device)
        table.data = everything
        self.taught.items.weight = nn.Parameter(own.to(group.device), requires_grad=False)  # type: ignore[misc]  # they are not hashed
        self.rows = RowTable(self.taught.items.weight, Share(group=group, total=len(everything), first=first))

    @torch.no_grad()
    def gather(self) -> None:
        """Fill the whole model; all workers have to ask."""
        own = self.taught.state_dict()
        for name, values in self.whole.state_dict().items():
            if name != TABLE:
                values.copy_(own[name])
        for rank in range(self.group.size):
            first, stop = self._bounds(rank)
            mine = self.rows.weight
            part = mine if rank == self.group.rank else mine.new_empty((stop - first, mine.shape[1]))
            distributed.broadcast(part, src=rank)
            self.whole.items.weight[first:stop] = part.cpu()

    def eval(self) -> None:
        self.taught.eval()

    def scores(self, history_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Of this worker's items after the whole history, [B, own items]; all workers have to ask for the same histories."""
        named, place_BT = torch.unique(history_BT, return_inverse=True)
        users_BD = self.taught.encoder.newest(functional.embedding(place_BT, self.rows.vectors(named)), mask_BT)
        return users_BD @ self.rows.weight.T

    @property
    def first(self) -> int:
        """The first of this worker's items."""
        return self._bounds(self.group.rank)[0]

    def _bounds(self, rank: int) -> tuple[int, int]:
        total = self.whole.items.num_embeddings
        return rank * total // self.group.size, (rank + 1) * total // self.group.size
