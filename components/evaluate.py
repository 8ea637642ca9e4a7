"""Step: evaluate the compressed bundle, the uncompressed one and every baseline on the test set."""

from typing import Any

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Markdown, Metrics, Model, Output

from components.execution.signals import exec_python
from components.images.image import image_reference


@exec_python
@dsl.component(base_image=image_reference("train"), install_kfp_package=False)
def evaluate(  # noqa: PLR0913, PLR0917 - an artifact each
    features: Input[Dataset],
    bundle: Input[Model],
    uncompressed: Input[Model],
    recipe: str,
    overrides: dict[str, Any],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    report: Output[HTML],
    card: Output[Markdown],
) -> None:
    """Full-catalogue evaluation on the test set: metrics with intervals, slices, baselines and the gate's verdict.

    Args:
        features: Feature set that build_features wrote.
        bundle: The compressed bundle, which the gate decides on.
        uncompressed: The bundle before compression.
        recipe: Name of the recipe.
        overrides: JSON object of sections with the values that replace the recipe's.
        evaluation: All metrics (evaluation.json), the report and the model card.
        metrics: Headline metrics, for the Pipelines UI.
        report: Evaluation report, one self-contained HTML page.
        card: Model card.
    """
    import shutil
    from pathlib import Path

    from components.execution.step import step
    from lodestar.evaluation.run import evaluate
    from lodestar.recipes import load_recipe

    with step("evaluate", inputs=(features, bundle, uncompressed), outputs=(evaluation, metrics, report, card)):
        result = evaluate(
            Path(features.path),
            Path(bundle.path),
            Path(evaluation.path),
            load_recipe(recipe, overrides),
            uncompressed=Path(uncompressed.path),
        )
        metrics.metadata.update(result.headline(), bundle=result.bundle.digest)
        # The metrics are also written as a file: the cache treats an output without a file as lost.
        for name, output in (("report.html", report), ("model_card.md", card), ("headline.json", metrics)):
            shutil.copyfile(Path(evaluation.path, name), output.path)
