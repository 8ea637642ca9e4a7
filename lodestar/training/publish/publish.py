"""Write a trained model's bundle: item table, encoder, cold-start list, neighbours, ranker and ratings, for all families."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from lodestar.bundle import bundle
from lodestar.bundle.item_table import quantise
from lodestar.bundle.neighbours import NeighbourTable
from lodestar.bundle.ranker import Ranker
from lodestar.bundle.training_record import FittedOn, training_record
from lodestar.config import Recipe
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.progress import log_event
from lodestar.schema.arrays import Float32, Floats
from lodestar.training import rating_stage
from lodestar.training.publish import cold_start
from lodestar.training.publish.export import graph_bytes
from lodestar.training.publish.refused_items import mostly_refused


def write(  # noqa: PLR0913, PLR0917  # the parts of a bundle
    folder: Path,
    features: FeatureSet,
    recipe: Recipe,
    vectors: Float32[Floats, "items dim"],
    encoder: nn.Module,
    metrics: Mapping[str, float],
    fitted_on: FittedOn,
    neighbours: NeighbourTable | None = None,
    ranker: Ranker | None = None,
) -> None:
    """Write a bundle into `folder` from item `vectors` float32 [items, D], their `encoder`, and optional neighbours and ranker.

    Items that most users refuse are written as inactive. The cold-start list is computed here, ratings are trained here if the recipe has
    them; `metrics` go into the bundle's description, and `fitted_on`, what the model was fitted on.
    """
    info = bundle.BundleInfo(
        family=recipe.model.family,
        recipe=recipe.name,
        dim=vectors.shape[1],
        max_length=recipe.model.max_length,
        num_items=len(features.items),
        precision="fp32",
        encoder_precision="fp32",
        features=features.generation,
        metrics=dict(metrics),
        training=training_record(recipe, fitted_on),
        use_time_gaps=recipe.model.use_time_gaps,
        feedback=features.rules.to_json(),
        reads_filters=features.counts.filtered_users > 0 or not features.rules.filters_history,
        files={},
    )
    table = quantise(vectors, "fp32")
    ratings = rating_stage.train_ratings(features, recipe)
    popularity = cold_start.fit_cold_start_popularity(features.interactions, recipe.data)
    is_refused = mostly_refused(features, recipe.data)
    if is_refused.any():
        log_event("mostly refused", items=int(is_refused.sum()))
    items = replace(features.items, is_active=features.items.is_active & ~is_refused)
    bundle.write(folder, info, graph_bytes(encoder, info.dim + info.use_time_gaps), table, items, popularity, neighbours, ranker, ratings)
