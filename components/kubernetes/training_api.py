"""API client for training jobs (PyTorchJob, TrainJob): create, read, delete, pods, logs and warning events."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from components.kubernetes.access_review import Permission, require_permissions
from components.kubernetes.worker_failures import WorkerPod, worker_pod
from lodestar.errors import EnvironmentFault
from serving.rollout.api_client import api_client
from serving.rollout.api_errors import CONFLICT, NOT_FOUND, api_errors

Object = dict[str, Any]

# HTTP statuses when a log is not available: the container does not run yet, or its node does not respond.
NO_LOG = (400, NOT_FOUND, 500, 502, 503, 504)
LOG_S, LAST_LINES = 30, 200
DELETE_TIMEOUT_S = 60.0
AGAIN = "Run the same step again: it watches the job, or resumes from its last checkpoint."


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of training job and its operator; `pods` is the label selector of a job's pods, `rank_zero` labels of the rank-zero pod."""

    group: str
    version: str
    plural: str
    succeeded: str
    container: str
    operator: str
    pods: str
    rank_zero: tuple[tuple[str, str], ...]


# In an elastic PyTorchJob, which has no master, torchrun gives rank 0 to the first running worker by name.
KINDS = {
    "PyTorchJob": Kind(
        group="kubeflow.org",
        version="v1",
        plural="pytorchjobs",
        succeeded="Succeeded",
        container="pytorch",
        operator="the training-operator",
        pods="training.kubeflow.org/job-name={name}",
        rank_zero=(("training.kubeflow.org/replica-type", "master"), ("training.kubeflow.org/replica-index", "0")),
    ),
    "TrainJob": Kind(
        group="trainer.kubeflow.org",
        version="v1alpha1",
        plural="trainjobs",
        succeeded="Complete",
        container="node",
        operator="Kubeflow Trainer",
        pods="jobset.sigs.k8s.io/jobset-name={name}",
        rank_zero=(("batch.kubernetes.io/job-completion-index", "0"),),
    ),
}


class JobClient(Protocol):
    """Client for the training jobs of one kind in one namespace, their pods, logs and events."""

    def check_rights(self) -> None:
        """Raise EnvironmentFault E537 if this account lacks a permission that launching and watching a job needs."""

    def create(self, body: Object) -> bool:
        """Create a job; False if one of that name exists."""

    def read(self, name: str) -> Object:
        """Current state of a job; raises Unreachable if the server does not respond, EnvironmentFault E538 if there is no such job."""

    def delete(self, name: str, *, wait: bool = True) -> None:
        """Delete a job and its pods, and wait until it is gone; no error if it does not exist."""

    def pods(self, name: str) -> list[WorkerPod]:
        """Current pods of a job, rank zero first, newest first among equals."""

    def log(self, pod: str, *, is_before: bool = False) -> str:
        """Latest log lines of a pod with timestamps; with `is_before`, those of its container before the last restart."""

    def warnings(self, name: str) -> list[str]:
        """Warning events of a job and its pods."""


def connect(namespace: str, kind: str) -> JobClient:
    """API client with the pod's service account or the kubeconfig; raises EnvironmentFault E534 if neither is configured."""
    return KubernetesJobs(namespace, kind, api_client())


def permissions(namespace: str, kind: Kind) -> Sequence[Permission]:
    """Permissions needed to create, watch and delete a job in a namespace."""
    jobs = [Permission(verb=verb, group=kind.group, resource=kind.plural, namespace=namespace) for verb in ("create", "get", "delete")]
    core = (("list", "pods"), ("get", "pods/log"), ("list", "events"))
    return [*jobs, *(Permission(verb=verb, resource=resource, namespace=namespace) for verb, resource in core)]


