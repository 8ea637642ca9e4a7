"""Step: may this model go out?"""

from kfp import dsl
from kfp.dsl import Artifact, Input

from components.image import reference


@dsl.component(base_image=reference("launcher"), install_kfp_package=False)
def gate(evaluation: Input[Artifact]) -> bool:
    """Say no to a model that loses to a baseline.

    Args:
        evaluation: What evaluate wrote.
    """
    from pathlib import Path

    from components.step import step
    from lodestar.evaluation.guard import passes

    with step("gate"):
        return passes(Path(evaluation.path))
