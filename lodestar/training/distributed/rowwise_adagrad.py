"""Row-wise Adagrad for embedding tables: a step reads and updates only its batch's rows, so its cost does not grow with the table.

One accumulator per row (Naumov et al., "DLRM", 2019, arXiv:1906.00091; Mudigere et al., ISCA 2022, arXiv:2104.05158): the update is
learning rate * gradient / sqrt(sum of the row's mean squared gradients so far). Letters in shapes: R rows of a step, D width.
"""

import mmap
from dataclasses import dataclass

import torch
from torch import Tensor

from lodestar.schema.arrays import Float, Int, Shaped
from lodestar.training.distributed.distributed import Group

EPSILON = 1e-10


@dataclass(frozen=True, kw_only=True)
class ShardRange:
    """The shard of one worker, of a table of `total` rows: consecutive rows from `first` on."""

    group: Group
    total: int
    first: int

    def own(self, rows_R: Int[Tensor, " rows"], count: int) -> slice:
        """The slice of sorted row indices that lies in this worker's shard of `count` rows."""
        ends = torch.tensor([self.first, self.first + count], device=rows_R.device)
        begin, end = torch.searchsorted(rows_R, ends).tolist()
        return slice(begin, end)

    def all_gather(self, own: Shaped[Tensor, "own *shape"], where: slice, count: int) -> Shaped[Tensor, "{count} *shape"]:
        """All-gather: each worker's values for its slice of `count` rows, on all workers, [count, ...]."""
        gathered = own.new_zeros((count, *own.shape[1:]))
        gathered[where] = own
        return self.group.sum(gathered)


class RowwiseAdagradTable:
    """Embedding table with row-wise Adagrad: `weight` [N, D], moved to huge pages and updated in place, and `accumulator` [N].

    With `shard`, this worker holds one shard; `gather` and `vectors` are collective calls with the same rows on all workers.
    """

    def __init__(self, weight: Float[Tensor, "items dim"], shard: ShardRange | None = None) -> None:
        weight.data = in_large_pages(weight.data)
        self.weight, self.shard = weight.detach(), shard
        self.accumulator = in_large_pages(torch.zeros(len(weight), device=weight.device))
        self._rows = torch.zeros(0, dtype=torch.int64, device=weight.device)
        self._own = slice(None)
        self._gathered_rows: Tensor | None = None

    def gather(self, rows_R: Int[Tensor, " rows"]) -> Float[Tensor, "rows dim"]:
        """Copies of sorted, distinct rows that accumulate gradients until the next `step`."""
        self._own, self._rows = self._local_rows(rows_R)
        self._gathered_rows = self._gather_values(self._own, self._rows, len(rows_R)).requires_grad_()
        return self._gathered_rows

    def vectors(self, rows_R: Int[Tensor, " rows"]) -> Float[Tensor, "rows dim"]:
        """Copies of sorted rows, without gradients."""
        return self._gather_values(*self._local_rows(rows_R), len(rows_R))

    def _local_rows(self, rows_R: Tensor) -> tuple[slice, Tensor]:
        """The slice of sorted rows that this worker holds, and their local indices."""
        if self.shard is None:
            return slice(None), rows_R
        own = self.shard.own(rows_R, len(self.weight))
        return own, rows_R[own] - self.shard.first

    def _gather_values(self, own: slice, rows: Tensor, count: int) -> Tensor:
        found = self.weight.index_select(0, rows)
        return found if self.shard is None else self.shard.all_gather(found, own, count)

    def state(self) -> Float[Tensor, " items"]:
        """The accumulator of all rows, for a checkpoint; a collective call on all workers."""
        if self.shard is None:
            return self.accumulator
        first = self.shard.first
        return self.shard.all_gather(self.accumulator, slice(first, first + len(self.accumulator)), self.shard.total)

    def load_state(self, accumulator: Float[Tensor, " items"]) -> None:
        """Restore the accumulator from all rows' values."""
        first = self.shard.first if self.shard is not None else 0
        self.accumulator.copy_(accumulator[first : first + len(self.accumulator)])

    @property
    def gathered_rows(self) -> list[Float[Tensor, "rows dim"]]:
        """The tensor of gathered rows awaiting a step, as a list of one, or an empty list."""
        return [self._gathered_rows] if self._gathered_rows is not None else []

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the gathered rows by row-wise Adagrad at learning rate `rate`, and release them."""
        if self._gathered_rows is None or self._gathered_rows.grad is None:
            return
        gradient_RD = self._gathered_rows.grad[self._own]
        accumulator_R = self.accumulator.index_select(0, self._rows).add_(gradient_RD.norm(dim=1).square_(), alpha=1 / gradient_RD.shape[1])
        self.accumulator.index_copy_(0, self._rows, accumulator_R)
        # `index_add_` with an alpha is not vectorised, and four times slower.
        self.weight.index_add_(0, self._rows, gradient_RD.mul_((-rate / (accumulator_R.sqrt_() + EPSILON))[:, None]))
        self._gathered_rows = None


def in_large_pages(values: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """A copy in memory with transparent huge pages (2 MiB) if on a CPU of a system that has them, else the tensor itself.

    Random rows of a large table miss the TLB: with pages of 4 KiB, most reads cost a page walk as well.
    """
    num_bytes = values.numel() * values.element_size()
    if values.device.type != "cpu" or num_bytes == 0 or not hasattr(mmap, "MADV_HUGEPAGE"):
        return values
    memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=values.dtype).view(values.shape).copy_(values)
