"""Step: hand a published bundle to an InferenceService, as a canary."""

from kfp import dsl

from components.image import reference
from components.signals import reachable


@reachable
@dsl.component(base_image=reference("launcher"), install_kfp_package=False)
def deploy(address: str, service: str) -> None:
    """Start a canary with a published bundle where a service is named.

    Args:
        address: The published bundle's own address.
        service: Name of the InferenceService to update, or empty for none.
    """
    from components.rollout import deploy
    from components.step import step

    with step("deploy"):
        deploy(address, service)
