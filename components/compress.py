"""Step: find the smallest bundle that is not worse."""

from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Markdown, Model, Output

from components.image import reference
from components.signals import reachable


@reachable
@dsl.component(base_image=reference("train"), install_kfp_package=False)
def compress(
    features: Input[Dataset],
    bundle: Input[Model],
    recipe: str,
    overrides: dict[str, Any],
    compressed: Output[Model],
    table: Output[Markdown],
) -> None:
    """Quantise the item table and the weights, weigh size and latency against quality, keep the smallest non-inferior one.

    Args:
        features: What build_features wrote.
        bundle: The bundle to make smaller.
        recipe: Name of the recipe.
        overrides: JSON object of sections with the values that replace the recipe's.
        compressed: The chosen bundle.
        table: Size, latency and quality of every variant.
    """
    import shutil
    from pathlib import Path

    from components.step import step
    from lodestar.compression.run import compress
    from lodestar.recipes import configured

    with step("compress", inputs=(features, bundle), outputs=(compressed, table)):
        compress(Path(features.path), Path(bundle.path), Path(compressed.path), configured(recipe, overrides))
        shutil.copyfile(Path(compressed.path, "compression.md"), table.path)
