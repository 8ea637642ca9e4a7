"""A table that two workers learn together: ours whole on each worker, ours in parts (`train.shard`), and TorchRec's, in parts by rows.

Each turn every worker draws 4,096 ids of 64 numbers, reads their vectors, and moves the rows that either named by the mean of both
gradients, by row-wise Adagrad. Both do the same steps in the same two processes by turns, over gloo, one thread each, and must end with the
same rows. What is printed is the CPU time of a step of both workers together, and what a worker keeps.

TorchRec is wanted beside torch as it is (1.8.0 is the last that loads with 2.13), in a folder that nothing else reads:

    uv pip install --no-deps --target PEERS torchrec==1.8.0 fbgemm-gpu-cpu==1.8.0 tensordict torchmetrics lightning-utilities iopath \
        pyre-extensions typing-inspect mypy-extensions portalocker pyvers orjson tqdm
    PYTHONPATH=PEERS python benchmarks/sharded_table.py [--rows N ...]     published: --rows 100000 1000000 10000000

Without it, ours alone are compared.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))  # or a file beside this one is found in place of the package whose name it has
import argparse
import logging
import socket
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, distributed, multiprocessing
from torch.nn import functional

from benchmarks.measuring.requirements import SKIPPED
from lodestar.training.distributed.distributed import Group
from lodestar.training.distributed.rowwise_adagrad import EPSILON, RowwiseAdagradTable, ShardRange

WHOLE, SHARDED, TORCHREC = "ours whole", "ours sharded", "TorchRec"
WORKERS, IDS, DIM, TURNS, WARM_UP, RATE = 2, 4_096, 64, 30, 10, 0.05
ROWS = (10_000, 100_000)
Step = Callable[[Tensor, Tensor], None]


def ours(table: RowwiseAdagradTable, group: Group) -> Step:
    """As `training.objective` and `training.optimiser` do it: all workers know the whole batch, and gather the same rows."""

    def step(ids_WI: Tensor, gradient_ID: Tensor) -> None:
        named = torch.unique(ids_WI)
        gathered = table.gather(named)
        functional.embedding(torch.searchsorted(named, ids_WI[group.rank]), gathered).backward(gradient_ID)  # type: ignore[no-untyped-call]
        assert gathered.grad is not None
        gathered.grad = group.sum(gathered.grad) / group.size
        table.step(RATE)

    return step


def torchrecs(weight: Tensor, group: Group) -> tuple[Step, Tensor]:
    """The step, and this worker's part of the rows: bags of one id each, which are no slower than its collection of single vectors."""
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
    from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
    from torchrec.distributed.sharding_plan import construct_module_sharding_plan, row_wise
    from torchrec.distributed.types import ShardingEnv

    table = EmbeddingBagConfig(name="table", embedding_dim=DIM, num_embeddings=len(weight), feature_names=["item"])
    bags = EmbeddingBagCollection(device=torch.device("meta"), tables=[table])
    sharder = EmbeddingBagCollectionSharder({"optimizer": EmbOptimType.EXACT_ROWWISE_ADAGRAD, "learning_rate": RATE, "eps": EPSILON})
    size = {"local_size": group.size, "world_size": group.size}
    plan = construct_module_sharding_plan(bags, {"table": row_wise(compute_kernel="fused")}, sharder=sharder, device_type="cpu", **size)
    sharded = sharder.shard(bags, plan, ShardingEnv.from_process_group(distributed.group.WORLD), torch.device("cpu"))
    (shard,) = sharded.state_dict()["embedding_bags.table.weight"].local_shards()
    first = shard.metadata.shard_offsets[0]
    shard.tensor.copy_(weight[first : first + len(shard.tensor)])
    lengths = torch.ones(IDS, dtype=torch.int32)

    def step(ids_WI: Tensor, gradient_ID: Tensor) -> None:
        named = KeyedJaggedTensor(keys=["item"], values=ids_WI[group.rank], lengths=lengths)
        sharded(named).wait()["item"].backward(gradient_ID)

    return step, shard.tensor


def work(rank: int, port: int, rows: int, folder: str) -> None:
    """One worker of `rank`: runs all implementations in turns over gloo, checks that rows agree, and rank 0 writes the times."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(WORKERS)}
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    group, rng = Group(rank=rank, size=WORKERS), torch.Generator().manual_seed(0)
    weight = torch.randn(rows, DIM, generator=rng)
    first, stop = rank * rows // WORKERS, (rank + 1) * rows // WORKERS
    sharded = RowwiseAdagradTable(weight[first:stop].clone(), ShardRange(group=group, total=rows, first=first))
    table = RowwiseAdagradTable(weight)
    steps: dict[str, Step] = {WHOLE: ours(table, group), SHARDED: ours(sharded, group)}
    parts = {WHOLE: table.weight[first:stop], SHARDED: sharded.weight}
    if has_torchrec():
        steps[TORCHREC], parts[TORCHREC] = torchrecs(weight, group)
    elapsed: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(WARM_UP + TURNS):
        ids = torch.randint(0, rows, (WORKERS, IDS), generator=rng)
        gradients = torch.randn(WORKERS, IDS, DIM, generator=rng)
        for name, step in steps.items():
            distributed.barrier()
            started = time.process_time()
            step(ids, gradients[rank])
            if turn >= WARM_UP:
                elapsed[name].append(time.process_time() - started)
    for part in parts.values():
        torch.testing.assert_close(part, parts[SHARDED], rtol=1e-4, atol=1e-5)
    kept = {name: part.numel() + len(part) for name, part in parts.items()} | {WHOLE: rows * (DIM + 1)}
    found: dict[str, Any] = {name: {"seconds": times, "mb": kept[name] * 4 / 1e6} for name, times in elapsed.items()}
    torch.save(found, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def has_torchrec() -> bool:
    """Whether TorchRec is installed, the peer."""
    return find_spec("torchrec") is not None


def measured(rows: int) -> dict[str, tuple[float, float]]:
    """Of each, the CPU ms of a step of all workers together, the median of the turns, and the MB that a worker keeps."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        multiprocessing.spawn(work, args=(port, rows, folder), nprocs=WORKERS)  # type: ignore[attr-defined, no-untyped-call]
        found = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(WORKERS)]
    return {
        name: (1e3 * median(map(sum, zip(*(one[name]["seconds"] for one in found), strict=True))), found[0][name]["mb"])
        for name in found[0]
    }


def main(arguments: list[str] | None = None) -> int:
    """Print CPU ms per step of both workers and MB per worker of each implementation and table size; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="sizes of the table (default: %(default)s)")
    options = parser.parse_args(arguments)
    if not has_torchrec():
        print(f"{SKIPPED} torchrec, which is left out: python {__file__} --help has the command that installs it")
    print(f"CPU ms of a step of {WORKERS} workers with {IDS:,} ids x {DIM} each, medians of {TURNS} turns")
    for rows in options.rows:
        found = measured(rows)
        own = found[SHARDED][0]
        parts = ", ".join(f"{name} {ms:.1f} ({ms / own:.1f}x, {mb:,.0f} MB a worker)" for name, (ms, mb) in found.items())
        print(f"{rows:>12,} rows: {parts}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
