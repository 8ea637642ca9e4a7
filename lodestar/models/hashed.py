"""Vectors of items as sums of rows that their ids name by hashing: how many there are to learn does not depend on the catalogue.

Svenstrup, Hansen and Winther, "Hash Embeddings for Efficient Word Representations" (NIPS 2017, arXiv:1709.03933), without its weights.
Two items share a vector only if they share both rows. An item that training never saw has one too, if only by chance.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import lsmr
from torch import Tensor, nn

ROWS_EACH = 2


class Hashed(nn.Module):
    """In place of a table of `num_embeddings` rows; `weight` is what such a table would be."""

    def __init__(self, ids: Sequence[str], num_rows: int, dim: int) -> None:
        super().__init__()
        self.num_embeddings = len(ids)
        self.rows = nn.Embedding(num_rows, dim)
        nn.init.normal_(self.rows.weight, std=(ROWS_EACH * dim) ** -0.5)
        self.register_buffer("named", torch.from_numpy(rows_of(ids, num_rows)), persistent=False)

    @property
    def weight(self) -> Float[Tensor, "items dim"]:
        named_N2: Tensor = self.get_buffer("named")
        summed_ND: Tensor = self.rows(named_N2).sum(dim=1)
        return summed_ND

    @torch.no_grad()
    def begin_at(self, vectors_ND: Float[Tensor, "items dim"]) -> None:
        """As near to these vectors as so few rows come, by least squares."""
        named = self.get_buffer("named").cpu().numpy()
        items = np.repeat(np.arange(len(named)), ROWS_EACH)
        sums = sparse.csr_matrix((np.ones(named.size), (items, named.ravel())), shape=(len(named), self.rows.num_embeddings))
        columns = [lsmr(sums, column, damp=0.1)[0] for column in vectors_ND.double().cpu().numpy().T]
        self.rows.weight.copy_(torch.from_numpy(np.stack(columns, axis=1)))


def rows_of(ids: Sequence[str], num_rows: int) -> NDArray[np.int64]:
    """The rows that each id names, [ids, 2]."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8 * ROWS_EACH).digest() for name in ids)
    return (np.frombuffer(digests, dtype=np.uint64).reshape(-1, ROWS_EACH) % num_rows).astype(np.int64)
