"""What a rollout needs of the API server: read a service, make a change of what was read, and know when the change has come to pass."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from lodestar.errors import EnvironmentFault, LodestarError, UsageError
from lodestar.progress import log_event

Object = dict[str, Any]

NAMESPACE = "lodestar"
PLURALS = {"InferenceService": "inferenceservices", "HTTPRoute": "httproutes"}
SERVICE, ROUTE = PLURALS
VERSIONS = {SERVICE: "serving.kserve.io/v1beta1", ROUTE: "gateway.networking.k8s.io/v1"}
CANARY = "canary"
# A DNS label, and one to which KServe can add `-predictor`.
LABEL, NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"), re.compile(r"[a-z]([-a-z0-9]{0,51}[a-z0-9])?")
# What a rollout asks of the API server in the service's namespace, by group; the Role `rollout` of manifests/ allows this and no more.
RIGHTS = (
    *((VERSIONS[SERVICE].partition("/")[0], PLURALS[SERVICE], verb) for verb in ("get", "create", "patch", "delete")),
    *((VERSIONS[ROUTE].partition("/")[0], PLURALS[ROUTE], verb) for verb in ("get", "patch")),
    ("apps", "deployments", "list"),
)
KNATIVE = ("Knative", "Serverless")
# Where KServe writes which bundle the pods of a Deployment fetch.
SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"
NOT_FOUND, CONFLICT = 404, 409
READY_S, POLL_S = 600.0, 2.0
# A pod that is terminated has 30 s: what it began is undone within them, whether or not the gateway has said so.
TAKE_BACK_S = 8.0
# Controllers write what they found into the same objects: a change that met one is made again of what is there then.
CONFLICT_S, CONFLICT_POLL_S = 60.0, 0.2


@dataclass(frozen=True, kw_only=True)
class Live:
    """An InferenceService, the HTTPRoute NAME-split that carries the weights, and the second service NAME-canary, where there are such."""

    service: Object
    route: Object | None
    second: Object | None = None


# What is live to a JSON merge patch of one object, or to nothing where nothing is left to do.
Step = Callable[[Live], Object | None]


class ApiServer(Protocol):
    """The API server, as seen by the rollout of one service."""

    def live(self) -> Live:
        """The service and its route as they are now."""

    def answers(self, service: Object) -> bool:
        """Whether requests to it are answered."""

    def make(self, steps: list[Step]) -> None:
        """Make changes one after the other, each of what is live once the one before has come to pass.

        A change of an object that someone else has changed since it was read is refused by the server, and made anew;
        EnvironmentFault E572 where that goes on for a minute.
        """

    def undo(self, steps: list[Step]) -> None:
        """Make changes as far as that can be done in seconds; one that is refused is said, and does not keep the next from being made."""


def connect(service: str) -> ApiServer:
    """With a pod's own account, or as the kubeconfig says."""
    from kubernetes import config

    namespace, name = place(service)
    try:
        config.load_config()
    except config.ConfigException as error:
        remedy = "Run it in a pod with an account, or set KUBECONFIG."
        raise EnvironmentFault("E541", f"no Kubernetes to talk to: {error}", remedy=remedy) from error
    return Kubernetes(namespace=namespace, name=name)


def place(service: str) -> tuple[str, str]:
    """Namespace and name of a service that is written NAME or NAMESPACE/NAME; UsageError where either cannot be that of one."""
    namespace, _, name = service.rpartition("/")
    if not (LABEL.fullmatch(namespace or NAMESPACE) and NAME.fullmatch(name)):
        raise UsageError(
            f"{service!r} names no InferenceService: write NAMESPACE/NAME in small letters, digits and hyphens, such as lodestar/recommend "
            "(a name begins with a letter and has at most 53 characters)"
        )
    return namespace or NAMESPACE, name


