"""Rows that are named move as row-wise Adagrad says, and no other row does."""

import pytest
import torch

from lodestar.training.distributed.rowwise_adagrad import RowwiseAdagradTable

RATE = 0.1


def plain(weight: torch.Tensor, mass: torch.Tensor, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The formula over the whole table, in one number per row."""
    mass = mass + (gradient**2).mean(dim=1)
    return weight - RATE * gradient / (mass.sqrt()[:, None] + 1e-10), mass


@pytest.mark.parametrize("steps", [1, 3])
def test_it_is_row_wise_adagrad(steps: int) -> None:
    rng = torch.Generator().manual_seed(0)
    start = torch.randn(9, 4, generator=rng)
    table, weight, mass = RowwiseAdagradTable(start.clone()), start.clone(), torch.zeros(9)
    for step in range(steps):
        rows = torch.tensor([0, 3, 4 + step])
        wanted = torch.randn(3, 4, generator=rng)
        (table.gather(rows) * wanted).sum().backward()  # type: ignore[no-untyped-call]
        table.step(RATE)
        gradient = torch.zeros(9, 4)
        gradient[rows] = wanted
        weight, mass = plain(weight, mass, gradient)
    torch.testing.assert_close(table.weight, weight)
    torch.testing.assert_close(table.accumulator, mass)


def test_rows_that_are_not_named_stay_to_the_bit() -> None:
    start = torch.randn(5, 4)
    table = RowwiseAdagradTable(start.clone())
    table.gather(torch.tensor([1])).sum().backward()  # type: ignore[no-untyped-call]
    table.step(RATE)
    assert torch.equal(table.weight[[0, 2, 3, 4]], start[[0, 2, 3, 4]])
    assert not torch.equal(table.weight[1], start[1])


def test_a_step_without_a_loan_changes_nothing() -> None:
    start = torch.randn(5, 4)
    table = RowwiseAdagradTable(start.clone())
    table.step(RATE)
    assert torch.equal(table.weight, start)
    assert table.gathered_rows == []
