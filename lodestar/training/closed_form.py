"""Training without a loop: what a family may be set to is tried on the validation items, and the best is fitted on all before the test."""

from dataclasses import replace
from pathlib import Path

from lodestar.config import Recipe
from lodestar.data.splits import affordable
from lodestar.features.store import FeatureSet
from lodestar.models.counts import Known
from lodestar.models.retriever import FAMILIES
from lodestar.progress import Progress
from lodestar.training import publish
from lodestar.training.settings import tuned


def write(folder: Path, found: FeatureSet, recipe: Recipe) -> None:
    """Fill a bundle's folder with a family that needs no loop."""
    split, num_items = found.split(recipe.data), len(found.items)
    split = replace(split, validation=affordable(split.validation, num_items, recipe.evaluation, "validation"))
    shape, name = (recipe.model.dim, recipe.train.seed), recipe.model.family
    _, setting, quality = tuned(name, split, num_items, recipe.model.dim, recipe)
    known = Known(sequences=split.before_test, moments=split.moments, num_items=num_items, device=recipe.train.device)
    with Progress(f"fit {name}", 1) as progress:
        model = FAMILIES[name][0](known, *shape)(setting)
        progress.advance()
    publish.write(folder, found, recipe, model.vectors, model.encoder, {"validation_ndcg_at_10": quality.ndcg, **setting}, model.neighbours)
