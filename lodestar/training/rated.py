"""What a user would rate an item, as a part of a bundle: learnt from all ratings before the test, whatever family makes the list."""

from collections import Counter

import numpy as np

from lodestar.catalogue import Catalogue
from lodestar.config import Recipe
from lodestar.errors import DataError
from lodestar.features import rated
from lodestar.features.store import FeatureSet
from lodestar.models.rating_factors import Floats, RatingFactors
from lodestar.ratings import Ratings

MOST_MARKS = 256  # the commonest categories and tags say what an item is


def check(found: FeatureSet, recipe: Recipe) -> None:
    """DataError E201 where ratings are wanted and none is there to learn from, E151 where the features have no table of them."""
    if recipe.rate.dim and len(rated.parted(found, recipe.data)[0]) == 0:
        remedy = "Bring events with a rating, or leave them out (rate.dim 0)."
        raise DataError("E201", "there is no rating to learn from", remedy=remedy)


def learnt(found: FeatureSet, recipe: Recipe) -> Ratings | None:
    """None where the recipe wants none."""
    config = recipe.rate
    if not config.dim:
        return None
    (known, _), users = rated.parted(found, recipe.data), found.interactions.users
    model = RatingFactors(dim=config.dim, burn_in=config.burn_in, sweeps=config.sweeps, seed=recipe.train.seed)
    model.fit(known, np.zeros((len(users), 0)), marks(found.items))
    usual, biases, vectors = model.average(config.directions)
    (user_bias, item_bias), (user_vectors, item_vectors) = ([part.astype(np.float32) for part in parts] for parts in (biases, vectors))
    return Ratings.of(
        users,
        user_bias=user_bias,
        user_vectors=user_vectors,
        item_bias=item_bias,
        item_vectors=item_vectors.astype(np.float16),
        usual=usual,
        lowest=model.lowest,
        highest=model.highest,
    )


def marks(items: Catalogue) -> Floats:
    """Which of the commonest categories and tags each item has, [items, marks]."""
    counts = Counter(mark for own in items.marks for mark in own)
    column = {mark: place for place, (mark, _) in enumerate(counts.most_common(MOST_MARKS))}
    found = np.zeros((len(items), len(column)))
    for row, own in enumerate(items.marks):
        found[row, [column[mark] for mark in own if mark in column]] = 1
    return found
