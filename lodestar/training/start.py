"""What counting finds before any training: the main directions of who is taken near whom.

On small catalogues item vectors that begin there are worth more than any other knob: what counting knows, the Transformer need not find
again.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import eigsh

from lodestar.models.counts import Sequences, followers

WINDOW = 8
DAMPING = 0.4  # between .3 and .5, which co-occurrence uses for candidates and for seen items

Vectors = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Directions:
    """Orthonormal columns [items, rank] and their strengths [rank], the strongest last."""

    columns: NDArray[np.float64]
    strength: NDArray[np.float64]


def directions(sequences: Sequences, num_items: int, rank: int, seed: int) -> Directions:
    """Eigenvectors of the counts of pairs within a window, damped by both items' degrees; fewer than `rank` on a small catalogue."""
    ahead = followers(sequences, num_items, WINDOW)
    pairs = ahead + ahead.T
    rank = min(rank, num_items - 1)
    if rank < 1 or pairs.nnz == 0:
        return Directions(columns=np.zeros((num_items, 0)), strength=np.zeros(0))
    scale = sparse.diags(np.maximum(np.asarray(pairs.sum(axis=1)).ravel(), 1) ** -DAMPING)
    damped = (scale @ pairs @ scale).astype(np.float64)
    strength, columns = eigsh(damped, k=rank, which="LA", v0=np.random.default_rng(seed).uniform(size=num_items))
    return Directions(columns=signed(columns), strength=strength)


def signed(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """With the largest entry of each column made positive: the sign of an eigenvector is the solver's whim."""
    largest = columns[np.abs(columns).argmax(axis=0), np.arange(columns.shape[1])]
    found: NDArray[np.float64] = columns * np.where(largest < 0, -1.0, 1.0)
    return found


def item_vectors(found: Directions, dim: int, seed: int) -> Vectors:
    """The directions by the root of their strength, [items, dim], with variance 1 / dim, and small random values beside them."""
    vectors = np.random.default_rng(seed).normal(scale=0.1 * dim**-0.5, size=(len(found.columns), dim))
    rank = min(dim, found.columns.shape[1])
    if rank:
        spread = (found.columns * np.sqrt(np.abs(found.strength)))[:, -rank:]
        vectors[:, :rank] += spread / max(float(spread.std()), 1e-12) * dim**-0.5
    return vectors.astype(np.float32)
