"""A trained family as a bundle: what is the same whichever way it was trained."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lodestar import bundle
from lodestar.config import Recipe
from lodestar.features.store import FeatureSet
from lodestar.item_table import quantise
from lodestar.neighbours import Neighbours
from lodestar.ranker import Ranker
from lodestar.training import newcomers, rated
from lodestar.training.export import graph_bytes


def write(  # noqa: PLR0913, PLR0917  # all of a bundle that training makes
    folder: Path,
    found: FeatureSet,
    recipe: Recipe,
    vectors: NDArray[np.float32],
    encoder: nn.Module,
    metrics: Mapping[str, float],
    neighbours: Neighbours | None = None,
    ranker: Ranker | None = None,
) -> None:
    """Fill a bundle's folder with a row for each item, the encoder for such rows, and neighbours, a ranker and ratings where there are."""
    info = bundle.Info(
        family=recipe.model.family,
        recipe=recipe.name,
        dim=vectors.shape[1],
        max_length=recipe.model.max_length,
        num_items=len(found.items),
        precision="fp32",
        encoder_precision="fp32",
        features=found.digest,
        metrics=dict(metrics),
        timed=recipe.model.timed,
        files={},
    )
    table = quantise(vectors, "fp32")
    graph = graph_bytes(encoder, info.dim + info.timed)
    ratings = rated.learnt(found, recipe)
    popularity = newcomers.popularity(found.interactions, recipe.data)
    bundle.write(folder, info, graph, table, found.items, popularity, neighbours, ranker, ratings)
