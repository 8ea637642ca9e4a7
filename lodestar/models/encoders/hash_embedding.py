"""Hash embedding of items: an item vector is the sum of rows picked by hashes of its id, so the table's size is fixed.

Svenstrup, Hansen and Winther, "Hash Embeddings for Efficient Word Representations", NIPS 2017, arXiv:1709.03933, without importance
weights. Two items share a vector only if they share both rows. An item that training never saw would have the vectors of those with whom it
shares rows: it gets none (`zero`).
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import lsmr
from torch import Tensor, nn

from lodestar.schema.arrays import Float, Int64, Longs

NUM_HASHES = 2


class HashEmbedding(nn.Module):
    """Drop-in for `nn.Embedding` over `num_embeddings` items, with `num_rows` rows; `weight` is the resulting item table."""

    def __init__(self, ids: Sequence[str], num_rows: int, dim: int) -> None:
        super().__init__()
        self.num_embeddings = len(ids)
        self.rows = nn.Embedding(num_rows, dim)
        nn.init.normal_(self.rows.weight, std=(NUM_HASHES * dim) ** -0.5)
        self.register_buffer("named", torch.from_numpy(hash_rows(ids, num_rows)), persistent=False)
        self.register_buffer("is_seen", torch.ones(len(ids), 1), persistent=False)

    @property
    def weight(self) -> Float[Tensor, "items dim"]:
        """All items' vectors, computed from the rows (differentiable)."""
        rows_N2: Tensor = self.get_buffer("named")
        summed_ND: Tensor = self.rows(rows_N2).sum(dim=1) * self.get_buffer("is_seen")
        return summed_ND

    @torch.no_grad()
    def zero(self, has_interactions_N1: Float[Tensor, "items 1"]) -> None:
        """Give items without interactions (0 in `has_interactions_N1`, else 1) the zero vector, instead of that of others."""
        self.get_buffer("is_seen").copy_(has_interactions_N1)

    @torch.no_grad()
    def init_item_vectors(self, vectors_ND: Float[Tensor, "items dim"]) -> None:
        """Initialise rows so that their sums approximate these item vectors, by damped least squares (LSMR)."""
        named = self.get_buffer("named").cpu().numpy()
        items = np.repeat(np.arange(len(named)), NUM_HASHES)
        sums = sparse.csr_matrix((np.ones(named.size), (items, named.ravel())), shape=(len(named), self.rows.num_embeddings))
        columns = [lsmr(sums, column, damp=0.1)[0] for column in vectors_ND.double().cpu().numpy().T]
        self.rows.weight.copy_(torch.from_numpy(np.stack(columns, axis=1)))


def hash_rows(ids: Sequence[str], num_rows: int) -> Int64[Longs, "ids hashes"]:
    """Row indices of each id by BLAKE2b, int64 [ids, NUM_HASHES]."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8 * NUM_HASHES).digest() for name in ids)
    return (np.frombuffer(digests, dtype=np.uint64).reshape(-1, NUM_HASHES) % num_rows).astype(np.int64)
