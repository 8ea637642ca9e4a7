"""Step: hash the data at the address; never cached, so that later steps are cache hits only for unchanged data."""

from typing import Any, NamedTuple

from kfp import dsl

from components.execution.signals import exec_python
from components.images.image import image_reference


@exec_python
@dsl.component(base_image=image_reference("features"), install_kfp_package=False)
def version(data: str, recipe: str, overrides: dict[str, Any], destination: str, service: str) -> NamedTuple(  # type: ignore[valid-type]
    "Version", [("data_version", str), ("started_at", str)]
):
    """Compute the version of the data and of warm-start bundles, record the run's start time, and fail early on invalid parameters.

    Args:
        data: Address of the data that ingest will read.
        recipe: Name of the recipe.
        overrides: JSON object of sections with the values that replace the recipe's.
        destination: Address to publish bundles to, or empty.
        service: The InferenceService of the rollout, or empty.
    """
    from components.execution.parameter_checks import check_run
    from components.execution.step import now, step
    from components.release.canary import check_rights
    from lodestar.data.version import data_version

    with step("version"):
        loaded = check_run(recipe=recipe, overrides=overrides, destination=destination, service=service)
        check_rights(service)
        return data_version(data, tuple(loaded.train.addresses.values())), now()
