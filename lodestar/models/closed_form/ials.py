"""iALS: implicit matrix factorisation by alternating least squares; dot products near 1 for interactions, near 0 elsewhere.

Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008; with the frequency-scaled regularisation of
Rendle et al., "Revisiting the performance of iALS on item recommendation benchmarks", RecSys 2022, arXiv:2110.14037. The order of
interactions is ignored.

Letters in shapes: U users, N items, D dimensions, K items of one history.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import linalg

from lodestar.models.closed_form.counts import Counts, Sequences, Weights, binary_user_item
from lodestar.schema.arrays import Float32, Floats


@dataclass(kw_only=True)
class IALS:
    """Implicit ALS (Hu et al. 2008). `unobserved_weight` is the loss weight of a pair without interaction, relative to one with.

    Histories are folded in exactly, those of unknown users too. Defaults are best on MovieLens-100K's validation set.
    """

    dim: int = 128
    unobserved_weight: float = 0.3
    regularisation: float = 0.01
    epochs: int = 10
    seed: int = 0

    def fit(self, sequences: Sequences, num_items: int, weights: Weights = ()) -> Self:
        """Fit item vectors `items` [items, dim] on one sequence per user, in `epochs` alternations; weights are confidences (Hu et al.)."""
        interactions = binary_user_item(sequences, num_items, weights)
        by_item = interactions.T.tocsr()
        rng = np.random.default_rng(self.seed)
        self.items: Floats = (rng.standard_normal((num_items, self.dim)) / self.dim).astype(np.float32)
        for _ in range(self.epochs):
            users = self._solve(interactions, self.items)
            self.items = self._solve(by_item, users)
        return self

    def score(self, histories: Sequences) -> Float32[Floats, "histories items"]:
        """Scores of all items, one row per history, float32 [histories, items]; higher is better."""
        interactions = binary_user_item(histories, len(self.items))
        scores: Floats = self._solve(interactions, self.items) @ self.items.T
        return scores

    def _solve(self, interactions: Counts, other_side: Floats) -> Floats:
        """Vectors of one side given the other side's, [rows, D]: one ridge regression for each row of `interactions`."""
        gram = self.unobserved_weight * (other_side.T @ other_side)
        vectors = np.zeros((interactions.shape[0], other_side.shape[1]), dtype=np.float32)
        diagonal, is_binary = np.diag_indices(other_side.shape[1]), bool((interactions.data == 1).all())
        for row in range(interactions.shape[0]):
            entries = slice(interactions.indptr[row], interactions.indptr[row + 1])
            observed_KD = other_side[interactions.indices[entries]]
            if len(observed_KD) == 0:
                continue
            confident_KD = observed_KD if is_binary else observed_KD * interactions.data[entries, None]
            normal = gram + confident_KD.T @ observed_KD
            normal[diagonal] += self.regularisation * (len(observed_KD) + self.unobserved_weight * len(other_side))
            vectors[row] = linalg.lapack.sposv(normal, confident_KD.sum(axis=0))[1]
        return vectors
