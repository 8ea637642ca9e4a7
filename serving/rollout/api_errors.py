"""Errors of the Kubernetes API server, of a rollout and of training jobs alike, as EnvironmentFaults."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from lodestar.errors import EnvironmentFault

NOT_FOUND, CONFLICT = 404, 409
BUSY = (429, 502, 503, 504)
AGAIN = "Run the same command again."


class Unreachable(EnvironmentFault):
    """The API server is busy or does not respond (code E597); the request may be retried."""


def load_config() -> None:
    """Configure the kubernetes client with a pod's service account or the kubeconfig; EnvironmentFault E534 without either."""
    from kubernetes import config
    from yaml import YAMLError

    try:
        config.load_config()
    # The client checks little of a kubeconfig: one that is a folder, a text or a list fails in its own ways.
    except (config.ConfigException, YAMLError, OSError, TypeError, ValueError, AttributeError, KeyError) as error:
        remedy = "Run it in a pod with a service account, or set KUBECONFIG."
        reason = str(error).rstrip(".") or type(error).__name__
        raise EnvironmentFault("E534", f"no Kubernetes cluster is configured: {reason}", remedy=remedy) from error


@contextmanager
def api_errors(what: str, *expected: int, again: str = AGAIN) -> Iterator[dict[int, str]]:
    """Turn errors of the API server into EnvironmentFault E596, or Unreachable (E597, with the remedy `again`) if it is busy or silent.

    Yields the messages of HTTP statuses that were `expected`, which are no errors.
    """
    from kubernetes import client
    from urllib3.exceptions import HTTPError

    refused: dict[int, str] = {}
    try:
        yield refused
    except client.ApiException as error:
        refused[error.status] = reason = _reason(error.body)
        if error.status not in expected:
            message = f"the API server refused {what}: {error.status} {error.reason} {reason}".rstrip()
            if error.status in {500, *BUSY}:
                raise Unreachable("E597", message, remedy=again) from error
            remedy = "Check that manifests/ is applied and that this account has the permission."
            raise EnvironmentFault("E596", message, remedy=remedy) from error
    except HTTPError as error:
        raise Unreachable("E597", f"the API server does not respond ({what}): {error}", remedy=again) from error


def _reason(body: str | bytes | None) -> str:
    try:
        return str(json.loads(body or "{}").get("message", ""))
    except ValueError:
        return ""
