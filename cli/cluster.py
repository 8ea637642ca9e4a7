"""Submit the compiled pipeline to a Kubeflow Pipelines server."""

from pathlib import Path

from lodestar.errors import EnvironmentFault


def submit(pipeline: Path, parameters: dict[str, str], endpoint: str) -> str:
    """The run's id; the server is the one that `--endpoint` or the kfp configuration names."""
    from kfp import Client

    try:
        client = Client(host=endpoint or None)
        return str(client.create_run_from_pipeline_package(str(pipeline), arguments=parameters).run_id)
    except Exception as error:  # an entry point: kfp and urllib3 raise many kinds
        raise EnvironmentFault(
            "E520", f"the Pipelines server did not take the run: {error}", remedy="Check --endpoint and your access."
        ) from error
