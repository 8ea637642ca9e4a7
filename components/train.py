"""Step: train the recipe's model, here or as a job on the cluster, and leave a bundle."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components.image import reference


@dsl.component(base_image=reference("train"), install_kfp_package=False)
def train(features: Input[Dataset], recipe: str, overrides: str, bundle: Output[Model]) -> None:
    """Train with time-based validation and early stop; an interrupted run goes on from its last checkpoint.

    Args:
        features: What build_features wrote.
        recipe: Name of the recipe.
        overrides: JSON object of sections with the values that replace the recipe's.
        bundle: Weights, item table, vocabulary and configuration, ready to serve.
    """
    from pathlib import Path

    from components.step import checkpoints, step
    from lodestar.recipes import configured
    from lodestar.training.run import train

    with step("train"):
        train(Path(features.path), Path(bundle.path), configured(recipe, overrides), checkpoints())
