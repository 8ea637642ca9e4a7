"""Step: compress a bundle by quantisation, with a non-inferiority test on the validation set."""

from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Markdown, Model, Output

from components.execution.signals import exec_python
from components.images.image import image_reference


@exec_python
@dsl.component(base_image=image_reference("train"), install_kfp_package=False)
def compress(
    features: Input[Dataset],
    uncompressed: Input[Model],
    recipe: str,
    overrides: dict[str, Any],
    bundle: Output[Model],
    table: Output[Markdown],
) -> None:
    """Quantise the item table and the encoder's weights, and keep the smallest variant that is not inferior in NDCG@10.

    Args:
        features: Feature set that build_features wrote.
        uncompressed: The bundle to compress.
        recipe: Name of the recipe.
        overrides: JSON object of sections with the values that replace the recipe's.
        bundle: The selected variant.
        table: Size, latency and NDCG@10 of every variant.
    """
    import shutil
    from pathlib import Path

    from components.execution.step import step
    from lodestar.compression.run import compress
    from lodestar.recipes import load_recipe

    with step("compress", inputs=(features, uncompressed), outputs=(bundle, table)):
        compress(Path(features.path), Path(uncompressed.path), Path(bundle.path), load_recipe(recipe, overrides))
        shutil.copyfile(Path(bundle.path, "compression.md"), table.path)
