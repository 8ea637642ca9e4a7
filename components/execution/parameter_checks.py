"""Validation of a run's parameters, before it is submitted and again in its first step."""

from collections.abc import Mapping
from typing import Any

from lodestar.config import Recipe
from lodestar.errors import UsageError
from lodestar.io.storage import is_remote
from lodestar.recipes import load_recipe
from serving.rollout.kserve_api import place


def check_run(*, recipe: str, overrides: str | Mapping[str, Any], destination: str, service: str) -> Recipe:
    """Validate the parameters of a run and return its recipe.

    Raises UsageError (ConfigError E180) for an unknown recipe or override, an invalid service name, or a service without an `s3://`
    destination: KServe downloads the bundle from there.
    """
    if service:
        place(service)
    if service and not is_remote(destination):
        reason = f"is {destination}, which its pods cannot read" if destination else "is empty"
        raise UsageError(
            f"the service {service} needs a destination in the object store, and destination {reason}: add destination=s3://BUCKET/PREFIX "
            "(--destination of `lodestar run --cluster`), or leave the service out",
            code="E314",
        )
    return load_recipe(recipe, overrides)
