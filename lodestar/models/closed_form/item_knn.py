"""Item-kNN: item-based collaborative filtering by cosine, Jaccard or Pearson similarity of items' user columns.

Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001. All neighbours count; the order of interactions
is ignored. Pearson is the correlation of binary columns: items that co-occur as often as independent ones have similarity 0.
"""

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from scipy import sparse

from lodestar.bundle.neighbours import ALL, NeighbourTable, top_k
from lodestar.data.split.ragged_array import from_lists
from lodestar.models.closed_form import blocked_counts
from lodestar.models.closed_form.counts import Counts, Sequences, Weights, binary_user_item, user_item
from lodestar.schema.arrays import Float32, Floats

MAX_HISTORY = 500  # latest items of a user that count in a large data set: the number of pairs grows with its square
Similarity = Literal["cosine", "jaccard", "pearson"]


@dataclass(kw_only=True)
class ItemKNN:
    """Item-kNN (Sarwar et al. 2001): an item's score is the sum of its similarities with the history's items, negative ones as 0."""

    similarity: Similarity = "cosine"

    def fit(self, sequences: Sequences, num_items: int, weights: Weights = ()) -> Self:
        """Fit item-item similarities on one sequence per user; only the cosine can use weights of the interactions.

        In a large data set only the top neighbours of each item are kept (see `blocked_counts`), and `kept` is a note that says so.
        """
        interactions = from_lists(sequences)
        is_large = int((interactions.lengths.astype(np.float64) ** 2).sum()) > blocked_counts.MAX_PAIRS
        if is_large:
            starts = np.maximum(interactions.start, interactions.end - MAX_HISTORY)
            if len(weights):
                weights = from_lists(weights).head(interactions.lengths).skip(starts - interactions.start)
            interactions = replace(interactions, start=starts)
        counts = user_item(interactions, num_items, weights) if self.similarity == "cosine" else binary_user_item(interactions, num_items)
        self.similarities = _blocked_similarity(counts, self.similarity) if is_large else _similarity(counts, 0, num_items, self.similarity)
        self.kept = blocked_counts.TRUNCATION_NOTE if is_large else ""
        return self

    def score(self, histories: Sequences) -> Float32[Floats, "histories items"]:
        """Scores of all items, one row per history, float32 [histories, items]; higher is better."""
        scores: Floats = (user_item(histories, self.similarities.shape[0]) @ self.similarities).toarray().astype(np.float32)
        return scores

    def neighbours(self, most: int) -> NeighbourTable:
        """The `most` nearest neighbours of each item as a table; the whole history contributes with equal weight."""
        return top_k(self.similarities, most, 1.0, recent=ALL, decay=1.0)


def _blocked_similarity(interactions: Counts, similarity: Similarity) -> Counts:
    """Similarities truncated to the top neighbours, in blocks of rows."""
    history_length = np.diff(interactions.indptr).astype(np.int64)
    pairs_N = np.bincount(interactions.indices, weights=np.repeat(history_length, history_length), minlength=interactions.shape[1]).astype(
        np.int64
    )
    by_item = interactions.T.tocsr()
    return blocked_counts.compute_by_ranges(pairs_N, lambda first, last: _similarity(interactions, first, last, similarity, by_item))


def _similarity(interactions: Counts, first: int, last: int, similarity: Similarity, by_item: Counts | None = None) -> Counts:
    """Rows `first` to `last` (exclusive) of the item-item similarities, sparse float64 [last - first, items]."""
    block = interactions.T if by_item is None else by_item[first:last]
    shared_users = (block @ interactions).tocsr().astype(np.float64)
    num_users, users = (
        interactions.shape[0],
        np.maximum(np.asarray(interactions.multiply(interactions).sum(axis=0), dtype=np.float64).ravel(), 1),
    )
    row, column = first + np.repeat(np.arange(last - first), np.diff(shared_users.indptr)), shared_users.indices
    row_users, column_users, num_shared = users[row], users[column], shared_users.data
    if similarity == "cosine":
        values = num_shared / np.sqrt(row_users * column_users)
    elif similarity == "jaccard":
        values = num_shared / (row_users + column_users - num_shared)
    else:
        spread = np.sqrt(row_users * (num_users - row_users) * column_users * (num_users - column_users))
        values = np.divide(num_users * num_shared - row_users * column_users, spread, out=np.zeros_like(num_shared), where=spread > 0)
    positive = np.where(row == column, 0, np.maximum(values, 0))
    alike = sparse.csr_matrix((positive, shared_users.indices, shared_users.indptr), shape=shared_users.shape)
    alike.eliminate_zeros()
    return alike
