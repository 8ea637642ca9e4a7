"""Kubernetes client of a rollout: read an InferenceService, its route and its record, patch them, and wait until that takes effect."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lodestar.errors import EnvironmentFault, LodestarError, UsageError
from lodestar.progress import log_event
from serving.rollout.api_client import HURRIED, api_client
from serving.rollout.api_errors import CONFLICT, NOT_FOUND, Unreachable, api_errors
from serving.rollout.conditions import condition, has_settled, is_routed, unmet_conditions

Object = dict[str, Any]

NAMESPACE = "lodestar"
PLURALS = {"InferenceService": "inferenceservices", "HTTPRoute": "httproutes", "ConfigMap": "configmaps"}
SERVICE, ROUTE, RECORD = PLURALS
VERSIONS = {SERVICE: "serving.kserve.io/v1beta1", ROUTE: "gateway.networking.k8s.io/v1", RECORD: "v1"}
CANARY = "canary"
# A DNS label, and one to which KServe can add `-predictor`.
LABEL, NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"), re.compile(r"[a-z]([-a-z0-9]{0,51}[a-z0-9])?")
# Rights that a rollout needs in the service's namespace: group, resource, verb; the Role `rollout` of manifests/ grants exactly these.
RIGHTS = (
    *((VERSIONS[SERVICE].partition("/")[0], PLURALS[SERVICE], verb) for verb in ("get", "create", "patch", "delete")),
    *((VERSIONS[ROUTE].partition("/")[0], PLURALS[ROUTE], verb) for verb in ("get", "patch")),
    ("apps", "deployments", "list"),
    *(("", PLURALS[RECORD], verb) for verb in ("get", "create", "patch")),
)
READY_S, POLL_S = 600.0, 2.0
# A service with no available pod for this time answers nothing; a shorter one may be a restart of its pods.
SILENT_S = 60.0
# A terminated pod has 30 s: its changes are undone within them, whether or not the gateway confirms it. A failed rollout has more.
UNDO_S, UNDO_FAILED_S = 20.0, 120.0
# Controllers write the status of the same objects, and a server may be away briefly: a patch is made again from the new version.
CONFLICT_S, CONFLICT_POLL_S = 60.0, 0.2


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """An InferenceService, and if they exist its HTTPRoute NAME-split, its canary service NAME-canary and the ConfigMap NAME-rollout."""

    service: Object
    route: Object | None
    canary: Object | None = None
    record: Object | None = None


# From the live objects to a JSON merge patch of one object, or None if nothing is left to do.
Step = Callable[[ServiceState], Object | None]


@dataclass(frozen=True, kw_only=True)
class Reversal:
    """Steps that move traffic back, sent one after the other without waiting; and those that are safe only after that has settled."""

    at_once: list[Step]
    afterwards: list[Step]


class ApiServer(Protocol):
    """The API server, as seen by the rollout of one service."""

    def live(self) -> ServiceState:
        """The current service, route, canary service and record."""

    def answers(self) -> bool:
        """Wait until the service is ready (True), or no pod of it has been available for a minute (False).

        EnvironmentFault E542 if it is neither after ten minutes, as where one of several pods cannot start.
        """

    def apply(self, steps: list[Step]) -> None:
        """Apply steps in order, each made from the live objects after the one before is in effect.

        A patch of an object that was changed since it was read is a conflict, and is made again; EnvironmentFault E572 after a minute of
        conflicts.
        """

    def revert(self, reversal: Reversal) -> None:
        """Apply a reversal; a step that fails holds no other of `at_once` up, and its error is raised in the end."""

    def undo(self, reversal: Reversal, *, is_terminated: bool) -> None:
        """As `revert`, to take an unfinished rollout back; errors are logged. Within seconds if the process is being terminated."""


def connect(service: str) -> ApiServer:
    """The API server, by a pod's service account or the kubeconfig; EnvironmentFault E534 without either."""
    namespace, name = place(service)
    return Kubernetes(namespace=namespace, name=name, api=api_client())


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


def record_name(name: str) -> str:
    """The name of the ConfigMap with the record of a service's rollouts."""
    return f"{name}-rollout"


