"""Submit the compiled pipeline to a Kubeflow Pipelines server."""

import contextlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.compiled import check_parameters
from lodestar.data import address
from lodestar.data.simulator import is_simulated
from lodestar.errors import EnvironmentFault, UsageError
from lodestar.storage import is_remote

MOST_CHARACTERS = 10_000  # of all parameters together: the API server refuses more


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Where a run goes and what it is called; empty texts leave it to kfp's own configuration."""

    endpoint: str
    namespace: str
    experiment: str
    run_name: str
    is_cached: bool


def submit(pipeline: Path, parameters: Mapping[str, Any], submission: Submission) -> str:
    """The run's id; what kfp prints goes to the error stream.

    UsageError where pods could not read or write what the parameters name, or the server would refuse them; EnvironmentFault E520 where
    it does not take the run.
    """
    check(pipeline, parameters)
    from kfp import Client

    try:
        with contextlib.redirect_stdout(sys.stderr):
            client = Client(host=submission.endpoint or None)
            run = client.create_run_from_pipeline_package(
                str(pipeline),
                arguments=dict(parameters),
                run_name=submission.run_name or None,
                experiment_name=submission.experiment,
                namespace=submission.namespace or None,
                enable_caching=None if submission.is_cached else False,
            )
    except Exception as error:  # an entry point: kfp and urllib3 raise many kinds
        raise EnvironmentFault(
            "E520", f"the Pipelines server did not take the run: {error}", remedy="Check --endpoint and your access."
        ) from error
    return str(run.run_id)


def check(pipeline: Path, parameters: Mapping[str, Any]) -> None:
    """UsageError, with what to do, where a cluster could not run the file with these parameters."""
    check_parameters(pipeline, parameters)
    path = address.parse(parameters["data"]).path
    if not is_remote(path) and not is_simulated(path):
        copied = f"s3://BUCKET/{Path(path).name}"
        raise UsageError(
            f"{path} is on this machine, where no pod reads it: copy it with `aws s3 cp --recursive {path} {copied}`, and give {copied}"
        )
    if parameters["destination"] and not is_remote(parameters["destination"]):
        raise UsageError(
            f"{parameters['destination']} would be a folder of a pod, gone with it: give a destination such as s3://BUCKET/bundles"
        )
    length = len(json.dumps(parameters))
    if length > MOST_CHARACTERS:
        overrides = len(json.dumps(parameters["overrides"]))
        raise UsageError(
            f"the parameters have {length:,} characters, {overrides:,} of them overrides, and Pipelines takes {MOST_CHARACTERS:,}: "
            "leave out what the recipe has already, or add a recipe of your own to lodestar/recipes.py"
        )
