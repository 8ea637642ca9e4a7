"""A bundle's ranker ready to answer: what it adds to the scores of the best candidates."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar.onnx_runtime import session
from lodestar.ranker import CANDIDATES, COUNTS, HISTORY, MASK, WORTH, Ranker
from lodestar.schema import pairs

Floats = NDArray[np.float32]


class Reranker:
    """Safe to share between threads."""

    def __init__(self, ranker: Ranker, threads: int) -> None:
        self.ranker = ranker
        self._session = session(ranker.graph, threads)
        self._columns = [pairs.NAMES.index(name) for name in ranker.counts]
        self._takes_all = ranker.counts == pairs.NAMES

    def worth(self, history: NDArray[np.signedinteger[Any]], candidates: NDArray[np.intp], counts_CF: Floats) -> Floats:
        """Of each candidate (a row of the item table), [C]; a history that is not empty, oldest first; counts are `pairs.NAMES`."""
        recent = self.ranker.vectors[history[-self.ranker.max_length :]].astype(np.float32)
        given = {
            HISTORY: recent[None],
            MASK: np.ones((1, len(recent)), dtype=np.bool_),
            CANDIDATES: self.ranker.vectors[candidates].astype(np.float32)[None],
            COUNTS: (counts_CF if self._takes_all else counts_CF[:, self._columns])[None],
        }
        found: Floats = self._session.run([WORTH], given)[0][0]
        return found
