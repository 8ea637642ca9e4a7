"""Item-item neighbours: what is taken by the same users is alike.

Sarwar et al., "Item-based collaborative filtering", WWW 2001; all neighbours count, order in time does not. Where nothing but taken or
not is known, Pearson's correlation is that of two columns of 0 and 1: items that come together as chance would have it are not alike.
"""

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from scipy import sparse

from lodestar.data.histories import packed
from lodestar.models import large
from lodestar.models.counts import Counts, Floats, Sequences, taken_once, user_item
from lodestar.neighbours import ALL, Neighbours, strongest

MOST_OF_A_USER = 500  # the latest, where there are many interactions: what is counted grows with the square
Similarity = Literal["cosine", "jaccard", "pearson"]


@dataclass(kw_only=True)
class ItemKNN:
    """Scores an item by the sum of its similarities with the items of the history; those below 0 count as none."""

    similarity: Similarity = "cosine"

    def fit(self, sequences: Sequences, num_items: int) -> Self:
        """Of many interactions the strongest neighbours of each item are kept (see `lodestar.models.large`); `kept` says so."""
        taken = packed(sequences)
        is_large = int((taken.lengths.astype(np.float64) ** 2).sum()) > large.MOST_PAIRS
        if is_large:
            taken = replace(taken, start=np.maximum(taken.start, taken.end - MOST_OF_A_USER))
        counts = user_item(taken, num_items) if self.similarity == "cosine" else taken_once(taken, num_items)
        self.alike = _by_ranges(counts, self.similarity) if is_large else _alike(counts, 0, num_items, self.similarity)
        self.kept = large.KEPT if is_large else ""
        return self

    def score(self, histories: Sequences) -> Floats:
        """One row per history, [histories, items]; higher is better."""
        scores: Floats = (user_item(histories, self.alike.shape[0]) @ self.alike).toarray().astype(np.float32)
        return scores

    def neighbours(self, most: int) -> Neighbours:
        """The strongest `most` of each item; all of a history speak."""
        return strongest(self.alike, most, 1.0, recent=ALL, decay=1.0)


def _by_ranges(taken: Counts, similarity: Similarity) -> Counts:
    """The same, the strongest of each row, with no matrix of all pairs."""
    of_user = np.diff(taken.indptr).astype(np.int64)
    pairs_N = np.bincount(taken.indices, weights=np.repeat(of_user, of_user), minlength=taken.shape[1]).astype(np.int64)
    by_item = taken.T.tocsr()
    return large.by_ranges(pairs_N, lambda first, last: _alike(taken, first, last, similarity, by_item))


def _alike(taken: Counts, first: int, last: int, similarity: Similarity, by_item: Counts | None = None) -> Counts:
    """Of all items that a user took both of, [items, items], the rows from `first` to `last`."""
    of_some = taken.T if by_item is None else by_item[first:last]
    together = (of_some @ taken).tocsr().astype(np.float64)
    num_users, users = taken.shape[0], np.maximum(np.asarray(taken.multiply(taken).sum(axis=0), dtype=np.float64).ravel(), 1)
    row, column = first + np.repeat(np.arange(last - first), np.diff(together.indptr)), together.indices
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
