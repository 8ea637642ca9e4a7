"""What following a training job needs of the API server."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from components.job_pods import Pod, pod_of
from components.kubernetes_access import Right, require
from lodestar.errors import EnvironmentFault

Object = dict[str, Any]

CONFLICT, NOT_FOUND = 409, 404
# A pod without a container that runs has no log yet; on a node that does not answer it has none for now.
NO_LOG = (400, NOT_FOUND, 500, 502, 503, 504)
LOG_S, LAST_LINES = 30, 200
# A job is followed for hours; a reading that meets a restart of the API server is repeated for about a minute.
RETRIES, BACKOFF_S, BUSY = 7, 0.5, (429, 502, 503, 504)
GONE_S = 60.0


class Unreachable(EnvironmentFault):
    """The API server does not answer for now: what was asked may be asked again."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What of following a job depends on who runs it; `pods` selects a job's, and `rank_zero` are the labels of those that log for all."""

    group: str
    version: str
    plural: str
    succeeded: str
    container: str
    operator: str
    pods: str
    rank_zero: tuple[tuple[str, str], ...]


# Of an elastic PyTorchJob, which has no master, torchrun gives rank 0 to the first of the workers that are there, by name.
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


class JobServer(Protocol):
    """The training jobs of one kind in one namespace, their pods and what went wrong around them."""

    def check_rights(self) -> None:
        """EnvironmentFault E537 where this account may not do all that following a job takes."""

    def create(self, body: Object) -> bool:
        """False where one of that name exists."""

    def read(self, name: str) -> Object:
        """The job as it is now; Unreachable where the server does not answer, EnvironmentFault E538 where there is no such job."""

    def delete(self, name: str, *, wait: bool = True) -> None:
        """Delete the job and its pods, and wait until it is gone; no error where it is gone already."""

    def pods(self, name: str) -> list[Pod]:
        """The job's pods as they are now, those first that speak for all, the newest of them before the others."""

    def log(self, pod: str, *, is_before: bool = False) -> str:
        """The newest lines that a pod wrote, each after its time; of its container before the last start, the last ones."""

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
    return KubernetesJobs(namespace, kind, client.ApiClient(patient))


def rights(namespace: str, kind: Kind) -> Sequence[Right]:
    """What starting, following and taking back a job takes."""
    of_jobs = [Right(verb=verb, group=kind.group, resource=kind.plural, namespace=namespace) for verb in ("create", "get", "delete")]
    around = (("list", "pods"), ("get", "pods/log"), ("list", "events"))
    return [*of_jobs, *(Right(verb=verb, resource=resource, namespace=namespace) for verb, resource in around)]