@dataclass(frozen=True, kw_only=True)
class Kubernetes:
    """The API server that the kubernetes client is configured for."""

    namespace: str
    name: str

    def live(self) -> Live:
        """GET both services and the route; a canary that is being deleted counts as none. E541 where refused or not answered."""
        with _refusals(f"InferenceService {self.namespace}/{self.name}"):
            service = self._read(SERVICE, self.name)
            second = self._found(SERVICE, f"{self.name}-{CANARY}")
            if second is not None and "deletionTimestamp" in second["metadata"]:
                second = None  # a new one is refused until it is gone, and then made
        with _refusals(f"HTTPRoute {self.namespace}/{self.name}-split"):
            return Live(service=service, route=self._found(ROUTE, f"{self.name}-split"), second=second)

    def answers(self, service: Object) -> bool:
        """Whether the condition `Ready` that KServe wrote into `service` is True; no request is sent."""
        return condition(service, "Ready")

    def make(self, steps: list[Step]) -> None:
        """Send each change, then look every 2 s until it took effect: E542 after 600 s, E541 if refused, E572 after 60 s of conflicts."""
        for step in steps:
            self._make(step, READY_S)

    def undo(self, steps: list[Step]) -> None:
        """As `make` with 8 s for each change, since a terminated pod has 30 s; what a change raises is logged as a `rollout` event."""
        for step in steps:
            try:
                self._make(step, TAKE_BACK_S)
            except LodestarError as error:
                log_event("rollout", service=f"{self.namespace}/{self.name}", state="not undone", error=str(error))

    def _make(self, step: Step, ready_s: float) -> None:
        deadline = time.monotonic() + min(ready_s, CONFLICT_S)
        while (change := step(before := self.live())) is not None:
            kind, name = change["kind"], change["metadata"]["name"]
            with _refusals(f"{kind} {name}"):
                is_made = self._send(kind, name, change)
            if is_made:
                return None if _is_deletion(change) else self._wait(change, before, ready_s)
            if time.monotonic() > deadline:
                message = f"{kind} {name} is changed by others, each time after it was read"
                raise EnvironmentFault("E572", message, remedy="Run the same command again.")
            time.sleep(CONFLICT_POLL_S)
        return None

    def _send(self, kind: str, name: str, change: Object) -> bool:
        """False where the object is no longer the one that the change was made of."""
        from kubernetes import client

        objects, place = client.CustomObjectsApi(), self._place(kind)
        version = change["metadata"].get("resourceVersion")
        try:
            if _is_deletion(change):
                objects.delete_namespaced_custom_object(**place, name=name, body={"preconditions": {"resourceVersion": version}})
            elif version is None:
                objects.create_namespaced_custom_object(**place, body=change)
            else:
                objects.patch_namespaced_custom_object(**place, name=name, body=change)
        except client.ApiException as error:
            if error.status not in {CONFLICT, NOT_FOUND}:
                raise
            return False
        return True

    def _wait(self, change: Object, before: Live, ready_s: float) -> None:
        kind, name = change["kind"], change["metadata"]["name"]
        deadline = time.monotonic() + ready_s
        while True:
            with _refusals(f"{kind} {name}"):
                now = self._read(kind, name)
                if is_routed(now, before.route or {}) if kind == ROUTE else has_settled(now, self._deployments(name)):
                    return
            if time.monotonic() > deadline:
                remedy = f"See `kubectl -n {self.namespace} describe inferenceservice,pods`."
                raise EnvironmentFault("E542", f"{kind} {name} was not ready after {ready_s:.0f} s: {said(now)}", remedy=remedy)
            time.sleep(POLL_S)

    def _deployments(self, name: str) -> list[Any]:
        from kubernetes import client

        label = f"serving.kserve.io/inferenceservice={name}"
        return list(client.AppsV1Api().list_namespaced_deployment(self.namespace, label_selector=label).items)

    def _found(self, kind: str, name: str) -> Object | None:
        from kubernetes import client

        try:
            return self._read(kind, name)
        except client.ApiException as error:
            if error.status != NOT_FOUND:
                raise
            return None

    def _read(self, kind: str, name: str) -> Object:
        from kubernetes import client

        found = client.CustomObjectsApi().get_namespaced_custom_object(**self._place(kind), name=name)
        return dict(found)

    def _place(self, kind: str) -> dict[str, str]:
        group, version = VERSIONS[kind].split("/")
        return {"group": group, "version": version, "namespace": self.namespace, "plural": PLURALS[kind]}


