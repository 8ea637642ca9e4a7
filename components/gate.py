"""Step: quality gate; only a model that is not below any baseline is published."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Markdown, Output

from components.execution.signals import exec_python
from components.images.image import image_reference


@exec_python
@dsl.component(base_image=image_reference("launcher"), install_kfp_package=False)
def gate(evaluation: Input[Artifact], verdict: Output[Markdown]) -> bool:
    """Quality gate: true if no baseline has a higher NDCG@10 than the model, or its release is forced.

    Args:
        evaluation: Evaluation that evaluate wrote.
        verdict: The verdict and its reason, for the Pipelines UI, where a run whose gate fails still succeeds.
    """
    from pathlib import Path

    from components.execution.step import step
    from lodestar.evaluation.gate import read_verdict

    with step("gate", inputs=(evaluation,), outputs=(verdict,)):
        found = read_verdict(Path(evaluation.path))
        Path(verdict.path).write_text(found.markdown())
        return found.releases
