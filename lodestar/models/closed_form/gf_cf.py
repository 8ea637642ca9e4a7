"""GF-CF: a closed-form graph filter, the linear filter and an ideal low-pass filter on the normalised user-item matrix.

Shen et al., "How powerful is graph convolution for recommendation?" (GF-CF), CIKM 2021, arXiv:2108.07567. The order of interactions is
ignored.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from lodestar.models.closed_form.counts import Sequences, Weights, binary_user_item
from lodestar.schema.arrays import Float32, Floats


@dataclass(kw_only=True)
class GFCF:
    """GF-CF (Shen et al. 2021). The ideal low-pass filter keeps the `frequencies` lowest ones, weighted by `ideal_weight`.

    Defaults are best on MovieLens-100K's validation set.
    """

    frequencies: int = 64
    ideal_weight: float = 1.0
    seed: int = 0

    def fit(self, sequences: Sequences, num_items: int, weights: Weights = ()) -> Self:
        """Fit on one sequence per user, of item indices below `num_items`, whose interactions may have weights."""
        interactions = binary_user_item(sequences, num_items, weights)
        root_user_degree, of_item = (np.maximum(np.asarray(interactions.sum(axis=axis)).ravel(), 1) ** 0.5 for axis in (1, 0))
        self.smoothed = (sparse.diags(1 / root_user_degree) @ interactions @ sparse.diags(1 / of_item)).tocsr().astype(np.float32)
        self.of_item = of_item.astype(np.float32)
        count = min(self.frequencies, min(interactions.shape) - 1)
        start = np.random.default_rng(self.seed).standard_normal(min(interactions.shape)).astype(np.float32)
        self.lowest: Floats = svds(self.smoothed, k=count, v0=start)[2] if count > 0 else np.zeros((0, num_items), dtype=np.float32)
        return self

    def score(self, histories: Sequences) -> Float32[Floats, "histories items"]:
        """Scores of all items, one row per history, float32 [histories, items]; higher is better."""
        signal = binary_user_item(histories, len(self.of_item))
        linear = (signal @ self.smoothed.T) @ self.smoothed
        ideal = (signal.multiply(1 / self.of_item).tocsr() @ self.lowest.T) @ self.lowest * self.of_item
        scores: Floats = linear.toarray() + self.ideal_weight * ideal
        return scores.astype(np.float32)
