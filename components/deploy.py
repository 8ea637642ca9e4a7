"""Step: start a canary rollout of a published bundle to a KServe InferenceService."""

from kfp import dsl

from components.execution.signals import exec_python
from components.images.image import image_reference


@exec_python
@dsl.component(base_image=image_reference("launcher"), install_kfp_package=False)
def deploy(address: str, destination: str, service: str) -> None:
    """Start a canary rollout of a published bundle, if a service is named.

    Args:
        address: Immutable address of the published bundle.
        destination: Address it was published to; nothing happens if another bundle is current there by now.
        service: Name of the InferenceService to update, or empty for none.
    """
    from components.execution.step import step
    from components.release.canary import deploy

    with step("deploy"):
        deploy(address, destination, service)
