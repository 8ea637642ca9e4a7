"""One optimiser step of an embedding table: ours moves the rows it is told, dense fused Adam all, SparseAdam those with a gradient.

Each turn draws 8,192 ids of 64 numbers, reads the vectors, and moves them by the same gradient. The floor is what has to pass through
memory: rows read to be used, read and written to be moved, with their gradient (4 x 64 x 4 bytes a row). How a step grows with the table
is measured by ours alone, with as much of other memory walked through between two steps at every size as a small encoder has: dense Adam
beside it leaves caches the emptier, the larger the table.

    python benchmarks/embedding_step.py [--rows N ...]     published: --rows 100000 1000000 10000000, which takes 15 GB
"""

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from lodestar.training.distributed.rowwise_adagrad import RowwiseAdagradTable

IDS, DIM, TURNS, TURNS_ALONE, WARM_UP, RATE = 8_192, 64, 15, 45, 3, 0.05
OURS, DENSE, SPARSE = "ours", "dense fused Adam", "SparseAdam"
ROWS, MOST_DENSE = (10_000, 100_000), 10_000_000
STREAM_BYTES_S = 10e9
BETWEEN = 64 << 20  # bytes
Step: TypeAlias = Callable[[Tensor, Tensor], None]
Name = TypeVar("Name", str, int)


def ours(weight: Tensor) -> Step:
    """A step of row-wise Adagrad (Naumov et al. 2019, arXiv:1906.00091) on [rows, dim]: reads and moves the distinct rows only."""
    table = RowwiseAdagradTable(weight)

    def step(ids: Tensor, gradient: Tensor) -> None:
        named, place = torch.unique(ids, return_inverse=True)
        gathered = table.gather(named)
        torch.nn.functional.embedding(place, gathered).backward(gradient)  # type: ignore[no-untyped-call]
        table.step(RATE)

    return step


def torchs(weight: Tensor, optimiser: torch.optim.Optimizer, *, sparse: bool) -> Step:
    """A step of one of torch's optimisers; with `sparse`, the embedding's gradient is a sparse tensor."""

    def step(ids: Tensor, gradient: Tensor) -> None:
        torch.nn.functional.embedding(ids, weight, sparse=sparse).backward(gradient)  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()

    return step


def implementations(rows: int, most_dense: int) -> dict[str, Step]:
    """The steps under comparison on tables of `rows` rows each; dense Adam up to `most_dense` rows."""
    made = {OURS: ours(torch.randn(rows, DIM))}
    own = torch.randn(rows, DIM, requires_grad=True)
    made[SPARSE] = torchs(own, torch.optim.SparseAdam([own], lr=RATE), sparse=True)
    if rows <= most_dense:
        dense = torch.randn(rows, DIM, requires_grad=True)
        made[DENSE] = torchs(dense, torch.optim.Adam([dense], lr=RATE, fused=True), sparse=False)
    return made


def beside(rows: int, most_dense: int) -> dict[str, float]:
    """Median CPU seconds of a step, the implementations taking turns."""
    return turns({name: (rows, step) for name, step in implementations(rows, most_dense).items()}, TURNS)


def alone(sizes: list[int]) -> dict[int, float]:
    """The same of ours, tables of these sizes taking turns, between other work."""
    other = torch.zeros(BETWEEN // 4)
    return turns({rows: (rows, ours(torch.randn(rows, DIM))) for rows in sizes}, TURNS_ALONE, lambda: other.add_(1))


def turns(made: dict[Name, tuple[int, Step]], count: int, between: Callable[[], object] = lambda: None) -> dict[Name, float]:
    """Median CPU seconds of each step, which take turns on the same ids and gradients; `between` runs before each, unmeasured."""
    rng = torch.Generator().manual_seed(0)
    elapsed: dict[Name, list[float]] = {name: [] for name in made}
    for turn in range(WARM_UP + count):
        share, gradient = torch.rand(IDS, generator=rng, dtype=torch.float64), torch.randn(IDS, DIM, generator=rng)
        for name, (rows, step) in made.items():
            ids = (share * rows).long()
            between()
            started = time.process_time()
            step(ids, gradient)
            if turn >= WARM_UP:
                elapsed[name].append(time.process_time() - started)
    return {name: median(times) for name, times in elapsed.items()}


def main(arguments: list[str] | None = None) -> int:
    """Print CPU ms per step for each table size, ours and as ratios to it; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="sizes of the table (default: %(default)s)")
    parser.add_argument("--most-dense", type=int, default=MOST_DENSE, help="leave dense Adam out above so many rows: it needs 1 kB a row")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    floor_ms = IDS * 4 * DIM * 4 / STREAM_BYTES_S * 1e3
    print(f"CPU ms of a step of {IDS:,} ids x {DIM}, one thread, medians of {TURNS} turns; floor {floor_ms:.2f} ms at 10 GB/s")
    own_s = alone(options.rows)
    for rows in options.rows:
        elapsed = beside(rows, options.most_dense)
        others = ", ".join(f"{name} {s * 1e3:.1f} ({s / elapsed[OURS]:.1f}x)" for name, s in elapsed.items() if name != OURS)
        grown = f"alone {own_s[rows] * 1e3:.2f}, {own_s[rows] / own_s[options.rows[0]]:.2f}x of the smallest table"
        print(f"{rows:>12,} rows: ours {elapsed[OURS] * 1e3:.2f} ({grown}); {others}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
