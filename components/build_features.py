"""Step: build feature tables, user sequences and a point-in-time training set from ingested tables."""

from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from components.execution.signals import exec_python
from components.images.image import image_reference


@exec_python
@dsl.component(base_image=image_reference("features"), install_kfp_package=False)
def build_features(tables: Input[Dataset], recipe: str, overrides: dict[str, Any], features: Output[Dataset]) -> None:
    """Build the feature tables and the training set by point-in-time joins; the online store is not changed.

    Args:
        tables: Ingested tables of the data contract.
        recipe: Name of the recipe.
        overrides: JSON object of sections with the values that replace the recipe's.
        features: Feature tables, sequences, vocabulary and training set.
    """
    from pathlib import Path

    from components.execution.step import step
    from feature_repo import store
    from lodestar.features.batch.build import build_features
    from lodestar.recipes import load_recipe

    with step("build_features", inputs=(tables,), outputs=(features,)):
        build_features(Path(tables.path), Path(features.path), load_recipe(recipe, overrides))
        store.write_training_set(Path(features.path))
