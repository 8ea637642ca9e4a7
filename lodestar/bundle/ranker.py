"""Ranker of a bundle: the second stage, which reorders the candidates of retrieval; read with numpy alone.

    ranker.onnx   in: history [B, T, W], its mask, candidates [B, C, W] and count features [B, C, F]; out: score offsets [B, C]
    ranker.npz    a vector per item, [N, W], the number of candidates and the maximum history length

F are the count features of `lodestar.schema.ranker_inputs.NAMES` that the bundle lists, in its order.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lodestar.io.npz import Arrays, Kinds
from lodestar.schema import ranker_inputs
from lodestar.schema.arrays import Float16

RANKER_GRAPH, RANKER_ROWS = "ranker.onnx", "ranker.npz"
VECTORS, LIMITS = "vectors", "candidates_and_length"
KINDS: Kinds = {VECTORS: ("f", (None, None)), LIMITS: ("iu", (2,))}  # dtype kinds and shapes; None is any length
HISTORY, MASK, CANDIDATES, COUNTS, SCORES = "history", "mask", "candidates", "counts", "scores"


@dataclass(frozen=True, kw_only=True)
class Ranker:
    """ONNX graph and item vectors (float16 [N, W]) of a ranker; it reads the last `max_length` items and the features `count_names`."""

    graph: bytes
    vectors: Float16[NDArray[np.float16], "_items _width"]
    candidates: int
    max_length: int
    count_names: tuple[str, ...] = ranker_inputs.NAMES

    def arrays(self) -> Arrays:
        """Arrays to save in ranker.npz; the inverse of `from_arrays`, without the graph."""
        return {VECTORS: self.vectors, LIMITS: np.array([self.candidates, self.max_length])}

    @classmethod
    def from_arrays(cls, graph: bytes, arrays: Arrays, count_names: tuple[str, ...] = ranker_inputs.NAMES) -> Self:
        """Ranker from its ONNX graph and the arrays of ranker.npz, checked against `KINDS` before."""
        candidates, max_length = (int(value) for value in arrays[LIMITS])
        return cls(
            graph=graph, vectors=arrays[VECTORS].astype(np.float16), candidates=candidates, max_length=max_length, count_names=count_names
        )
