"""Reranker: runs a bundle's ranker (ONNX) on the candidates of retrieval."""

import numpy as np
from numpy.typing import NDArray

from lodestar.bundle.ranker import CANDIDATES, COUNTS, HISTORY, MASK, SCORES, Ranker
from lodestar.engine.onnx_runtime import session
from lodestar.schema import ranker_inputs
from lodestar.schema.arrays import Float32, Floats, Int, Integers


class Reranker:
    """ONNX session of a ranker; safe to share between threads."""

    def __init__(self, ranker: Ranker, threads: int) -> None:
        self.ranker = ranker
        self._session = session(ranker.graph, threads)
        self._columns = [ranker_inputs.NAMES.index(name) for name in ranker.count_names]
        self._uses_all_counts = ranker.count_names == ranker_inputs.NAMES

    def score(
        self,
        history_rows: Int[Integers, " history"],
        rows: Int[NDArray[np.intp], " candidates"],
        counts_CF: Float32[Floats, "candidates counts"],
    ) -> Float32[Floats, " candidates"]:
        """Score offsets of the candidates, [C]; history and candidates are rows of the item table.

        The history is not empty, oldest first; `counts_CF` [C, F] are the features `ranker_inputs.NAMES`.
        """
        recent = self.ranker.vectors[history_rows[-self.ranker.max_length :]].astype(np.float32)
        inputs = {
            HISTORY: recent[None],
            MASK: np.ones((1, len(recent)), dtype=np.bool_),
            CANDIDATES: self.ranker.vectors[rows].astype(np.float32)[None],
            COUNTS: (counts_CF if self._uses_all_counts else counts_CF[:, self._columns])[None],
        }
        found: Floats = self._session.run([SCORES], inputs)[0][0]
        return found
