"""What following a training job needs of the API server."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from lodestar.errors import EnvironmentFault

Object = dict[str, Any]

CONFLICT, NOT_FOUND = 409, 404
# A pod without a container that runs has no log yet; on a node that does not answer it has none for now.
NO_LOG = (400, NOT_FOUND, 500, 502, 503, 504)
LOG_S = 30
# A job is followed for hours; a reading that meets a restart of the API server is repeated for about a minute.
RETRIES, BACKOFF_S, BUSY = 7, 0.5, (429, 502, 503, 504)
GONE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What of following a job depends on who runs it; `leader` selects the pod that speaks for all."""

    group: str
    version: str
    plural: str
    succeeded: str
    leader: str


KINDS = {
    "PyTorchJob": Kind(
        group="kubeflow.org",
        version="v1",
        plural="pytorchjobs",
        succeeded="Succeeded",
        leader="training.kubeflow.org/job-name={name},training.kubeflow.org/replica-type=master",
    ),
    "TrainJob": Kind(
        group="trainer.kubeflow.org",
        version="v1alpha1",
        plural="trainjobs",
        succeeded="Complete",
        leader="jobset.sigs.k8s.io/jobset-name={name},batch.kubernetes.io/job-completion-index=0",
    ),
}


class JobServer(Protocol):
    """The training jobs of one kind in one namespace, their logs and what went wrong around them."""

    def create(self, body: Object) -> bool:
        """False where one of that name exists."""

    def read(self, name: str) -> Object:
        """The job as it is now."""

    def delete(self, name: str) -> None:
        """Delete the job and its pods, and wait until it is gone; no error where it is gone already."""

    def log(self, name: str) -> str:
        """The newest lines that the job's leader wrote, each after its time; empty where there are none yet."""

    def warnings(self, name: str) -> list[str]:
        """What the cluster warns of about the job and its pods."""


def connect(namespace: str, kind: str) -> JobServer:
    """With a pod's own account, or as the kubeconfig says."""
    from kubernetes import client, config
    from urllib3 import Retry

    try:
        config.load_config()
    except config.ConfigException as error:
        remedy = "Run it in a pod with an account, or set KUBECONFIG."
        raise EnvironmentFault("E534", f"no Kubernetes to talk to: {error}", remedy=remedy) from error
    patient = client.Configuration.get_default_copy()
    patient.retries = Retry(RETRIES, backoff_factor=BACKOFF_S, status_forcelist=BUSY, allowed_methods=("GET",), raise_on_status=False)
    return KubernetesJobs(namespace, KINDS[kind], client.ApiClient(patient))


class KubernetesJobs:
    """The API server that a kubernetes ApiClient speaks to."""

    def __init__(self, namespace: str, kind: Kind, api: Any) -> None:
        from kubernetes import client

        self.namespace, self._leader = namespace, kind.leader
        self._place = {"group": kind.group, "version": kind.version, "plural": kind.plural, "namespace": namespace}
        self._objects, self._core = client.CustomObjectsApi(api), client.CoreV1Api(api)

    def create(self, body: Object) -> bool:
        with _refusals("the training job", CONFLICT) as refused:
            self._objects.create_namespaced_custom_object(**self._place, body=body)
        return not refused

    def read(self, name: str) -> Object:
        with _refusals(f"reading training job {name}"):
            return dict(self._objects.get_namespaced_custom_object(**self._place, name=name))

    def delete(self, name: str) -> None:
        place = {**self._place, "name": name}
        with _refusals(f"deleting training job {name}", NOT_FOUND):
            self._objects.delete_namespaced_custom_object(**place, propagation_policy="Foreground")
            deadline = time.monotonic() + GONE_S
            while time.monotonic() < deadline:
                self._objects.get_namespaced_custom_object(**place)
                time.sleep(1)

    def log(self, name: str) -> str:
        with _refusals(f"the log of training job {name}", *NO_LOG):
            pods = self._core.list_namespaced_pod(self.namespace, label_selector=self._leader.format(name=name)).items
            newest = max(pods, key=lambda pod: pod.metadata.creation_timestamp, default=None)
            if newest is not None:
                pod = newest.metadata.name
                return str(self._core.read_namespaced_pod_log(pod, self.namespace, timestamps=True, since_seconds=LOG_S))
        return ""

    def warnings(self, name: str) -> list[str]:
        with _refusals("its events"):
            events = self._core.list_namespaced_event(self.namespace, field_selector="type=Warning").items
        about = (event for event in events if event.involved_object.name == name or event.involved_object.name.startswith(f"{name}-"))
        return [f"{event.reason} {event.involved_object.name}: {event.message}" for event in about]


def conditions(job: Object) -> dict[str, str]:
    """The conditions of a job that hold, with what they say; a TrainJob runs, which is no condition there, where pods of it are ready."""
    status = job.get("status", {})
    facts = {fact["type"]: fact.get("message", "") for fact in status.get("conditions") or [] if fact["status"] == "True"}
    is_ready = any(part.get("ready") for part in status.get("jobsStatus") or [])
    return facts | ({"Running": "pods are ready"} if is_ready else {})


@contextmanager
def _refusals(what: str, *expected: int) -> Iterator[list[int]]:
    """A refusal by the API server as EnvironmentFault E534; an expected one is put into the list instead."""
    from kubernetes import client
    from urllib3.exceptions import HTTPError

    refused: list[int] = []
    try:
        yield refused
    except client.ApiException as error:
        refused.append(error.status)
        if error.status not in expected:
            message = f"the API server refused {what}: {error.status} {error.reason} {_reason(error.body)}".rstrip()
            raise EnvironmentFault("E534", message, remedy="Check that manifests/ is applied and that this account may do it.") from error
    except HTTPError as error:
        remedy = "The job goes on; run the same step again, and it follows the job."
        raise EnvironmentFault("E534", f"the API server does not answer ({what}): {error}", remedy=remedy) from error


def _reason(body: str | bytes | None) -> str:
    try:
        return str(json.loads(body or "{}").get("message", ""))
    except ValueError:
        return ""
