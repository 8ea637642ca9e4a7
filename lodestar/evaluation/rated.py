"""How well a bundle foretells the ratings of the test, as it serves them, beside biases and what was given to similar items."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lodestar.config import EvaluationConfig, Recipe
from lodestar.data.cells import Cells
from lodestar.evaluation.intervals import COVERED, Interval, bootstrap_means
from lodestar.evaluation.names import MODEL
from lodestar.features import rated
from lodestar.features.store import FeatureSet
from lodestar.models.ratings import Biases, RatingNeighbours
from lodestar.ratings import Ratings

BIASES, NEIGHBOURS = "biases", "item_knn"
MOST_IN_TABLE = 1 << 24  # users by items: neighbours are found in a whole table
Floats = NDArray[np.float64]


def errors(ratings: Ratings | None, found: FeatureSet, recipe: Recipe) -> dict[str, Interval]:
    """RMSE by contestant, with 95 % intervals from samples of users; none without ratings in the bundle, or in the test."""
    if ratings is None:
        return {}
    (known, asked), taken = rated.parted(found, recipe.data), found.interactions
    if len(asked) == 0:
        return {}
    foretold = {MODEL: by_bundle(ratings, taken.users, asked)}
    foretold |= dict(_baselines(known, asked, taken.num_users, taken.num_items))
    return _errors(foretold, asked, recipe.evaluation)


def by_bundle(ratings: Ratings, users: list[str], asked: Cells) -> Floats:
    """User by user, as requests come."""
    order = np.argsort(asked.user, kind="stable")
    starts = np.flatnonzero(np.diff(asked.user[order], prepend=-1))
    found = np.empty(len(asked))
    for rows in np.split(order, starts[1:]):
        found[rows] = ratings.foretold(users[asked.user[rows[0]]], asked.item[rows])
    return found


def _baselines(known: Cells, asked: Cells, num_users: int, num_items: int) -> Iterator[tuple[str, Floats]]:
    yield BIASES, Biases().fit(known, num_users, num_items).predict(asked)
    if num_users * num_items <= MOST_IN_TABLE:
        yield NEIGHBOURS, RatingNeighbours("cosine").fit(known, num_users, num_items).predict(asked)


def _errors(foretold: dict[str, Floats], asked: Cells, config: EvaluationConfig) -> dict[str, Interval]:
    """Squares are summed by user, and a user's ratings are drawn together."""
    _, user = np.unique(asked.user, return_inverse=True)
    squares = [np.bincount(user, weights=(values - asked.value) ** 2) for values in foretold.values()]
    counts = np.bincount(user).astype(np.float64)
    means_SM = bootstrap_means(np.stack([*squares, counts], axis=1), config.bootstrap_samples, config.seed)
    rmse_SM = np.sqrt(means_SM[:, :-1] / means_SM[:, -1:])
    tail = (1 - COVERED) / 2
    low_M, high_M = np.quantile(rmse_SM, [tail, 1 - tail], axis=0)
    values = [np.sqrt(total.sum() / len(asked)) for total in squares]
    return {
        name: Interval(value=float(value), low=float(low), high=float(high))
        for name, value, low, high in zip(foretold, values, low_M, high_M, strict=True)
    }
