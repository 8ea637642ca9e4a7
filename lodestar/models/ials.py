"""iALS: each user and each item a vector whose products are near 1 where the item was taken and near 0 elsewhere, found by turns.

Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008; with the regularisation by frequency of Rendle
et al., "Revisiting the performance of iALS on item recommendation benchmarks", RecSys 2022. Order in time does not count.

Letters in shapes: U users, N items, D dimensions, K items of one history.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import linalg

from lodestar.models.counts import Counts, Floats, Sequences, taken_once


@dataclass(kw_only=True)
class IALS:
    """`unobserved` is what a pair that was not taken weighs beside one that was. A history that is new is folded in exactly.

    What stands here was found on MovieLens-100K's validation items.
    """

    dim: int = 128
    unobserved: float = 0.3
    regularisation: float = 0.01
    epochs: int = 10
    seed: int = 0

    def fit(self, sequences: Sequences, num_items: int) -> Self:
        taken = taken_once(sequences, num_items)
        by_item = taken.T.tocsr()
        chance = np.random.default_rng(self.seed)
        self.items: Floats = (chance.standard_normal((num_items, self.dim)) / self.dim).astype(np.float32)
        for _ in range(self.epochs):
            users = self._solved(taken, self.items)
            self.items = self._solved(by_item, users)
        return self

    def score(self, histories: Sequences) -> Floats:
        """One row per history, [histories, items]; higher is better."""
        taken = taken_once(histories, len(self.items))
        scores: Floats = self._solved(taken, self.items) @ self.items.T
        return scores

    def _solved(self, taken: Counts, others: Floats) -> Floats:
        """The vectors of rows, given those of columns: for each row the ridge regression that the loss asks for."""
        gram = self.unobserved * (others.T @ others)
        found = np.zeros((taken.shape[0], others.shape[1]), dtype=np.float32)
        diagonal = np.diag_indices(others.shape[1])
        for row in range(taken.shape[0]):
            own_KD = others[taken.indices[taken.indptr[row] : taken.indptr[row + 1]]]
            if len(own_KD) == 0:
                continue
            normal = gram + own_KD.T @ own_KD
            normal[diagonal] += self.regularisation * (len(own_KD) + self.unobserved * len(others))
            found[row] = linalg.lapack.sposv(normal, own_KD.sum(axis=0))[1]
        return found