class KubernetesJobs:
    """The API server that a kubernetes ApiClient speaks to."""

    def __init__(self, namespace: str, kind: str, api: Any) -> None:
        from kubernetes import client

        self.namespace, self._name, self._kind, self._api = namespace, kind, KINDS[kind], api
        self._place = {"group": self._kind.group, "version": self._kind.version, "plural": self._kind.plural, "namespace": namespace}
        self._objects, self._core = client.CustomObjectsApi(api), client.CoreV1Api(api)

    def check_rights(self) -> None:
        """Ask for each right by a SelfSubjectAccessReview: E537 names those that are missing; where the server does not answer, none is."""
        require(rights(self.namespace, self._kind), self._api)

    def create(self, body: Object) -> bool:
        """POST the job; False where its name exists (HTTP 409).

        EnvironmentFault E539 where the namespace or the kind of job is not there, E534 where it is refused; Unreachable (E534) where the
        server is busy or does not answer: a POST is not retried.
        """
        with _refusals("the training job", CONFLICT, NOT_FOUND) as refused:
            self._objects.create_namespaced_custom_object(**self._place, body=body)
        if NOT_FOUND in refused:
            raise self._nothing_there(refused[NOT_FOUND])
        return not refused

    def read(self, name: str) -> Object:
        """GET the job, retried for about a minute; E538 where it is gone, E534 where refused, Unreachable (E534) where nobody answers."""
        with _refusals(f"reading training job {name}", NOT_FOUND):
            return dict(self._objects.get_namespaced_custom_object(**self._place, name=name))
        remedy = "Who deleted it? The same step goes on from the last checkpoint."
        raise EnvironmentFault("E538", f"training job {name} is no longer in namespace {self.namespace}", remedy=remedy)

    def delete(self, name: str, *, wait: bool = True) -> None:
        """Delete in the foreground, pods before the job; with `wait` look each second until it is gone, for 60 s at most, then return.

        EnvironmentFault E534 where it is refused, Unreachable (E534) where the server is busy or does not answer.
        """
        place = {**self._place, "name": name}
        with _refusals(f"deleting training job {name}", NOT_FOUND):
            self._objects.delete_namespaced_custom_object(**place, propagation_policy="Foreground")
            deadline = time.monotonic() + GONE_S
            while wait and time.monotonic() < deadline:
                self._objects.get_namespaced_custom_object(**place)
                time.sleep(1)

    def pods(self, name: str) -> list[Pod]:
        """List the pods that bear the operator's label of the job, rank zero first, of equal ones the newest first; E534 as `read`."""
        selector = self._kind.pods.format(name=name)
        with _refusals(f"the pods of training job {name}"):
            found = self._core.list_namespaced_pod(self.namespace, label_selector=selector).items
        rank = {thing.metadata.name: _rank(thing.metadata.labels or {}, self._kind) for thing in found}
        made = [pod_of(thing, self._kind.container) for thing in found]
        return sorted(made, key=lambda pod: (rank[pod.name], -pod.created.timestamp()))

    def log(self, pod: str, *, is_before: bool = False) -> str:
        """Lines of the last 30 s, or with `is_before` the last 200 of the container's run before; each begins with its RFC 3339 time.

        Empty where there is no log for now: no container runs (HTTP 400, 404) or the node does not answer (5xx). E534 for other refusals.
        """
        span: dict[str, Any] = {"previous": True, "tail_lines": LAST_LINES} if is_before else {"since_seconds": LOG_S}
        with _refusals(f"the log of {pod}", *NO_LOG):
            return str(self._core.read_namespaced_pod_log(pod, self.namespace, container=self._kind.container, timestamps=True, **span))
        return ""

    def warnings(self, name: str) -> list[str]:
        """Warning events of the job and of objects named `NAME-…`, such as its pods, as `REASON OBJECT: MESSAGE`; E534 as `read`."""
        with _refusals("its events"):
            events = self._core.list_namespaced_event(self.namespace, field_selector="type=Warning").items
        about = (event for event in events if event.involved_object.name == name or event.involved_object.name.startswith(f"{name}-"))
        return [f"{event.reason} {event.involved_object.name}: {event.message}" for event in about]

    def _nothing_there(self, said: str) -> EnvironmentFault:
        if "namespaces" in said:
            remedy = "Run `kubectl apply -f manifests/`, or name another one in LODESTAR_TRAINING."
            return EnvironmentFault("E539", f"there is no namespace {self.namespace} for training jobs", remedy=remedy)
        other = next(kind for kind in KINDS if kind != self._name)
        message = f"this cluster knows no {self._name}: {self._kind.operator} is not installed"
        remedy = f'Install it, or set LODESTAR_TRAINING to `{{"kind": "{other}"}}`, or to `local` to train in the step\'s own pod.'
        return EnvironmentFault("E539", message, remedy=remedy)


def _rank(labels: dict[str, str], kind: Kind) -> int:
    """Place among those that may speak for all."""
    return next((place for place, (label, value) in enumerate(kind.rank_zero) if labels.get(label) == value), len(kind.rank_zero))


def conditions(job: Object) -> dict[str, str]:
    """The conditions of a job that hold, with what they say; a TrainJob runs, which is no condition there, where pods of it are ready."""
    status = job.get("status", {})
    facts = {fact["type"]: fact.get("message", "") for fact in status.get("conditions") or [] if fact["status"] == "True"}
    is_ready = any(part.get("ready") for part in status.get("jobsStatus") or [])
    return facts | ({"Running": "pods are ready"} if is_ready else {})


@contextmanager
def _refusals(what: str, *expected: int) -> Iterator[dict[int, str]]:
    """A refusal by the API server as EnvironmentFault E534, Unreachable where it is busy; an expected one is kept with what it said."""
    from kubernetes import client
    from urllib3.exceptions import HTTPError

    refused: dict[int, str] = {}
    try:
        yield refused
    except client.ApiException as error:
        refused[error.status] = said = _reason(error.body)
        if error.status not in expected:
            fault = Unreachable if error.status in {500, *BUSY} else EnvironmentFault
            message = f"the API server refused {what}: {error.status} {error.reason} {said}".rstrip()
            raise fault("E534", message, remedy="Check that manifests/ is applied and that this account may do it.") from error
    except HTTPError as error:
        remedy = "Run the same step again: it follows the job, or goes on from its last checkpoint."
        raise Unreachable("E534", f"the API server does not answer ({what}): {error}", remedy=remedy) from error


def _reason(body: str | bytes | None) -> str:
    try:
        return str(json.loads(body or "{}").get("message", ""))
    except ValueError:
        return ""
