"""Step: publish a bundle that passed the gate, and bring online what it reads."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model

from components.image import reference
from components.signals import reachable


@reachable
@dsl.component(base_image=reference("features"), install_kfp_package=False)
def publish(bundle: Input[Model], features: Input[Dataset], destination: str, service: str, started_at: str) -> str:
    """Publish the bundle whole or not at all, with the online rows that it reads; the address that it has from then on.

    Args:
        bundle: The bundle that goes out.
        features: What build_features wrote.
        destination: A folder or an `s3://` address; where it is empty nothing is published.
        service: The InferenceService that the bundle goes to, or empty: what may not be rolled out there is not published either.
        started_at: When the run began; an older run replaces nothing that a newer one has published.
    """
    from pathlib import Path

    from components.release import release
    from components.rollout import check_rights
    from components.step import step

    with step("publish", inputs=(bundle, features)):
        check_rights(service)
        return release(Path(bundle.path), Path(features.path), destination, started_at)
