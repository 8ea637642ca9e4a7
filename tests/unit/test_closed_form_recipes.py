"""The recipe of every family without a training loop is trained, bundled and served, each time to the same bundle."""

from pathlib import Path

import numpy as np
import pytest

from lodestar.bundle import bundle
from lodestar.config import CLOSED_FORM_FAMILIES, DataConfig, ModelConfig, Recipe
from lodestar.engine.recommender import Recommender
from lodestar.models.closed_form.closed_form_retrievers import FAMILIES
from lodestar.recipes import RECIPES
from lodestar.training.run import train
from tests.unit.test_features import built


@pytest.mark.parametrize("name", CLOSED_FORM_FAMILIES)
def test_a_recipe_is_trained_bundled_and_served(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    interactions = [(user, step, item) for user in range(30) for step, item in enumerate(rng.permutation(7)[:6])]
    rows = [(f"u{user}", f"i{item + 7 * (user % 2)}", 3600 * step) for user, step, item in interactions]
    features = built(tmp_path, rows)
    recipe = RECIPES[name]()
    assert recipe.model == ModelConfig(family=name, dim=recipe.model.dim)  # type: ignore[arg-type]
    recipe = Recipe(name=name, model=recipe.model, data=DataConfig(min_users=1, min_items=1, min_interactions=1))
    train(features, tmp_path / "bundle", recipe, str(tmp_path / "checkpoints"))
    loaded = bundle.load(tmp_path / "bundle")
    assert (loaded.info.family, loaded.info.recipe) == (name, name)
    assert {"validation_ndcg_at_10", *FAMILIES[name][1][0]} <= set(loaded.info.metrics)
    first, *_ = Recommender(loaded).recommend(["i0", "i1", "i2"], 3)
    assert first.retriever == "personal"
    assert name == "popularity" or first.item_id in {"i3", "i4", "i5", "i6"}
    train(features, tmp_path / "again", recipe, str(tmp_path / "checkpoints"))
    assert bundle.load(tmp_path / "again").digest == loaded.digest
