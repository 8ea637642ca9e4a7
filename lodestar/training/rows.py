"""A table of vectors of which a step reads and changes only the rows it names: its cost does not grow with the table.

Row-wise Adagrad keeps one number per row (Naumov et al., "DLRM", 2019, arXiv:1906.00091; Mudigere et al., ISCA 2022, arXiv:2104.05158):
a row moves by rate * gradient / root of the sum so far of its mean squared gradients. Letters: R rows of a step, D width.
"""

import mmap
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lodestar.training.distributed import Group

EPSILON = 1e-10


@dataclass(frozen=True, kw_only=True)
class Share:
    """Of a table of `total` rows those of one worker: from `first` on."""

    group: Group
    total: int
    first: int

    def own(self, rows_R: Int[Tensor, " rows"], count: int) -> slice:
        """Where among ordered rows those of this worker's `count` are."""
        ends = torch.tensor([self.first, self.first + count], device=rows_R.device)
        begin, end = torch.searchsorted(rows_R, ends).tolist()
        return slice(begin, end)

    def collected(self, own: Tensor, among: slice, count: int) -> Tensor:
        """What each worker has for its places among `count`, put together on all of them."""
        whole = own.new_zeros((count, *own.shape[1:]))
        whole[among] = own
        return self.group.sum(whole)


class RowTable:
    """`weight` [N, D] is moved to large pages where that can be, and changed in place; `mass` [N] is what each row has gathered.

    With a `share` they are the rows of one of several workers, and all of them lend the same at once.
    """

    def __init__(self, weight: Float[Tensor, "items dim"], share: Share | None = None) -> None:
        weight.data = in_large_pages(weight.data)
        self.weight, self.share = weight.detach(), share
        self.mass = in_large_pages(torch.zeros(len(weight), device=weight.device))
        self._rows = torch.zeros(0, dtype=torch.int64, device=weight.device)
        self._own = slice(None)
        self._lent: Tensor | None = None

    def lend(self, rows_R: Int[Tensor, " rows"]) -> Float[Tensor, "rows dim"]:
        """Copies of these rows, in order and each named once, that gather gradients until `step`."""
        self._own, self._rows = self._found(rows_R)
        self._lent = self._collected(self._own, self._rows, len(rows_R)).requires_grad_()
        return self._lent

    def vectors(self, rows_R: Int[Tensor, " rows"]) -> Float[Tensor, "rows dim"]:
        """Copies of rows, in order."""
        return self._collected(*self._found(rows_R), len(rows_R))

    def _found(self, rows_R: Tensor) -> tuple[slice, Tensor]:
        """Which of ordered rows lie here, and where."""
        if self.share is None:
            return slice(None), rows_R
        own = self.share.own(rows_R, len(self.weight))
        return own, rows_R[own] - self.share.first

    def _collected(self, own: slice, rows: Tensor, count: int) -> Tensor:
        found = self.weight.index_select(0, rows)
        return found if self.share is None else self.share.collected(found, own, count)

    def kept(self) -> Float[Tensor, " items"]:
        """What all rows have gathered, for a checkpoint; all workers have to ask."""
        if self.share is None:
            return self.mass
        first = self.share.first
        return self.share.collected(self.mass, slice(first, first + len(self.mass)), self.share.total)

    def take_up(self, mass: Float[Tensor, " items"]) -> None:
        """Go on from what all rows had gathered."""
        first = self.share.first if self.share is not None else 0
        self.mass.copy_(mass[first : first + len(self.mass)])

    @property
    def lent(self) -> list[Tensor]:
        """What gathers gradients now: one tensor, or none."""
        return [self._lent] if self._lent is not None else []

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move what was lent, and forget it."""
        if self._lent is None or self._lent.grad is None:
            return
        gradient_RD = self._lent.grad[self._own]
        mass_R = self.mass.index_select(0, self._rows).add_(gradient_RD.norm(dim=1).square_(), alpha=1 / gradient_RD.shape[1])
        self.mass.index_copy_(0, self._rows, mass_R)
        # With an alpha `index_add_` goes number by number, four times as long.
        self.weight.index_add_(0, self._rows, gradient_RD.mul_((-rate / (mass_R.sqrt_() + EPSILON))[:, None]))
        self._lent = None


def in_large_pages(values: Tensor) -> Tensor:
    """The same in memory of 2 MiB pages on a CPU whose system has them, else as it is.

    Rows of a table lie far apart: with pages of 4 KiB, most of them cost a walk through the page table beside the row itself.
    """
    num_bytes = values.numel() * values.element_size()
    if values.device.type != "cpu" or num_bytes == 0 or not hasattr(mmap, "MADV_HUGEPAGE"):
        return values
    memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=values.dtype).view(values.shape).copy_(values)
