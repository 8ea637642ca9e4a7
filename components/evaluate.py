"""Step: judge the bundle that would go out beside every baseline, and beside the one that it was compressed from."""

from typing import Any

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Markdown, Metrics, Model, Output

from components.image import reference
from components.signals import reachable


@reachable
@dsl.component(base_image=reference("train"), install_kfp_package=False)
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
    """Rank the full catalogue for every test user, with intervals, slices and a verdict.

    Args:
        features: What build_features wrote.
        bundle: The bundle that would go out.
        uncompressed: The bundle that it was made from.
        recipe: Name of the recipe.
        overrides: JSON object of sections with the values that replace the recipe's.
        evaluation: All figures, with the report and the model card.
        metrics: The headline figures, for the Pipelines UI.
        report: One self-contained page.
        card: The model card.
    """
    import shutil
    from pathlib import Path

    from components.step import step
    from lodestar.evaluation.run import evaluate
    from lodestar.recipes import configured

    with step("evaluate", inputs=(features, bundle, uncompressed), outputs=(evaluation, metrics, report, card)):
        chosen, full = configured(recipe, overrides), Path(uncompressed.path)
        result = evaluate(Path(features.path), Path(bundle.path), Path(evaluation.path), chosen, uncompressed=full)
        metrics.metadata.update(result.headline(), bundle=result.bundle.digest)
        # The headline is a file as well: a cache takes an output without one for lost.
        for name, output in (("report.html", report), ("model_card.md", card), ("headline.json", metrics)):
            shutil.copyfile(Path(evaluation.path, name), output.path)
