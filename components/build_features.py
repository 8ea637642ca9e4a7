"""Step: turn the tables into features, sequences and a training set, and register them with Feast."""

from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from components.image import reference
from components.signals import reachable


@reachable
@dsl.component(base_image=reference("features"), install_kfp_package=False)
def build_features(tables: Input[Dataset], recipe: str, overrides: dict[str, Any], features: Output[Dataset]) -> None:
    """Write the feature tables and join the training set as it was known at each moment; no store that is served from is touched.

    Args:
        tables: The contract's tables.
        recipe: Name of the recipe.
        overrides: JSON object of sections with the values that replace the recipe's.
        features: Feature tables, sequences, vocabulary and training set.
    """
    from pathlib import Path

    from components.step import step
    from feature_repo import store
    from lodestar.features.build import build_features
    from lodestar.recipes import configured

    with step("build_features", inputs=(tables,), outputs=(features,)):
        build_features(Path(tables.path), Path(features.path), configured(recipe, overrides))
        store.write_training_set(Path(features.path))
