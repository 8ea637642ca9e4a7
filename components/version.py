"""Step: hash the data at the address; never cached, so that later steps are cache hits only for unchanged data."""

from typing import Any, NamedTuple

from kfp import dsl

from components.image import reference
from components.signals import reachable


@reachable
@dsl.component(base_image=reference("features"), install_kfp_package=False)
def version(data: str, recipe: str, overrides: dict[str, Any], destination: str, service: str) -> NamedTuple(  # type: ignore[valid-type]
    "Version", [("data_version", str), ("started_at", str)]
):
    """Say which data are there, with what training begins from, and when the run began, and refuse a run that could not end.

    Args:
        data: What ingest will read.
        recipe: Name of the recipe.
        overrides: JSON object of sections with the values that replace the recipe's.
        destination: Where bundles go, or empty.
        service: The InferenceService that the bundle goes to, or empty.
    """
    from components.rollout import check_rights
    from components.run_checks import check_run
    from components.step import now, step
    from lodestar.data.version import data_version

    with step("version"):
        checked = check_run(recipe=recipe, overrides=overrides, destination=destination, service=service)
        check_rights(service)
        return data_version(data, tuple(checked.train.addresses.values())), now()
