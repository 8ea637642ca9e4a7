"""Item vectors to begin with: the main directions of who is taken near whom.

On small catalogues this is worth more than any other knob: what counting knows, the Transformer need not find again.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import eigsh

from lodestar.models.counts import Sequences, followers

WINDOW = 8


def cooccurrence_vectors(sequences: Sequences, num_items: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Eigenvectors of the degree-normalised counts of pairs within a window, [items, dim], with variance 1 / dim.

    What has no company, or more dimensions than directions, gets small random values.
    """
    ahead = followers(sequences, num_items, WINDOW)
    pairs = ahead + ahead.T
    scale = sparse.diags(1 / np.sqrt(np.maximum(np.asarray(pairs.sum(axis=1)).ravel(), 1)))
    chance = np.random.default_rng(seed)
    vectors = chance.normal(scale=0.1 * dim**-0.5, size=(num_items, dim))
    rank = min(dim, num_items - 1)
    if rank > 0 and pairs.nnz > 0:
        strength, directions = eigsh((scale @ pairs @ scale).astype(np.float64), k=rank, which="LA", v0=chance.uniform(size=num_items))
        spread = directions * np.sqrt(np.abs(strength))
        vectors[:, :rank] += spread / max(float(spread.std()), 1e-12) * dim**-0.5
    return vectors.astype(np.float32)
