"""Training of closed-form families: grid search of hyperparameters on the validation set, then a fit on all data before the test set."""

from dataclasses import replace
from pathlib import Path

from lodestar.config import Recipe
from lodestar.data.split.splits import affordable
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.models.closed_form.closed_form_retrievers import FAMILIES
from lodestar.models.closed_form.counts import TrainingData
from lodestar.progress import Progress
from lodestar.training.ensemble.grid_search import grid_search
from lodestar.training.publish import publish


def write(folder: Path, features: FeatureSet, recipe: Recipe) -> None:
    """Fit a closed-form family and write its bundle's files into `folder`."""
    split, num_items = features.split(recipe.data), len(features.items)
    split = replace(split, validation=affordable(split.validation, num_items, recipe.evaluation, "validation"))
    rank_and_seed, name = (recipe.model.dim, recipe.train.seed), recipe.model.family
    _, hyperparameters, quality = grid_search(name, split, num_items, recipe.model.dim, recipe)
    data = TrainingData(
        sequences=split.before_test, times_us=split.times_us, num_items=num_items, device=recipe.train.device, weights=split.weights
    )
    with Progress(f"fit {name}", 1) as progress:
        model = FAMILIES[name][0](data, *rank_and_seed)(hyperparameters)
        progress.advance()
    metrics = {**({"validation_ndcg_at_10": quality.ndcg} if len(split.validation) else {}), **hyperparameters}
    publish.write(folder, features, recipe, model.vectors, model.encoder, metrics, "before_test", model.neighbours)
