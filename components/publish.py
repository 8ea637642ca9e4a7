"""Step: publish a bundle that passed the gate, and materialise its features to the online store."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model

from components.execution.signals import exec_python
from components.images.image import image_reference


@exec_python
@dsl.component(base_image=image_reference("features"), install_kfp_package=False)
def publish(
    bundle: Input[Model],
    features: Input[Dataset],
    destination: str,
    service: str,
    started_at: str,
    evaluation: Input[Artifact] = None,  # optional: Pipelines declares it so
) -> str:
    """Publish a bundle atomically with its online features as one generation; returns the bundle's immutable address.

    Args:
        bundle: The bundle to publish.
        features: Feature set that build_features wrote.
        destination: A folder or an `s3://` address; if empty, nothing is published.
        service: The InferenceService of the rollout, or empty; without permission to roll out there, nothing is published.
        started_at: Start time of the run; an older run does not replace the version of a newer one.
        evaluation: Evaluation that evaluate wrote; a bundle that the gate refused and that is released by force carries the reason.
    """
    from pathlib import Path

    from components.execution.step import step
    from components.release.canary import check_rights
    from components.release.release import release
    from lodestar.evaluation.gate import forced_reason

    with step("publish", inputs=(bundle, features)):
        check_rights(service)
        forced = forced_reason(Path(evaluation.path)) if evaluation else ""
        return release(Path(bundle.path), Path(features.path), destination, started_at, forced)
