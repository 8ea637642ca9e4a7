"""One optimiser step of an embedding table: ours moves the rows it is told, dense fused Adam all, SparseAdam those with a gradient.

Each turn draws 8,192 ids of 64 numbers, reads the vectors, and moves them by the same gradient. The floor is what has to pass through
memory: rows read to be used, read and written to be moved, with their gradient (4 x 64 x 4 bytes a row).

    python benchmarks/embedding_step.py [--rows N ...]
"""

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from lodestar.training.rows import RowTable

IDS, DIM, TURNS, WARM_UP, RATE = 8_192, 64, 15, 3, 0.05
OURS, DENSE, SPARSE = "ours", "dense fused Adam", "SparseAdam"
ROWS = (100_000, 1_000_000, 10_000_000)
STREAM_BYTES_S = 10e9


def ours(weight: Tensor) -> Callable[[Tensor, Tensor], None]:
    table = RowTable(weight)

    def step(ids: Tensor, gradient: Tensor) -> None:
        named, place = torch.unique(ids, return_inverse=True)
        lent = table.lend(named)
        torch.nn.functional.embedding(place, lent).backward(gradient)  # type: ignore[no-untyped-call]
        table.step(RATE)

    return step


def torchs(weight: Tensor, optimiser: torch.optim.Optimizer, *, sparse: bool) -> Callable[[Tensor, Tensor], None]:
    def step(ids: Tensor, gradient: Tensor) -> None:
        torch.nn.functional.embedding(ids, weight, sparse=sparse).backward(gradient)  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()

    return step


def contestants(rows: int, most_dense: int) -> dict[str, Callable[[Tensor, Tensor], None]]:
    made = {OURS: ours(torch.randn(rows, DIM))}
    own = torch.randn(rows, DIM, requires_grad=True)
    made[SPARSE] = torchs(own, torch.optim.SparseAdam([own], lr=RATE), sparse=True)
    if rows <= most_dense:
        dense = torch.randn(rows, DIM, requires_grad=True)
        made[DENSE] = torchs(dense, torch.optim.Adam([dense], lr=RATE, fused=True), sparse=False)
    return made


def measured(rows: int, most_dense: int) -> dict[str, float]:
    """Median CPU seconds of a step, the contestants taking turns."""
    made, chance = contestants(rows, most_dense), torch.Generator().manual_seed(0)
    took: dict[str, list[float]] = {name: [] for name in made}
    for turn in range(WARM_UP + TURNS):
        ids, gradient = torch.randint(0, rows, (IDS,), generator=chance), torch.randn(IDS, DIM, generator=chance)
        for name, step in made.items():
            started = time.process_time()
            step(ids, gradient)
            if turn >= WARM_UP:
                took[name].append(time.process_time() - started)
    return {name: median(times) for name, times in took.items()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="sizes of the table (default: %(default)s)")
    parser.add_argument("--most-dense", type=int, default=ROWS[-1], help="leave dense Adam out above so many rows: it needs 1 kB a row")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    floor_ms = IDS * 4 * DIM * 4 / STREAM_BYTES_S * 1e3
    print(f"CPU ms of a step of {IDS:,} ids x {DIM}, one thread, medians of {TURNS} turns; floor {floor_ms:.2f} ms at 10 GB/s")
    first = None
    for rows in options.rows:
        took = measured(rows, options.most_dense)
        first = first or took[OURS]
        beside = ", ".join(f"{name} {s * 1e3:.1f} ({s / took[OURS]:.1f}x)" for name, s in took.items() if name != OURS)
        print(f"{rows:>12,} rows: ours {took[OURS] * 1e3:.2f} ({took[OURS] / first:.2f}x of the smallest table); {beside}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
