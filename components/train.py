"""Step: train the recipe's model, in this process or as a training job on the cluster, and write a bundle."""

from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components.execution.signals import exec_python
from components.images.image import image_reference

# Settings of the train task that go to the pods of the training job, not to the step that follows the job.
FOR_THE_JOB = [
    dsl.TaskConfigField.RESOURCES,
    dsl.TaskConfigField.KUBERNETES_TOLERATIONS,
    dsl.TaskConfigField.KUBERNETES_NODE_SELECTOR,
    dsl.TaskConfigField.KUBERNETES_AFFINITY,
    dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.ENV, apply_to_task=True),
]


@exec_python
@dsl.component(base_image=image_reference("train"), install_kfp_package=False, task_config_passthroughs=FOR_THE_JOB)
def train(
    features: Input[Dataset],
    recipe: str,
    overrides: dict[str, Any],
    image: str,
    task_config: dsl.TaskConfig,
    bundle: Output[Model],
) -> None:
    """Train with early stopping on the validation set; an interrupted run resumes from its last checkpoint.

    Args:
        features: Feature set that build_features wrote.
        recipe: Name of the recipe.
        overrides: JSON object of sections with the values that replace the recipe's.
        image: Container image of the pods, if a training job on the cluster trains.
        task_config: Filled by the Pipelines backend with the resources, tolerations and other settings of this task.
        bundle: Weights, item table, vocabulary and configuration, ready to serve.
    """
    from components.execution.step import step
    from components.kubernetes.training_backend import train

    with step("train", inputs=(features,), outputs=(bundle,)):
        train(features, bundle, recipe, overrides, image, task_config)
