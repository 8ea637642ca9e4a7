"""Step: train the recipe's model, here or as a job on the cluster, and leave a bundle."""

from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components.image import reference
from components.signals import reachable


@reachable
@dsl.component(base_image=reference("train"), install_kfp_package=False)
def train(features: Input[Dataset], recipe: str, overrides: dict[str, Any], image: str, bundle: Output[Model]) -> None:
    """Train with time-based validation and early stop; an interrupted run goes on from its last checkpoint.

    Args:
        features: What build_features wrote.
        recipe: Name of the recipe.
        overrides: JSON object of sections with the values that replace the recipe's.
        image: Of the pods, where the cluster trains by jobs that this step follows (LODESTAR_TRAINING).
        bundle: Weights, item table, vocabulary and configuration, ready to serve.
    """
    from pathlib import Path

    from components.step import checkpoints, step, training
    from lodestar.recipes import configured, overrides_text

    with step("train", inputs=(features,), outputs=(bundle,)):
        chosen, asked, text = configured(recipe, overrides), training(), overrides_text(overrides)
        if asked:
            from components.launch import launch_as_asked

            launch_as_asked(asked, image=image, features=features.uri, bundle=bundle.uri, recipe=recipe, overrides=text)
        else:
            from lodestar.training.run import train

            train(Path(features.path), Path(bundle.path), chosen, checkpoints())
