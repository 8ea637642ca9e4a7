"""Step: publish a bundle that passed the gate."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model

from components.image import reference


@dsl.component(base_image=reference("launcher"), install_kfp_package=False)
def deploy(bundle: Input[Model], features: Input[Dataset], destination: str, service: str) -> None:
    """Publish the bundle whole or not at all, and hand it to an InferenceService as a canary when one is named.

    Args:
        bundle: The bundle that goes out.
        features: What build_features wrote; on a laptop its online store goes beside the bundle.
        destination: A folder or an `s3://` address.
        service: Name of the InferenceService to update, or empty for none.
    """
    from pathlib import Path

    from components.release import release
    from components.step import step

    with step("deploy"):
        release(Path(bundle.path), Path(features.path), destination, service)
