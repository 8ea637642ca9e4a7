"""Initialise item vectors from a spectral decomposition of co-occurrence counts.

On small catalogues this initialisation gains more NDCG@10 than any other hyperparameter.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import eigsh

from lodestar.models.closed_form.counts import Sequences, cooccurrence_counts
from lodestar.schema.arrays import Doubles, Float32, Float64, Floats

WINDOW = 8
DAMPING = 0.4  # power of degrees that divide counts; between .3 and .5, the co-occurrence model's for candidates and seen items


@dataclass(frozen=True, kw_only=True)
class SpectralBasis:
    """Orthonormal columns [items, rank] and their eigenvalues [rank] (`strength`), the largest last."""

    columns: Float64[Doubles, "items rank"]
    strength: Float64[Doubles, " rank"]


def spectral_basis(sequences: Sequences, num_items: int, rank: int, seed: int) -> SpectralBasis:
    """Top eigenvectors of degree-damped co-occurrence counts within WINDOW positions; fewer than `rank` on a small catalogue."""
    ahead = cooccurrence_counts(sequences, num_items, WINDOW)
    pairs = ahead + ahead.T
    rank = min(rank, num_items - 1)
    if rank < 1 or pairs.nnz == 0:
        return SpectralBasis(columns=np.zeros((num_items, 0)), strength=np.zeros(0))
    scale = sparse.diags(np.maximum(np.asarray(pairs.sum(axis=1)).ravel(), 1) ** -DAMPING)
    damped = (scale @ pairs @ scale).astype(np.float64)
    strength, columns = eigsh(damped, k=rank, which="LA", v0=np.random.default_rng(seed).uniform(size=num_items))
    return SpectralBasis(columns=fix_signs(columns), strength=strength)


def fix_signs(columns: Float64[Doubles, "items rank"]) -> Float64[Doubles, "items rank"]:
    """Flip columns so that the entry of largest magnitude is positive, since an eigenvector's sign is arbitrary."""
    largest = columns[np.abs(columns).argmax(axis=0), np.arange(columns.shape[1])]
    found: NDArray[np.float64] = columns * np.where(largest < 0, -1.0, 1.0)
    return found


def item_vectors(basis: SpectralBasis, dim: int, seed: int) -> Float32[Floats, "items {dim}"]:
    """Initial item vectors float32 [items, dim]: columns scaled by the root of their eigenvalues to variance 1 / dim, plus small noise."""
    vectors = np.random.default_rng(seed).normal(scale=0.1 * dim**-0.5, size=(len(basis.columns), dim))
    rank = min(dim, basis.columns.shape[1])
    if rank:
        spread = (basis.columns * np.sqrt(np.abs(basis.strength)))[:, -rank:]
        vectors[:, :rank] += spread / max(float(spread.std()), 1e-12) * dim**-0.5
    return vectors.astype(np.float32)
