"""Step: may this model go out?"""

from kfp import dsl
from kfp.dsl import Artifact, Input, Markdown, Output

from components.image import reference
from components.signals import reachable


@reachable
@dsl.component(base_image=reference("launcher"), install_kfp_package=False)
def gate(evaluation: Input[Artifact], verdict: Output[Markdown]) -> bool:
    """Say no to a model that loses to a baseline, and why.

    Args:
        evaluation: What evaluate wrote.
        verdict: The answer and its reason, for the Pipelines UI: a run that is refused ends well there.
    """
    from pathlib import Path

    from components.step import step
    from lodestar.evaluation.guard import judged

    with step("gate", inputs=(evaluation,), outputs=(verdict,)):
        found = judged(Path(evaluation.path))
        Path(verdict.path).write_text(found.markdown())
        return found.passes
