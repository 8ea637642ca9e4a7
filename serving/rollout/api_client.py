"""Client of the Kubernetes API server, for rollouts and training jobs: every request has a time-out, and is repeated where that is safe.

The kubernetes client alone waits for ever for a server that accepts a connection and stays silent.
"""

import time
from dataclasses import dataclass
from typing import Any

from lodestar.errors import EnvironmentFault
from serving.rollout.api_errors import BUSY, TOO_MANY_REQUESTS


@dataclass(frozen=True, kw_only=True)
class RequestLimits:
    """Limits of one request: seconds to connect and between bytes of the response, and the number of repetitions.

    The defaults repeat for about a minute, so that a restart of the API server fails no job, and wait about two for a silent one.
    """

    connect_s: float = 10.0
    read_s: float = 30.0
    retries: int = 7
    backoff_s: float = 0.5


# A terminated pod has 30 s for all that it undoes.
HURRIED = RequestLimits(connect_s=2.0, read_s=4.0, retries=0)
MAX_SILENT = 3  # repetitions after a time-out or a broken connection


def api_client(limits: RequestLimits | None = None) -> Any:
    """ApiClient with the pod's service account or the kubeconfig; EnvironmentFault E534 if neither is configured.

    A GET is repeated if the server is busy or does not respond; another request only if the server has refused to begin it (HTTP 429).
    """
    from kubernetes import client
    from urllib3 import Retry

    limits = limits or RequestLimits()
    load_config()
    settings = client.Configuration.get_default_copy()
    settings.retries = Retry(
        limits.retries,
        read=min(limits.retries, MAX_SILENT),
        backoff_factor=limits.backoff_s,
        status_forcelist=BUSY,
        allowed_methods=("GET",),
        raise_on_status=False,
    )
    api = client.ApiClient(settings)
    api.rest_client.pool_manager = _LimitedPool(api.rest_client.pool_manager, limits)
    return api


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


class _LimitedPool:
    """The connections of an ApiClient, which passes `timeout=None` (no limit) with each request."""

    def __init__(self, pool: Any, limits: RequestLimits) -> None:
        self._pool, self._limits = pool, limits

    def request(self, method: str, url: str, **options: Any) -> Any:
        """As PoolManager.request; a request other than GET is repeated while the server answers 429."""
        from urllib3 import Timeout

        if options.get("timeout") is None:
            options["timeout"] = Timeout(connect=self._limits.connect_s, read=self._limits.read_s)
        for repetition in range(self._limits.retries):
            response = self._pool.request(method, url, **options)
            if method == "GET" or response.status != TOO_MANY_REQUESTS:
                return response
            time.sleep(self._limits.backoff_s * 2**repetition)
        return self._pool.request(method, url, **options)
