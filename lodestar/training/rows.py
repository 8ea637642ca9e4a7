"""A table of vectors of which a step reads and changes only the rows it names: its cost does not grow with the table.

Row-wise Adagrad keeps one number per row (Naumov et al., "DLRM", 2019, arXiv:1906.00091; Mudigere et al., ISCA 2022, arXiv:2104.05158):
a row moves by rate * gradient / root of the sum so far of its mean squared gradients. Letters: R rows of a step, D width.
"""

import mmap

import torch
from jaxtyping import Float, Int
from torch import Tensor

EPSILON = 1e-10


class RowTable:
    """`weight` [N, D] is moved to large pages where that can be, and changed in place; `mass` [N] is what each row has gathered."""

    def __init__(self, weight: Float[Tensor, "items dim"]) -> None:
        weight.data = in_large_pages(weight.data)
        self.weight = weight.detach()
        self.mass = in_large_pages(torch.zeros(len(weight), device=weight.device))
        self._rows = torch.zeros(0, dtype=torch.int64, device=weight.device)
        self._lent: Tensor | None = None

    def lend(self, rows_R: Int[Tensor, " rows"]) -> Float[Tensor, "rows dim"]:
        """Copies of these rows, each named once, that gather gradients until `step`."""
        self._rows, self._lent = rows_R, self.weight.index_select(0, rows_R).requires_grad_()
        return self._lent

    @property
    def lent(self) -> list[Tensor]:
        """What gathers gradients now: one tensor, or none."""
        return [self._lent] if self._lent is not None else []

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move what was lent, and forget it."""
        if self._lent is None or self._lent.grad is None:
            return
        gradient_RD = self._lent.grad
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
