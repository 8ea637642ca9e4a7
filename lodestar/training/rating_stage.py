"""Rating prediction stage: fit Bayesian matrix factorisation on all ratings before the test set, as a part of any family's bundle."""

from collections import Counter

import numpy as np

from lodestar.bundle.catalogue import Catalogue
from lodestar.bundle.ratings import Ratings
from lodestar.config import Recipe
from lodestar.errors import DataError
from lodestar.features.batch import ratings_table
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.models.closed_form import memory
from lodestar.models.ratings.rating_factors import RatingFactors, bytes_needed
from lodestar.schema.arrays import Doubles, Float64

MAX_ATTRIBUTES = 256  # most frequent categories and tags that are item attributes


def check(features: FeatureSet, recipe: Recipe) -> None:
    """Raise DataError E205 if the recipe trains ratings and the data have none, E151 if the features have no table of ratings.

    EnvironmentFault E185 if there is too little memory to fit them (see `rating_factors.bytes_needed`).
    """
    if not recipe.rate.dim:
        return
    train_triples, _ = ratings_table.train_test_ratings(features, recipe.data)
    if len(train_triples) == 0:
        remedy = "Add events with a rating, or turn rating prediction off (rate.dim 0)."
        raise DataError("E205", "there is no rating to train on", remedy=remedy)
    shape = features.interactions.num_users, features.interactions.num_items
    needed = bytes_needed(train_triples, shape, recipe.rate.dim, recipe.rate.num_samples)
    what = f"rating prediction of {shape[0]:,} users and {shape[1]:,} items with num_samples {recipe.rate.num_samples}"
    memory.require(needed, what, "Lower rate.num_samples or rate.dim, or turn rating prediction off (rate.dim 0).")


def train_ratings(features: FeatureSet, recipe: Recipe) -> Ratings | None:
    """The bundle's rating model, or None if the recipe has `rate.dim` 0."""
    config = recipe.rate
    if not config.dim:
        return None
    (train_triples, _), users = ratings_table.train_test_ratings(features, recipe.data), features.interactions.users
    model = RatingFactors(dim=config.dim, burn_in=config.burn_in, num_samples=config.num_samples, seed=recipe.train.seed)
    model.fit(train_triples, np.zeros((len(users), 0)), item_categories_and_tags(features.items))
    mean, biases, vectors = model.posterior_mean(config.exported_rank)
    (user_bias, item_bias), (user_vectors, item_vectors) = ([part.astype(np.float32) for part in parts] for parts in (biases, vectors))
    return Ratings.from_users(
        users,
        user_bias=user_bias,
        user_vectors=user_vectors,
        item_bias=item_bias,
        item_vectors=item_vectors.astype(np.float16),
        global_mean=mean,
        lowest=model.lowest,
        highest=model.highest,
    )


def item_categories_and_tags(items: Catalogue) -> Float64[Doubles, "items columns"]:
    """Binary item attributes, float64 [items, columns]: the most frequent categories and tags, at most MAX_ATTRIBUTES."""
    counts = Counter(tag for item_tags in items.categories_and_tags for tag in item_tags)
    column = {tag: index for index, (tag, _) in enumerate(counts.most_common(MAX_ATTRIBUTES))}
    found = np.zeros((len(items), len(column)))
    for row, item_tags in enumerate(items.categories_and_tags):
        found[row, [column[tag] for tag in item_tags if tag in column]] = 1
    return found
