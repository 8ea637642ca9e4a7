"""Step: train the recipe's model, here or as a job on the cluster, and leave a bundle."""

from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components.image import reference
from components.signals import reachable

# What is set on the train task is meant for the pods that train, and not for the step that follows them.
FOR_THE_JOB = [
    dsl.TaskConfigField.RESOURCES,
    dsl.TaskConfigField.KUBERNETES_TOLERATIONS,
    dsl.TaskConfigField.KUBERNETES_NODE_SELECTOR,
    dsl.TaskConfigField.KUBERNETES_AFFINITY,
    dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.ENV, apply_to_task=True),
]


@reachable
@dsl.component(base_image=reference("train"), install_kfp_package=False, task_config_passthroughs=FOR_THE_JOB)
def train(
    features: Input[Dataset],
    recipe: str,
    overrides: dict[str, Any],
    image: str,
    task_config: dsl.TaskConfig,
    bundle: Output[Model],
) -> None:
    """Train with time-based validation and early stop; an interrupted run goes on from its last checkpoint.

    Args:
        features: What build_features wrote.
        recipe: Name of the recipe.
        overrides: JSON object of sections with the values that replace the recipe's.
        image: Of the pods, where a cluster trains by a job that this step follows.
        task_config: Filled by the Pipelines backend with the resources, tolerations and the like that are set on this task.
        bundle: Weights, item table, vocabulary and configuration, ready to serve.
    """
    from components.step import step
    from components.training_backend import train
    from lodestar.recipes import overrides_text

    with step("train", inputs=(features,), outputs=(bundle,)):
        train(features, bundle, (recipe, overrides_text(overrides), image), task_config)
