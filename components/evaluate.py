"""Step: judge the exported bundle beside every baseline."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Markdown, Metrics, Model, Output

from components.image import reference


@dsl.component(base_image=reference("train"), install_kfp_package=False)
def evaluate(  # noqa: PLR0913, PLR0917 - an artifact each
    features: Input[Dataset],
    bundle: Input[Model],
    recipe: str,
    overrides: str,
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    report: Output[HTML],
    card: Output[Markdown],
) -> None:
    """Rank the full catalogue for every test user, with intervals, slices and a verdict.

    Args:
        features: What build_features wrote.
        bundle: The bundle to judge.
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

    with step("evaluate"):
        result = evaluate(Path(features.path), Path(bundle.path), Path(evaluation.path), configured(recipe, overrides))
        for name, value in result.headline().items():
            metrics.log_metric(name, value)
        # The headline is a file as well: a cache takes an output without one for lost.
        for name, output in (("report.html", report), ("model_card.md", card), ("headline.json", metrics)):
            shutil.copyfile(Path(evaluation.path, name), output.path)
