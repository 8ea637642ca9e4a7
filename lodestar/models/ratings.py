"""Ratings of items by users, and the plainest things that foretell one: biases, and what was given to similar items.

Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001. Letters in shapes: U users, I items, M ratings.
"""

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from lodestar.data.cells import Cells

Floats = NDArray[np.float64]
Similarity = Literal["cosine", "pearson", "jaccard"]


def rmse(foretold: Floats, cells: Cells) -> float:
    return float(np.sqrt(np.mean((foretold - cells.value) ** 2)))


class Biases:
    """Mean, item and user: each what is left of the one before, drawn towards zero by `damping` ratings (Koren, KDD 2008)."""

    def __init__(self, damping: float = 5.0) -> None:
        self.damping = damping

    def fit(self, cells: Cells, num_users: int, num_items: int) -> Self:
        self.mean = float(cells.value.mean())
        left = cells.value - self.mean
        self.item = np.bincount(cells.item, weights=left, minlength=num_items) / (
            np.bincount(cells.item, minlength=num_items) + self.damping
        )
        left = left - self.item[cells.item]
        self.user = np.bincount(cells.user, weights=left, minlength=num_users) / (
            np.bincount(cells.user, minlength=num_users) + self.damping
        )
        return self

    def predict(self, cells: Cells) -> Floats:
        found: Floats = self.mean + self.item[cells.item] + self.user[cells.user]
        return found


class RatingNeighbours:
    """A user's rating of an item as the mean of their ratings of items like it, each by how alike it is; else their mean, else all's."""

    def __init__(self, similarity: Similarity = "cosine") -> None:
        self.similarity = similarity

    def fit(self, cells: Cells, num_users: int, num_items: int) -> Self:
        self.ratings = cells.table(num_users, num_items)
        self.alike = similarities(self.ratings, self.similarity)
        self.mean = float(cells.value.mean())
        return self

    def predict(self, cells: Cells) -> Floats:
        ratings_MI, alike_MI = self.ratings[cells.user], self.alike[cells.item].copy()
        counts_MI = ~np.isnan(ratings_MI) & (alike_MI > 0)
        counts_MI[np.arange(len(cells)), cells.item] = False
        weight_MI = np.where(counts_MI, alike_MI, 0.0)
        weight_M, rated_M = weight_MI.sum(axis=1), (~np.isnan(ratings_MI)).sum(axis=1)
        values_MI = np.nan_to_num(ratings_MI)
        usual_M = np.where(rated_M > 0, values_MI.sum(axis=1) / np.maximum(rated_M, 1), self.mean)
        found: Floats = np.where(weight_M > 0, (weight_MI * values_MI).sum(axis=1) / np.where(weight_M > 0, weight_M, 1), usual_M)
        return found


def similarities(ratings_UI: Floats, kind: Similarity) -> Floats:
    """How alike items are, [I, I]; NaN is no rating.

    cosine: of the columns, no rating being zero. pearson: of what users gave both beyond each item's mean over those who rated it.
    jaccard: users who rated both, of those who rated either.
    """
    is_rated_UI = ~np.isnan(ratings_UI)
    both_II = is_rated_UI.T.astype(float) @ is_rated_UI
    if kind == "jaccard":
        rated_I = is_rated_UI.sum(axis=0)
        return _divided(both_II, rated_I[:, None] + rated_I[None, :] - both_II)
    values_UI = np.nan_to_num(ratings_UI)
    if kind == "cosine":
        length_I = np.sqrt((values_UI**2).sum(axis=0))
        return _divided(values_UI.T @ values_UI, length_I[:, None] * length_I[None, :])
    mean_I = _divided(values_UI.sum(axis=0), is_rated_UI.sum(axis=0))
    off_UI = np.where(is_rated_UI, values_UI - mean_I, 0.0)
    squares_II = (off_UI**2).T @ is_rated_UI  # of the row's item, over users who rated the column's as well
    return _divided(off_UI.T @ off_UI, np.sqrt(squares_II * squares_II.T))


def _divided(above: Floats, below: Floats) -> Floats:
    found: Floats = np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)
    return found
