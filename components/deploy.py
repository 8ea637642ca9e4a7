"""Step: hand a published bundle to an InferenceService, as a canary."""

from kfp import dsl

from components.image import reference
from components.signals import reachable


@reachable
@dsl.component(base_image=reference("launcher"), install_kfp_package=False)
def deploy(address: str, destination: str, service: str) -> None:
    """Start a canary with a published bundle where a service is named.

    Args:
        address: The published bundle's own address.
        destination: Where it was published; a bundle that is not the current one there any more is left alone.
        service: Name of the InferenceService to update, or empty for none.
    """
    from components.rollout import deploy
    from components.step import step

    with step("deploy"):
        deploy(address, destination, service)
