"""Baselines of rating prediction: biases and item-based neighbours, with RMSE.

Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001; Koren, "Factorization meets the neighborhood", KDD
2008. Letters in shapes: U users, I items, M ratings.
"""

from typing import Literal, Self

import numpy as np

from lodestar.data.split.rating_triples import RatingTriples
from lodestar.schema.arrays import Doubles, Float64, Longs

CELLS_AT_ONCE = 1 << 20  # ratings times items of a block of predictions: 8 MB for each of its arrays

Similarity = Literal["cosine", "pearson", "jaccard"]


def rmse(predicted: Float64[Doubles, " ratings"], cells: RatingTriples) -> float:
    """Root mean squared error of predicted ratings [M], in rating units."""
    return float(np.sqrt(np.mean((predicted - cells.value) ** 2)))


class Biases:
    """Global mean plus item and user biases (Koren, KDD 2008), each fitted to the residual and shrunk by `damping` pseudo-ratings."""

    def __init__(self, damping: float = 5.0) -> None:
        self.damping = damping

    def fit(self, cells: RatingTriples, num_users: int, num_items: int) -> Self:
        """Fit `mean`, `item` [I] and `user` [U] biases."""
        self.mean = float(cells.value.mean())
        residual = cells.value - self.mean
        self.item = np.bincount(cells.item, weights=residual, minlength=num_items) / (
            np.bincount(cells.item, minlength=num_items) + self.damping
        )
        residual = residual - self.item[cells.item]
        self.user = np.bincount(cells.user, weights=residual, minlength=num_users) / (
            np.bincount(cells.user, minlength=num_users) + self.damping
        )
        return self

    def predict(self, cells: RatingTriples) -> Float64[Doubles, " ratings"]:
        """Predicted ratings [M] of the pairs in `cells`, whose values are ignored."""
        result: Doubles = self.mean + self.item[cells.item] + self.user[cells.user]
        return result


class RatingNeighbours:
    """Item-based rating prediction (Sarwar et al. 2001): the user's mean rating of similar items, weighted by similarity.

    Falls back to the user's mean rating, then to the global mean.
    """

    def __init__(self, similarity: Similarity = "cosine") -> None:
        self.similarity = similarity

    def fit(self, cells: RatingTriples, num_users: int, num_items: int) -> Self:
        """Fit item-item similarities `similarities` [I, I] from ratings, by some three dense tables [U, I] and four [I, I], float64."""
        self.ratings = cells.table(num_users, num_items)
        self.similarities = similarities(self.ratings, self.similarity)
        self.mean = float(cells.value.mean())
        return self

    def predict(self, cells: RatingTriples) -> Float64[Doubles, " ratings"]:
        """Predicted ratings [M] of the pairs in `cells`, whose values are ignored; a pair's own rating is left out.

        Memory beyond the fitted tables does not grow with the ratings: blocks of CELLS_AT_ONCE ratings times items are predicted at a time.
        """
        at_once = max(1, CELLS_AT_ONCE // self.ratings.shape[1])
        blocks = (slice(start, start + at_once) for start in range(0, len(cells), at_once))
        return np.concatenate([np.zeros(0), *(self._predict(cells.user[block], cells.item[block]) for block in blocks)])

    def _predict(self, user_M: Longs, item_M: Longs) -> Doubles:
        ratings_MI, similarity_MI = self.ratings[user_M], self.similarities[item_M]
        is_used_MI = ~np.isnan(ratings_MI) & (similarity_MI > 0)
        is_used_MI[np.arange(len(item_M)), item_M] = False
        weight_MI = np.where(is_used_MI, similarity_MI, 0.0)
        weight_M, rated_M = weight_MI.sum(axis=1), (~np.isnan(ratings_MI)).sum(axis=1)
        values_MI = np.nan_to_num(ratings_MI)
        fallback_M = np.where(rated_M > 0, values_MI.sum(axis=1) / np.maximum(rated_M, 1), self.mean)
        result: Doubles = np.where(weight_M > 0, (weight_MI * values_MI).sum(axis=1) / np.where(weight_M > 0, weight_M, 1), fallback_M)
        return result


def similarities(ratings_UI: Float64[Doubles, "users items"], kind: Similarity) -> Float64[Doubles, "items items"]:
    """Item-item similarities [I, I] of a rating table [U, I], NaN for no rating.

    cosine: of the columns, with 0 for no rating. pearson: over users who rated both, deviations from each item's mean over all its raters.
    jaccard: users who rated both over users who rated either.
    """
    is_rated_UI = ~np.isnan(ratings_UI)
    if kind == "jaccard":
        both_II = is_rated_UI.T.astype(float) @ is_rated_UI
        rated_I = is_rated_UI.sum(axis=0)
        return _safe_divide(both_II, rated_I[:, None] + rated_I[None, :] - both_II)
    values_UI = np.nan_to_num(ratings_UI)
    if kind == "cosine":
        length_I = np.sqrt((values_UI**2).sum(axis=0))
        return _safe_divide(values_UI.T @ values_UI, length_I[:, None] * length_I[None, :])
    mean_I = _safe_divide(values_UI.sum(axis=0), is_rated_UI.sum(axis=0))
    deviation_UI = np.where(is_rated_UI, values_UI - mean_I, 0.0)
    squares_II = (deviation_UI**2).T @ is_rated_UI  # of the row's item, over users who rated the column's as well
    return _safe_divide(deviation_UI.T @ deviation_UI, np.sqrt(squares_II * squares_II.T))


def _safe_divide(numerator: Doubles, denominator: Doubles) -> Doubles:
    result: Doubles = np.divide(numerator, denominator, out=np.zeros_like(numerator, dtype=np.float64), where=denominator > 0)
    return result
