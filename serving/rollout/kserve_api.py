"""Kubernetes client of a rollout: read an InferenceService and its route, patch them, and wait until a patch has taken effect."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from lodestar.errors import EnvironmentFault, LodestarError, UsageError
from lodestar.progress import log_event
from serving.rollout.api_errors import CONFLICT, NOT_FOUND, api_errors, load_config

Object = dict[str, Any]

NAMESPACE = "lodestar"
PLURALS = {"InferenceService": "inferenceservices", "HTTPRoute": "httproutes"}
SERVICE, ROUTE = PLURALS
VERSIONS = {SERVICE: "serving.kserve.io/v1beta1", ROUTE: "gateway.networking.k8s.io/v1"}
CANARY = "canary"
# A DNS label, and one to which KServe can add `-predictor`.
LABEL, NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"), re.compile(r"[a-z]([-a-z0-9]{0,51}[a-z0-9])?")
# Rights that a rollout needs in the service's namespace: group, resource, verb; the Role `rollout` of manifests/ grants exactly these.
RIGHTS = (
    *((VERSIONS[SERVICE].partition("/")[0], PLURALS[SERVICE], verb) for verb in ("get", "create", "patch", "delete")),
    *((VERSIONS[ROUTE].partition("/")[0], PLURALS[ROUTE], verb) for verb in ("get", "patch")),
    ("apps", "deployments", "list"),
)
KNATIVE = ("Knative", "Serverless")
# KServe's annotation with the bundle that the pods of a Deployment download.
SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"
READY_S, POLL_S = 600.0, 2.0
# A terminated pod has 30 s: its changes are undone within them, whether or not the gateway confirms it.
UNDO_S = 8.0
# Controllers write the status of the same objects: a conflicting patch is made again from the new version.
CONFLICT_S, CONFLICT_POLL_S = 60.0, 0.2


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """An InferenceService, and if they exist its HTTPRoute NAME-split with the weights and its canary service NAME-canary."""

    service: Object
    route: Object | None
    canary: Object | None = None


# From the live objects to a JSON merge patch of one object, or None if nothing is left to do.
Step = Callable[[ServiceState], Object | None]


class ApiServer(Protocol):
    """The API server, as seen by the rollout of one service."""

    def live(self) -> ServiceState:
        """The current service, route and canary service."""

    def is_ready(self, service: Object) -> bool:
        """Whether the service answers requests."""

    def apply(self, steps: list[Step]) -> None:
        """Apply steps in order, each made from the live objects after the one before has taken effect.

        A patch of an object that was changed since it was read is a conflict, and is made again; EnvironmentFault E572 after a minute of
        conflicts.
        """

    def undo(self, steps: list[Step]) -> None:
        """Apply steps within seconds each, to undo a rollout; a failed step is logged, and the next one is still applied."""


def connect(service: str) -> ApiServer:
    """The API server, by a pod's service account or the kubeconfig; EnvironmentFault E534 without either."""
    namespace, name = place(service)
    load_config()
    return Kubernetes(namespace=namespace, name=name)


def place(service: str) -> tuple[str, str]:
    """Parse NAME or NAMESPACE/NAME into namespace and name; UsageError if either is invalid."""
    namespace, _, name = service.rpartition("/")
    if not (LABEL.fullmatch(namespace or NAMESPACE) and NAME.fullmatch(name)):
        raise UsageError(
            f"{service!r} is not the name of an InferenceService: write NAMESPACE/NAME in small letters, digits and hyphens, "
            "such as lodestar/recommend (a name begins with a letter and has at most 53 characters)",
            code="E316",
        )
    return namespace or NAMESPACE, name


