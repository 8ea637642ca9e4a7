"""RMSE of predicted ratings on the test: the bundle's rating model, the bias baseline and item-kNN on ratings."""

from collections.abc import Iterator

import numpy as np

from lodestar.bundle.ratings import Ratings
from lodestar.config import EvaluationConfig, Recipe
from lodestar.data.split.rating_triples import RatingTriples
from lodestar.evaluation.intervals import CONFIDENCE, Interval, bootstrap_means
from lodestar.evaluation.metric_titles import MODEL
from lodestar.features.batch import ratings_table
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.models.ratings.ratings import Biases, RatingNeighbours
from lodestar.schema.arrays import Doubles, Float64

BIASES, NEIGHBOURS = "biases", "item_knn"
MAX_DENSE_CELLS = 1 << 24  # users x items and items x items: item-kNN works on dense tables, at most 1 GB in all


def errors(ratings: Ratings | None, features: FeatureSet, recipe: Recipe) -> dict[str, Interval]:
    """RMSE of the bundle (`MODEL`) and of each baseline, with 95 % bootstrap intervals over users.

    Empty if the bundle has no rating model or the test no ratings.
    """
    if ratings is None:
        return {}
    (train, test), interactions = ratings_table.train_test_ratings(features, recipe.data), features.interactions
    if len(test) == 0:
        return {}
    predictions = {MODEL: by_bundle(ratings, interactions.users, test)}
    predictions |= dict(_baselines(train, test, interactions.num_users, interactions.num_items))
    return _rmse(predictions, test, recipe.evaluation)


def by_bundle(ratings: Ratings, users: list[str], test: RatingTriples) -> Float64[Doubles, " ratings"]:
    """Ratings predicted by a bundle for test triples, in their order; one call per user, as in serving."""
    order = np.argsort(test.user, kind="stable")
    starts = np.flatnonzero(np.diff(test.user[order], prepend=-1))
    found = np.empty(len(test))
    for rows in np.split(order, starts[1:]):
        found[rows] = ratings.predict(users[test.user[rows[0]]], test.item[rows])
    return found


def _baselines(train: RatingTriples, test: RatingTriples, num_users: int, num_items: int) -> Iterator[tuple[str, Doubles]]:
    yield BIASES, Biases().fit(train, num_users, num_items).predict(test)
    if max(num_users, num_items) * num_items <= MAX_DENSE_CELLS:
        yield NEIGHBOURS, RatingNeighbours("cosine").fit(train, num_users, num_items).predict(test)


def _rmse(predictions: dict[str, Doubles], test: RatingTriples, config: EvaluationConfig) -> dict[str, Interval]:
    """RMSE with bootstrap intervals; squared errors are summed per user, so that a user's ratings are resampled together."""
    _, user = np.unique(test.user, return_inverse=True)
    squares = [np.bincount(user, weights=(values - test.value) ** 2) for values in predictions.values()]
    counts = np.bincount(user).astype(np.float64)
    # pyrefly: ignore[bad-argument-type]
    means_SM = bootstrap_means(np.stack([*squares, counts], axis=1), config.bootstrap_samples, config.seed)
    rmse_SM = np.sqrt(means_SM[:, :-1] / means_SM[:, -1:])
    tail = (1 - CONFIDENCE) / 2
    low_M, high_M = np.quantile(rmse_SM, [tail, 1 - tail], axis=0)
    values = [np.sqrt(total.sum() / len(test)) for total in squares]
    return {
        name: Interval(value=float(value), low=float(low), high=float(high))
        for name, value, low, high in zip(predictions, values, low_M, high_M, strict=True)
    }