def _is_deletion(change: Object) -> bool:
    return change.get("$patch") == "delete"


def has_settled(service: Object, deployments: list[Any]) -> bool:
    """Whether requests are answered by the bundles that the service asks for, and by no others.

    Not by `observedGeneration`: that is a Deployment's, and says nothing of the service's own generation.
    """
    if not condition(service, "Ready") or (service["spec"].get("canary") and not condition(service, "CanaryPredictorReady")):
        return False
    if service.get("status", {}).get("deploymentMode") in KNATIVE:
        return is_shared(service)
    parts = [service["spec"], *service["spec"].get("canary", [])]
    wanted = {part["predictor"]["model"].get("storageUri") for part in parts}
    running = {(one.spec.template.metadata.annotations or {}).get(SOURCE) for one in deployments}
    return running == wanted and all(is_rolled_out(one) for one in deployments)


def is_shared(service: Object) -> bool:
    """Whether Knative's newest revision is ready and has its share of the requests, which is all where none is said."""
    now = service["status"].get("components", {}).get("predictor", {})
    shares = [target.get("percent", 0) for target in now.get("traffic", []) if target.get("latestRevision")]
    is_ready = now.get("latestCreatedRevision") == now.get("latestReadyRevision")
    return is_ready and shares == [service["spec"]["predictor"].get("canaryTrafficPercent", 100)]


def is_routed(route: Object, before: Object) -> bool:
    """Whether every gateway of a route carries its last change.

    What was not true of it before need not become true: a rule of its owner's may send to a Service that is not there, or answers nothing.
    """
    untrue = _untrue(route, route["metadata"]["generation"])
    excused = {(parent, kind) for parent, kind in _untrue(before, 0) if kind != "Accepted"}
    return bool(_facts(route)) and untrue <= excused


def _untrue(route: Object, generation: int) -> set[tuple[str, str]]:
    """By gateway, the conditions that are not true of that generation of a route, or of a newer one."""
    facts = _facts(route).items()
    return {name for name, fact in facts if fact["status"] != "True" or fact.get("observedGeneration", 0) < generation}


def _facts(route: Object) -> dict[tuple[str, str], Object]:
    parents = route.get("status", {}).get("parents", [])
    return {(json.dumps(parent.get("parentRef")), fact["type"]): fact for parent in parents for fact in parent["conditions"]}


def is_rolled_out(deployment: Any) -> bool:
    """Whether no pod of an older revision is left."""
    status, wanted = deployment.status, deployment.spec.replicas
    seen = (status.observed_generation or 0) >= deployment.metadata.generation
    counts = {status.updated_replicas or 0, status.replicas or 0, status.available_replicas or 0}
    return bool(seen and counts == {wanted})


def condition(service: Object, name: str) -> bool:
    """Whether a condition of that type is true."""
    return any(fact["type"] == name and fact["status"] == "True" for fact in service.get("status", {}).get("conditions", []))


def said(thing: Object) -> str:
    """What the conditions that are not true have to say, of a service or of a route."""
    status = thing.get("status", {})
    facts = [fact for place in (status, *status.get("parents", [])) for fact in place.get("conditions", [])]
    untrue = [fact for fact in facts if fact["status"] != "True" and fact.get("severity") != "Info"]
    return "; ".join(f"{fact['type']}: {fact.get('message') or fact.get('reason', '')}" for fact in untrue)


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    from kubernetes import client
    from urllib3.exceptions import HTTPError

    try:
        yield
    except client.ApiException as error:
        message = f"the API server refused {what}: {error.status} {error.reason} {_reason(error.body)}".rstrip()
        raise EnvironmentFault("E541", message, remedy="Check that manifests/ is applied and that this account may do it.") from error
    except HTTPError as error:
        raise EnvironmentFault("E541", f"the API server does not answer ({what}): {error}", remedy="Run the same command again.") from error


def _reason(body: str | bytes | None) -> str:
    try:
        return str(json.loads(body or "{}").get("message", ""))
    except ValueError:
        return ""
