"""EASE: every item foretold from all others by one linear map, found in closed form.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, arXiv:1905.03375. Order in time does not count.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from lodestar import memory
from lodestar.errors import ConfigError
from lodestar.models.counts import Floats, Sequences, user_item

REGULARISATIONS = (50.0, 100.0, 250.0, 500.0, 1000.0)
SMALLER = "Take a recipe that holds no number per pair of items: sasrec, gsasrec or graph_filter."
LARGEST_CATALOGUE = 20_000  # the map holds a number per pair of items: 1.6 GB here, and minutes of one core


@dataclass(kw_only=True)
class EASE:
    """`regularisation` is what the closed form adds to each item's count; 100 was found on MovieLens-100K's validation items."""

    regularisation: float = 100.0

    def fit(self, sequences: Sequences, num_items: int) -> Self:
        """EnvironmentFault E185 where the memory for it is not free."""
        memory.require(bytes_needed(num_items), f"EASE of {num_items:,} items", SMALLER)
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


def bytes_needed(num_items: int) -> int:
    """The memory of fitting: two matrices of float32 by pairs of items, 8.7 GB of 33,000 items."""
    return 2 * 4 * num_items**2


@torch.no_grad()
def inverse(positive: Floats) -> Floats:
    """Of a symmetric positive definite matrix, on a GPU where there is one; ConfigError E187 where it is not.

    Torch's LAPACK, since scipy's `spotrf` ends in a segmentation fault from 33,000 rows on (OpenBLAS with two threads and AVX-512).
    """
    matrix = torch.from_numpy(positive)
    is_on_gpu = torch.cuda.is_available()
    factor, failed = torch.linalg.cholesky_ex(matrix.cuda() if is_on_gpu else matrix)
    if int(failed):
        raise ConfigError("E187 the counts of items have no inverse in float32; take a larger regularisation, or another recipe")
    whole: Floats = torch.cholesky_inverse(factor, out=factor).cpu().numpy().T  # symmetric, and so in rows
    if is_on_gpu:
        del factor
        torch.cuda.empty_cache()
    return whole
