"""EASE: every item foretold from all others by one linear map, found in closed form.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, arXiv:1905.03375. Order in time does not count.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import linalg

from lodestar.models.counts import Floats, Sequences, user_item

REGULARISATIONS = (50.0, 100.0, 250.0, 500.0, 1000.0)
LARGEST_CATALOGUE = 20_000  # the map holds a number per pair of items: 1.6 GB here, and minutes of one core


@dataclass(kw_only=True)
class EASE:
    """`regularisation` is what the closed form adds to each item's count; 100 was found on MovieLens-100K's validation items."""

    regularisation: float = 100.0

    def fit(self, sequences: Sequences, num_items: int) -> Self:
        taken = user_item(sequences, num_items)
        gram = (taken.T @ taken).toarray()
        gram[np.diag_indices(num_items)] += self.regularisation
        precision = inverse(gram)
        weights = np.divide(precision, -np.diag(precision), out=precision)
        np.fill_diagonal(weights, 0)
        self.weights: Floats = weights
        return self

    def score(self, histories: Sequences) -> Floats:
        """One row per history, [histories, items]; higher is better."""
        scores: Floats = user_item(histories, len(self.weights)) @ self.weights
        return scores


def inverse(positive: Floats) -> Floats:
    """Of a symmetric positive definite matrix, in its own memory: a third of the work of a general inverse."""
    factor, _ = linalg.lapack.spotrf(positive.T, lower=False, overwrite_a=True)
    upper, _ = linalg.lapack.spotri(factor, lower=False, overwrite_c=True)
    inverse: Floats = upper.T
    rows = np.arange(len(inverse))
    for row in rows:
        inverse[row, row + 1 :] = inverse[row + 1 :, row]
    return inverse
