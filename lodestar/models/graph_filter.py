"""A graph filter: a history as a signal on the graph of users and items, smoothed by neighbours and by the lowest frequencies.

Shen et al., "How powerful is graph convolution for recommendation?" (GF-CF), CIKM 2021. There is nothing to train: what a learnt graph
network keeps of a signal is written down. Order in time does not count.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from lodestar.models.counts import Floats, Sequences, taken_once


@dataclass(kw_only=True)
class GraphFilter:
    """`frequencies` of the lowest are kept whole, with the weight `ideal` beside the neighbours'.

    What stands here was found on MovieLens-100K's validation items.
    """

    frequencies: int = 64
    ideal: float = 1.0
    seed: int = 0

    def fit(self, sequences: Sequences, num_items: int) -> Self:
        taken = taken_once(sequences, num_items)
        of_user, of_item = (np.maximum(np.asarray(taken.sum(axis=axis)).ravel(), 1) ** 0.5 for axis in (1, 0))
        self.smoothed = (sparse.diags(1 / of_user) @ taken @ sparse.diags(1 / of_item)).tocsr().astype(np.float32)
        self.of_item = of_item.astype(np.float32)
        count = min(self.frequencies, min(taken.shape) - 1)
        start = np.random.default_rng(self.seed).standard_normal(min(taken.shape)).astype(np.float32)
        self.lowest: Floats = svds(self.smoothed, k=count, v0=start)[2] if count > 0 else np.zeros((0, num_items), dtype=np.float32)
        return self

    def score(self, histories: Sequences) -> Floats:
        """One row per history, [histories, items]; higher is better."""
        signal = taken_once(histories, len(self.of_item))
        near = (signal @ self.smoothed.T) @ self.smoothed
        low = (signal.multiply(1 / self.of_item).tocsr() @ self.lowest.T) @ self.lowest * self.of_item
        scores: Floats = near.toarray() + self.ideal * low
        return scores.astype(np.float32)
