"""Scoring 100,000 x 64 items: CPU time of item tables as a share of torch's float32 product, on one thread.

Peers: torch's float32 product, torch's dynamically quantised int8 layer, and onnxruntime's MatMulNBits, the fused int4 kernel on our own
codes. All read the same vectors, take turns, and are compared by the median. The floor is reading the table's bytes once.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy loads its linear algebra

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lodestar.bundle.item_table import PRECISIONS, ItemTable, quantise
from lodestar.engine import onnx_runtime
from lodestar.schema.arrays import Floats

NUM_ITEMS, DIM = 100_000, 64
BATCHES = (1, 16, 64)
ROUNDS = 30

Score = Callable[[Floats], Floats]


def main() -> None:
    """Print CPU ms of scoring all items by each implementation and batch size, after the floor of reading the table once."""
    torch.set_num_threads(1)
    vectors_ND = np.random.default_rng(0).normal(size=(NUM_ITEMS, DIM)).astype(np.float32)
    tables = {precision: quantise(vectors_ND, precision) for precision in PRECISIONS}
    scorers: dict[str, Score] = {"torch float32": torch_float(vectors_ND)}
    scorers |= {f"ours {precision}": table.scores for precision, table in tables.items()}
    scorers |= {"torch dynamic int8": torch_int8(vectors_ND), "onnxruntime int4": onnxruntime_int4(tables["int4"])}
    for precision, table in tables.items():
        print(f"floor {precision}: {table.num_bytes:,} bytes, read in {1e3 * reading_s(table):.2f} ms")
    for batch in BATCHES:
        users_BD = np.random.default_rng(1).normal(size=(batch, DIM)).astype(np.float32)
        report(batch, measured(scorers, users_BD))


def measured(scorers: dict[str, Score], users_BD: Floats) -> dict[str, float]:
    """Median CPU seconds of each, interleaved."""
    times: dict[str, list[float]] = {name: [] for name in scorers}
    for _ in range(ROUNDS):
        for name, score in scorers.items():
            times[name].append(spent_s(score, users_BD))
    return {name: statistics.median(spent) for name, spent in times.items()}


def report(batch: int, seconds: dict[str, float]) -> None:
    """Print CPU ms of each implementation for a batch of `batch` users, and its ratio to the first, the peer."""
    peer, reference_s = next(iter(seconds.items()))
    for name, spent_s in seconds.items():
        print(f"{batch:3d} users  {name:20s} {1e3 * spent_s:7.2f} ms CPU  {spent_s / reference_s:5.2f} x {peer}")


def torch_float(vectors_ND: Floats) -> Score:
    """Peer: torch's float32 product of users [B, D] with the table [N, D], scores [B, N]."""
    weights_DN = torch.from_numpy(vectors_ND).T
    return lambda users_BD: (torch.from_numpy(users_BD) @ weights_DN).numpy()


def torch_int8(vectors_ND: Floats) -> Score:
    """Peer: torch's dynamically quantised int8 linear layer with the table as its weights."""
    layer = torch.nn.Linear(DIM, NUM_ITEMS, bias=False)
    layer.weight.data = torch.from_numpy(vectors_ND)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces a successor in another package
        quantise_layers: Callable[..., torch.nn.Module] = torch.ao.quantization.quantize_dynamic
        quantised = quantise_layers(torch.nn.Sequential(layer), {torch.nn.Linear}, dtype=torch.qint8)

    def score(users_BD: Floats) -> Floats:
        with torch.no_grad():
            scores: Floats = quantised(torch.from_numpy(users_BD)).numpy()
        return scores

    return score


def onnxruntime_int4(table: ItemTable) -> Score:
    """Bytes and steps as they are: a step per row is one block, and which half of a row a code is from does not change the time."""
    weights = [numpy_helper.from_array(table.codes.reshape(NUM_ITEMS, 1, -1), "codes"), numpy_helper.from_array(table.scale, "scale")]
    inputs = ["users", "codes", "scale"]
    node = helper.make_node("MatMulNBits", inputs, ["scores"], domain="com.microsoft", K=DIM, N=NUM_ITEMS, bits=4, block_size=DIM)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]) for name, width in (("users", DIM), ("scores", NUM_ITEMS))
    ]
    graph = helper.make_graph([node], "scores", ends[:1], ends[1:], weights)
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    content = helper.make_model(graph, opset_imports=sets, ir_version=9).SerializeToString()
    session = onnx_runtime.session(content, threads=1)
    return lambda users_BD: session.run(None, {"users": users_BD})[0]


def reading_s(table: ItemTable) -> float:
    """CPU seconds to look at every byte of the codes once."""
    words = table.codes.reshape(-1).view(np.int64)
    return statistics.median(spent_s(np.bitwise_or.reduce, words) for _ in range(ROUNDS))


def spent_s(work: Callable[[NDArray[Any]], object], given: NDArray[Any]) -> float:
    """CPU seconds of one call, all threads of the process together."""
    start = time.process_time()
    work(given)
    return time.process_time() - start


if __name__ == "__main__":
    main()