@dataclass(frozen=True, kw_only=True)
class Kubernetes:
    """The API server that the kubernetes client is configured for."""

    namespace: str
    name: str

    def live(self) -> ServiceState:
        """GET both services and the route; a canary being deleted counts as none. EnvironmentFault E596 (refused) or E597 (no answer)."""
        with api_errors(f"InferenceService {self.namespace}/{self.name}"):
            service = self._read(SERVICE, self.name)
            canary = self._found(SERVICE, f"{self.name}-{CANARY}")
            if canary is not None and "deletionTimestamp" in canary["metadata"]:
                canary = None  # creating a new one conflicts until it is gone
        with api_errors(f"HTTPRoute {self.namespace}/{self.name}-split"):
            return ServiceState(service=service, route=self._found(ROUTE, f"{self.name}-split"), canary=canary)

    def is_ready(self, service: Object) -> bool:
        """Whether the condition `Ready` in the status of `service` is true; no request is sent."""
        return condition(service, "Ready")

    def apply(self, steps: list[Step]) -> None:
        """Send each patch, then poll every 2 s until it took effect: E542 after 600 s, E596 if refused, E572 after 60 s of conflicts."""
        for step in steps:
            self._apply(step, READY_S)

    def undo(self, steps: list[Step]) -> None:
        """As `apply` with 8 s for each patch, since a terminated pod has 30 s; errors are logged as `rollout` events."""
        for step in steps:
            try:
                self._apply(step, UNDO_S)
            except LodestarError as error:
                log_event("rollout", service=f"{self.namespace}/{self.name}", state="not undone", error=str(error))

    def _apply(self, step: Step, ready_s: float) -> None:
        deadline = time.monotonic() + min(ready_s, CONFLICT_S)
        while (change := step(before := self.live())) is not None:
            kind, name = change["kind"], change["metadata"]["name"]
            with api_errors(f"{kind} {name}"):
                is_made = self._send(kind, name, change)
            if is_made:
                return None if _is_deletion(change) else self._wait(change, before, ready_s)
            if time.monotonic() > deadline:
                message = f"{kind} {name} keeps being changed by others after it was read"
                raise EnvironmentFault("E572", message, remedy="Run the same command again.")
            time.sleep(CONFLICT_POLL_S)
        return None

    def _send(self, kind: str, name: str, change: Object) -> bool:
        """Send a patch; False on a conflict, if the object is no longer the version that the patch was made from."""
        from kubernetes import client

        objects, resource = client.CustomObjectsApi(), self._resource(kind)
        version = change["metadata"].get("resourceVersion")
        try:
            if _is_deletion(change):
                objects.delete_namespaced_custom_object(**resource, name=name, body={"preconditions": {"resourceVersion": version}})
            elif version is None:
                objects.create_namespaced_custom_object(**resource, body=change)
            else:
                objects.patch_namespaced_custom_object(**resource, name=name, body=change)
        except client.ApiException as error:
            if error.status not in {CONFLICT, NOT_FOUND}:
                raise
            return False
        return True

    def _wait(self, change: Object, before: ServiceState, ready_s: float) -> None:
        kind, name = change["kind"], change["metadata"]["name"]
        deadline = time.monotonic() + ready_s
        while True:
            with api_errors(f"{kind} {name}"):
                now = self._read(kind, name)
                if is_routed(now, before.route or {}) if kind == ROUTE else has_settled(now, self._deployments(name)):
                    return
            if time.monotonic() > deadline:
                remedy = f"See `kubectl -n {self.namespace} describe inferenceservice,pods`."
                raise EnvironmentFault("E542", f"{kind} {name} was not ready after {ready_s:.0f} s: {unmet_conditions(now)}", remedy=remedy)
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

        found = client.CustomObjectsApi().get_namespaced_custom_object(**self._resource(kind), name=name)
        return dict(found)

    def _resource(self, kind: str) -> dict[str, str]:
        group, version = VERSIONS[kind].split("/")
        return {"group": group, "version": version, "namespace": self.namespace, "plural": PLURALS[kind]}


def _is_deletion(change: Object) -> bool:
    return change.get("$patch") == "delete"


def has_settled(service: Object, deployments: list[Any]) -> bool:
    """Whether a patched service is rolled out: requests are answered by the bundles of its spec, and by no others.

    Not read from `observedGeneration`, which is that of a Deployment, and not of the service.
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
    """Whether Knative's newest revision is ready and has its share of the traffic, 100 percent by default."""
    now = service["status"].get("components", {}).get("predictor", {})
    shares = [target.get("percent", 0) for target in now.get("traffic", []) if target.get("latestRevision")]
    is_ready = now.get("latestCreatedRevision") == now.get("latestReadyRevision")
    return is_ready and shares == [service["spec"]["predictor"].get("canaryTrafficPercent", 100)]


def is_routed(route: Object, before: Object) -> bool:
    """Whether every gateway of a route has accepted its last change.

    Conditions that were not true before are excused: a rule of the owner may send to a Service that does not exist.
    """
    unmet = _unmet(route, route["metadata"]["generation"])
    excused = {(parent, kind) for parent, kind in _unmet(before, 0) if kind != "Accepted"}
    return bool(_facts(route)) and unmet <= excused


def _unmet(route: Object, generation: int) -> set[tuple[str, str]]:
    """The (gateway, condition) pairs that are not true for that generation of a route or a newer one."""
    facts = _facts(route).items()
    return {name for name, fact in facts if fact["status"] != "True" or fact.get("observedGeneration", 0) < generation}


def _facts(route: Object) -> dict[tuple[str, str], Object]:
    parents = route.get("status", {}).get("parents", [])
    return {(json.dumps(parent.get("parentRef")), fact["type"]): fact for parent in parents for fact in parent["conditions"]}


def is_rolled_out(deployment: Any) -> bool:
    """Whether a Deployment is rolled out, without pods of an older revision."""
    status, wanted = deployment.status, deployment.spec.replicas
    seen = (status.observed_generation or 0) >= deployment.metadata.generation
    counts = {status.updated_replicas or 0, status.replicas or 0, status.available_replicas or 0}
    return bool(seen and counts == {wanted})


def condition(service: Object, name: str) -> bool:
    """Whether the condition of that type is true in the status of a service."""
    return any(fact["type"] == name and fact["status"] == "True" for fact in service.get("status", {}).get("conditions", []))


def unmet_conditions(thing: Object) -> str:
    """Types and messages of the conditions of a service or route that are not true."""
    status = thing.get("status", {})
    facts = [fact for owner in (status, *status.get("parents", [])) for fact in owner.get("conditions", [])]
    unmet = [fact for fact in facts if fact["status"] != "True" and fact.get("severity") != "Info"]
    return "; ".join(f"{fact['type']}: {fact.get('message') or fact.get('reason', '')}" for fact in unmet)
