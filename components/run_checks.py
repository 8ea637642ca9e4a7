"""What a run's parameters must agree on, asked before it is submitted and again by its first step."""

from collections.abc import Mapping
from typing import Any

from lodestar.config import Recipe
from lodestar.errors import UsageError
from lodestar.recipes import configured
from lodestar.storage import is_remote
from serving.cluster import place


def check_run(*, recipe: str, overrides: str | Mapping[str, Any], destination: str, service: str) -> Recipe:
    """The recipe that the run trains; UsageError where there is none, where a service cannot be called so, or where it could
    not read what is published.

    KServe fetches a bundle from the store, so a service needs a destination there.
    """
    if service:
        place(service)
    if service and not is_remote(destination):
        given = f"is {destination}, which its pods cannot read" if destination else "is empty"
        raise UsageError(
            f"the service {service} needs a destination in the object store, and destination {given}: add destination=s3://BUCKET/PREFIX "
            "(--destination of `lodestar run --cluster`), or leave the service out"
        )
    return configured(recipe, overrides)
