"""Item-item neighbours: what is taken by the same users is alike.

Sarwar et al., "Item-based collaborative filtering", WWW 2001; all neighbours count, order in time does not. Where nothing but taken or
not is known, Pearson's correlation is that of two columns of 0 and 1: items that come together as chance would have it are not alike.
"""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from scipy import sparse

from lodestar.models.counts import Counts, Floats, Sequences, taken_once, user_item
from lodestar.neighbours import ALL, Neighbours, strongest

Similarity = Literal["cosine", "jaccard", "pearson"]


@dataclass(kw_only=True)
class ItemKNN:
    """Scores an item by the sum of its similarities with the items of the history; those below 0 count as none."""

    similarity: Similarity = "cosine"

    def fit(self, sequences: Sequences, num_items: int) -> Self:
        taken = user_item(sequences, num_items) if self.similarity == "cosine" else taken_once(sequences, num_items)
        self.alike = _alike(taken, self.similarity)
        return self

    def score(self, histories: Sequences) -> Floats:
        """One row per history, [histories, items]; higher is better."""
        scores: Floats = (user_item(histories, self.alike.shape[0]) @ self.alike).toarray().astype(np.float32)
        return scores

    def neighbours(self, most: int) -> Neighbours:
        """The strongest `most` of each item; all of a history speak."""
        return strongest(self.alike, most, 1.0, recent=ALL, decay=1.0)


def _alike(taken: Counts, similarity: Similarity) -> Counts:
    """Of all items that a user took both of, [items, items]."""
    together = (taken.T @ taken).tocsr().astype(np.float64)
    num_users, users = taken.shape[0], np.maximum(together.diagonal(), 1)
    row, column = np.repeat(np.arange(len(users)), np.diff(together.indptr)), together.indices
    own, other, both = users[row], users[column], together.data
    if similarity == "cosine":
        values = both / np.sqrt(own * other)
    elif similarity == "jaccard":
        values = both / (own + other - both)
    else:
        spread = np.sqrt(own * (num_users - own) * other * (num_users - other))
        values = np.divide(num_users * both - own * other, spread, out=np.zeros_like(both), where=spread > 0)
    positive = np.where(row == column, 0, np.maximum(values, 0))
    alike = sparse.csr_matrix((positive, together.indices, together.indptr), shape=together.shape)
    alike.eliminate_zeros()
    return alike