class KubernetesJobs:
    """JobClient on a kubernetes ApiClient."""

    def __init__(self, namespace: str, kind: str, api: Any) -> None:
        from kubernetes import client

        self.namespace, self._name, self._kind, self._api = namespace, kind, KINDS[kind], api
        self._coordinates = {"group": self._kind.group, "version": self._kind.version, "plural": self._kind.plural, "namespace": namespace}
        self._objects, self._core = client.CustomObjectsApi(api), client.CoreV1Api(api)

    def check_rights(self) -> None:
        """Check each permission by a SelfSubjectAccessReview; raises EnvironmentFault E537 with the missing ones."""
        require_permissions(permissions(self.namespace, self._kind), self._api)

    def create(self, body: Object) -> bool:
        """POST the job; False if its name exists (HTTP 409).

        Raises EnvironmentFault E539 or E598 if the namespace or the kind of job does not exist, E596 if it refuses; Unreachable (E597) if
        it is busy or does not respond; a POST is repeated only while the server refuses to begin it (HTTP 429).
        """
        with api_errors("the training job", CONFLICT, NOT_FOUND, again=AGAIN) as refused:
            self._objects.create_namespaced_custom_object(**self._coordinates, body=body)
        if NOT_FOUND in refused:
            raise self._not_installed_error(refused[NOT_FOUND])
        return not refused

    def read(self, name: str) -> Object:
        """GET the job, repeated for about a minute (`serving.rollout.api_client`).

        Raises EnvironmentFault E538 if it does not exist, E596 if the server refuses, Unreachable (E597) if it does not respond.
        """
        with api_errors(f"reading training job {name}", NOT_FOUND, again=AGAIN):
            return dict(self._objects.get_namespaced_custom_object(**self._coordinates, name=name))
        remedy = "It was deleted by another client; the same step resumes from the last checkpoint."
        raise EnvironmentFault("E538", f"training job {name} is no longer in namespace {self.namespace}", remedy=remedy)

    def delete(self, name: str, *, wait: bool = True) -> None:
        """Delete in the foreground (pods first); with `wait`, poll every second until the job is gone, for at most 60 s.

        Raises EnvironmentFault E596 if the server refuses, Unreachable (E597) if it is busy or does not respond.
        """
        job = {**self._coordinates, "name": name}
        with api_errors(f"deleting training job {name}", NOT_FOUND, again=AGAIN):
            self._objects.delete_namespaced_custom_object(**job, propagation_policy="Foreground")
            deadline = time.monotonic() + DELETE_TIMEOUT_S
            while wait and time.monotonic() < deadline:
                self._objects.get_namespaced_custom_object(**job)
                time.sleep(1)

    def pods(self, name: str) -> list[WorkerPod]:
        """List the pods with the operator's label of the job, rank zero first, newest first among equals; raises E596 like `read`."""
        selector = self._kind.pods.format(name=name)
        with api_errors(f"the pods of training job {name}", again=AGAIN):
            found = self._core.list_namespaced_pod(self.namespace, label_selector=selector).items
        order = {pod.metadata.name: _rank_zero_order(pod.metadata.labels or {}, self._kind) for pod in found}
        pods = [worker_pod(pod, self._kind.container) for pod in found]
        return sorted(pods, key=lambda pod: (order[pod.name], -pod.created.timestamp()))

    def log(self, pod: str, *, is_before: bool = False) -> str:
        """Log lines of the last 30 s, or with `is_before` the last 200 of its previous run, each after its RFC 3339 time.

        Empty if no log is available: no container runs (HTTP 400, 404) or the node does not respond (5xx). Raises E596 for other errors.
        """
        span: dict[str, Any] = {"previous": True, "tail_lines": LAST_LINES} if is_before else {"since_seconds": LOG_S}
        with api_errors(f"the log of {pod}", *NO_LOG, again=AGAIN):
            return str(self._core.read_namespaced_pod_log(pod, self.namespace, container=self._kind.container, timestamps=True, **span))
        return ""

    def warnings(self, name: str) -> list[str]:
        """Warning events of the job and of objects `NAME-…` (its pods), as `REASON OBJECT: MESSAGE`; raises E596 like `read`."""
        with api_errors("its events", again=AGAIN):
            events = self._core.list_namespaced_event(self.namespace, field_selector="type=Warning").items
        own = (event for event in events if event.involved_object.name == name or event.involved_object.name.startswith(f"{name}-"))
        return [f"{event.reason} {event.involved_object.name}: {event.message}" for event in own]

    def _not_installed_error(self, reason: str) -> EnvironmentFault:
        if "namespaces" in reason:
            remedy = "Run `kubectl apply -f manifests/`, or set another one in LODESTAR_TRAINING."
            return EnvironmentFault("E539", f"the namespace {self.namespace} for training jobs does not exist", remedy=remedy)
        other = next(kind for kind in KINDS if kind != self._name)
        message = f"this cluster has no {self._name}: {self._kind.operator} is not installed"
        remedy = f'Install it, or set LODESTAR_TRAINING to `{{"kind": "{other}"}}`, or to `local` to train in the step\'s own pod.'
        return EnvironmentFault("E598", message, remedy=remedy)


def _rank_zero_order(labels: dict[str, str], kind: Kind) -> int:
    """Sort key of a pod: the index of the first `rank_zero` label that it has, so that the rank-zero pod comes first."""
    return next((index for index, (label, value) in enumerate(kind.rank_zero) if labels.get(label) == value), len(kind.rank_zero))


def conditions(job: Object) -> dict[str, str]:
    """True conditions of a job with their messages; a TrainJob, which has no such condition, is "Running" if pods of it are ready."""
    status = job.get("status", {})
    found = {
        condition["type"]: condition.get("message", "") for condition in status.get("conditions") or [] if condition["status"] == "True"
    }
    is_ready = any(part.get("ready") for part in status.get("jobsStatus") or [])
    return found | ({"Running": "pods are ready"} if is_ready else {})