@dataclass(frozen=True, kw_only=True)
class Kubernetes:
    """The API server that `api`, a kubernetes ApiClient, is configured for."""

    namespace: str
    name: str
    api: Any

    def live(self) -> ServiceState:
        """GET all four; a canary being deleted counts as none. EnvironmentFault E596 (refused) or E597 (no answer)."""
        service = self._get(SERVICE, self.name)
        canary = self._found(SERVICE, f"{self.name}-{CANARY}")
        if canary is not None and "deletionTimestamp" in canary["metadata"]:
            canary = None  # creating a new one conflicts until it is gone
        route, record = self._found(ROUTE, f"{self.name}-split"), self._found(RECORD, record_name(self.name))
        return ServiceState(service=service, route=route, canary=canary, record=record)

    def answers(self) -> bool:
        """Poll the condition `Ready`, which KServe takes away while one pod of several is missing, and the pods available, every 2 s."""
        last_available_s, is_ready = time.monotonic(), False

        def check() -> EnvironmentFault | None:
            nonlocal last_available_s, is_ready
            service = self._get(SERVICE, self.name)
            is_ready = condition(service, "Ready")
            if any(one.status.available_replicas for one in self._deployments(self.name)):
                last_available_s = time.monotonic()
            is_silent = time.monotonic() - last_available_s >= SILENT_S
            return None if is_ready or is_silent else self._not_ready(SERVICE, service)

        _poll(check, time.monotonic() + READY_S)
        return is_ready

    def apply(self, steps: list[Step]) -> None:
        """Send each patch, then poll every 2 s until it is in effect: E542 after 600 s, E596 if refused, E572 after 60 s of conflicts.

        A server that does not respond is tried again for a minute, or while waiting for the 600 s; then E597.
        """
        for step in steps:
            deadline = time.monotonic() + READY_S
            self._wait(self._make(step, deadline), deadline)

    def revert(self, reversal: Reversal) -> None:
        """As `apply`, with 600 s in all."""
        faults = self._revert(reversal, READY_S)
        if faults:
            raise faults[0]

    def undo(self, reversal: Reversal, *, is_terminated: bool) -> None:
        """As `revert` with 120 s in all, or 20 s since a terminated pod has 30; errors are logged as `rollout` events."""
        hurried = replace(self, api=api_client(HURRIED)) if is_terminated else self
        for fault in hurried._revert(reversal, UNDO_S if is_terminated else UNDO_FAILED_S):
            log_event("rollout", service=f"{self.namespace}/{self.name}", state="not undone", error=str(fault))

    def _revert(self, reversal: Reversal, within_s: float) -> list[LodestarError]:
        deadline = time.monotonic() + within_s
        faults, made = list[LodestarError](), list[_Made | None]()
        for step in reversal.at_once:
            try:
                made.append(self._make(step, deadline))
            except LodestarError as fault:
                faults.append(fault)
        for change in made:
            try:
                self._wait(change, deadline)
            except LodestarError as fault:
                faults.append(fault)
        try:
            for step in reversal.afterwards if not faults else ():
                self._wait(self._make(step, deadline), deadline)
        except LodestarError as fault:
            faults.append(fault)
        return faults

    def _make(self, step: Step, deadline: float) -> "_Made | None":
        """Send the patch of a step, again on a conflict or while the server does not respond; None if nothing is left to do."""
        until, made = min(deadline, time.monotonic() + CONFLICT_S), None
        while True:
            try:
                before = self.live()
                change = step(before)
                if change is None:
                    return made  # of which only the response was lost
                made = _Made(change=change, before=before)
                if self._send(change):
                    return made
                made, pause_s = None, CONFLICT_POLL_S
                message = f"{change['kind']} {change['metadata']['name']} keeps being changed by others after it was read"
                fault = EnvironmentFault("E572", message, remedy="Run the same command again.")
            except Unreachable as error:
                fault, pause_s = error, POLL_S
            if time.monotonic() >= until:
                raise fault
            time.sleep(pause_s)

    def _send(self, change: Object) -> bool:
        """Send a patch; False on a conflict, if the object is no longer the version that the patch was made from."""
        kind, name, version = change["kind"], change["metadata"]["name"], change["metadata"].get("resourceVersion")
        # Where a creation is answered by 404, the namespace is gone.
        expected = (CONFLICT, NOT_FOUND) if version is not None else (CONFLICT,)
        with api_errors(f"{kind} {name}", *expected) as refused:
            if _is_deletion(change):
                self._request("DELETE", kind, name, {"preconditions": {"resourceVersion": version}})
            elif version is None:
                self._request("POST", kind, "", change)
            else:
                self._request("PATCH", kind, name, change)
        return not refused

    def _wait(self, made: "_Made | None", deadline: float) -> None:
        if made is None or _is_deletion(made.change) or made.change["kind"] == RECORD:
            return
        kind, name = made.change["kind"], made.change["metadata"]["name"]
        before = made.before.route or {}

        def check() -> EnvironmentFault | None:
            now = self._get(kind, name)
            is_done = is_routed(now, before) if kind == ROUTE else has_settled(now, self._deployments(name))
            return None if is_done else self._not_ready(kind, now)

        _poll(check, deadline)

    def _not_ready(self, kind: str, thing: Object) -> EnvironmentFault:
        message = f"{kind} {thing['metadata']['name']} was not ready in time: {unmet_conditions(thing)}"
        return EnvironmentFault("E542", message, remedy=f"See `kubectl -n {self.namespace} describe inferenceservice,pods`.")

    def _deployments(self, name: str) -> list[Any]:
        from kubernetes import client

        label = f"serving.kserve.io/inferenceservice={name}"
        with api_errors(f"the Deployments of {name}"):
            return list(client.AppsV1Api(self.api).list_namespaced_deployment(self.namespace, label_selector=label).items)

    def _found(self, kind: str, name: str) -> Object | None:
        with api_errors(f"{kind} {self.namespace}/{name}", NOT_FOUND):
            return self._request("GET", kind, name)
        return None

    def _get(self, kind: str, name: str) -> Object:
        with api_errors(f"{kind} {self.namespace}/{name}"):
            return self._request("GET", kind, name)

    def _request(self, method: str, kind: str, name: str, body: Object | None = None) -> Object:
        version = VERSIONS[kind]
        path = f"/{'apis' if '/' in version else 'api'}/{version}/namespaces/{self.namespace}/{PLURALS[kind]}/{name}".rstrip("/")
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        found = self.api.call_api(
            path,
            method,
            header_params={"Accept": "application/json", "Content-Type": content},
            body=body,
            response_type="object",
            auth_settings=["BearerToken"],
            _return_http_data_only=True,
        )
        return dict(found)


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A patch that was sent, and the objects that it was made from."""

    change: Object
    before: ServiceState


def _poll(check: Callable[[], EnvironmentFault | None], deadline: float) -> None:
    """Call `check` every 2 s until it finds no fault; its fault at the deadline. A server that does not respond is asked again."""
    while True:
        try:
            fault = check()
        except Unreachable as error:
            fault = error
        if fault is None:
            return
        if time.monotonic() >= deadline:
            raise fault
        time.sleep(POLL_S)


def _is_deletion(change: Object) -> bool:
    return change.get("$patch") == "delete"
