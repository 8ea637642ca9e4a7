"""A bundle's ranker: what puts the best of retrieval in their last order, read with numpy alone.

    ranker.onnx   history [B, T, W] and its mask, candidates [B, C, W] and counts [B, C, F] in, what to add to their scores out, [B, C]
    ranker.npz    a row for each item, [N, W], and how many candidates and how much of a history it looks at

F are those of `lodestar.schema.pairs.NAMES` that the bundle names, in its order.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lodestar.arrays import Arrays, Kinds
from lodestar.schema import pairs

GRAPH, ROWS = "ranker.onnx", "ranker.npz"
VECTORS, REACH = "vectors", "candidates_and_length"
KINDS: Kinds = {VECTORS: ("f", (None, None)), REACH: ("iu", (2,))}  # of numpy's type, and shapes: None is any length
HISTORY, MASK, CANDIDATES, COUNTS, WORTH = "history", "mask", "candidates", "counts", "worth"


@dataclass(frozen=True, kw_only=True)
class Ranker:
    """`vectors` float16 [N, W]; of a history the last `max_length` items speak; `counts` are the names of the numbers it takes."""

    graph: bytes
    vectors: NDArray[np.float16]
    candidates: int
    max_length: int
    counts: tuple[str, ...] = pairs.NAMES

    def arrays(self) -> Arrays:
        """What `from_arrays` takes back, beside the graph."""
        return {VECTORS: self.vectors, REACH: np.array([self.candidates, self.max_length])}

    @classmethod
    def from_arrays(cls, graph: bytes, arrays: Arrays, counts: tuple[str, ...] = pairs.NAMES) -> Self:
        candidates, max_length = (int(value) for value in arrays[REACH])
        return cls(graph=graph, vectors=arrays[VECTORS].astype(np.float16), candidates=candidates, max_length=max_length, counts=counts)
