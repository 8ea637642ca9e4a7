"""What a rollout needs of the API server: read a service, make a change, and know when the change has come to pass."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from lodestar.errors import EnvironmentFault

Object = dict[str, Any]

NAMESPACE = "lodestar"
PLURALS = {"InferenceService": "inferenceservices", "HTTPRoute": "httproutes"}
SERVICE, ROUTE = PLURALS
SERVING, GATEWAY = "serving.kserve.io/v1beta1", "gateway.networking.k8s.io"
NOT_FOUND = 404
READY_S, POLL_S = 600.0, 2.0


class ApiServer(Protocol):
    """The API server, as seen by the rollout of one service."""

    def service(self) -> Object:
        """The InferenceService as it is now."""

    def answers(self, service: Object) -> bool:
        """Whether requests to it are answered."""

    def has_gateway(self) -> bool:
        """Whether HTTPRoutes exist here."""

    def make(self, changes: list[Object]) -> None:
        """Make changes one after the other, each once the one before has come to pass."""


def connect(service: str) -> ApiServer:
    """With a pod's own account, or as the kubeconfig says."""
    from kubernetes import config

    namespace, _, name = service.rpartition("/")
    try:
        config.load_config()
    except config.ConfigException as error:
        remedy = "Run it in a pod with an account, or set KUBECONFIG."
        raise EnvironmentFault("E541", f"no Kubernetes to talk to: {error}", remedy=remedy) from error
    return Kubernetes(namespace=namespace or NAMESPACE, name=name)


@dataclass(frozen=True, kw_only=True)
class Kubernetes:
    """The API server that the kubernetes client is configured for."""

    namespace: str
    name: str

    def service(self) -> Object:
        with _refusals(f"InferenceService {self.namespace}/{self.name}"):
            return self._read(SERVICE, self.name)

    def answers(self, service: Object) -> bool:
        return condition(service, "Ready")

    def has_gateway(self) -> bool:
        from kubernetes import client

        with _refusals("its API groups"):
            return any(group.name == GATEWAY for group in client.ApisApi().get_api_versions().groups)

    def make(self, changes: list[Object]) -> None:
        for change in changes:
            identity = change["kind"], change["metadata"]["name"]
            with _refusals(" ".join(identity)):
                self._make(*identity, change)
            if change.get("$patch") != "delete":
                self._wait(*identity)

    def _make(self, kind: str, name: str, change: Object) -> None:
        from kubernetes import client

        objects, place = client.CustomObjectsApi(), self._place(kind)
        try:
            if change.get("$patch") == "delete":
                objects.delete_namespaced_custom_object(**place, name=name)
            else:
                objects.patch_namespaced_custom_object(**place, name=name, body=change)
        except client.ApiException as error:
            if error.status != NOT_FOUND:
                raise
            if kind == SERVICE and "model" in change.get("spec", {}).get("predictor", {}):
                objects.create_namespaced_custom_object(**place, body=change)
            elif change.get("$patch") != "delete":
                raise

    def _wait(self, kind: str, name: str) -> None:
        deadline = time.monotonic() + READY_S
        while True:
            with _refusals(f"{kind} {name}"):
                now = self._read(kind, name)
                if self._rolled_out(name) and has_settled(now) if kind == SERVICE else is_routed(now):
                    return
            if time.monotonic() > deadline:
                remedy = f"See `kubectl -n {self.namespace} describe inferenceservice,pods`."
                raise EnvironmentFault("E542", f"{kind} {name} was not ready after {READY_S:.0f} s: {said(now)}", remedy=remedy)
            time.sleep(POLL_S)

    def _rolled_out(self, name: str) -> bool:
        """Whether no pod of an older revision is left; in Knative mode there are no such Deployments, and Ready says it all."""
        from kubernetes import client

        label = f"serving.kserve.io/inferenceservice={name}"
        return all(is_rolled_out(one) for one in client.AppsV1Api().list_namespaced_deployment(self.namespace, label_selector=label).items)

    def _read(self, kind: str, name: str) -> Object:
        from kubernetes import client

        found = client.CustomObjectsApi().get_namespaced_custom_object(**self._place(kind), name=name)
        return dict(found)

    def _place(self, kind: str) -> dict[str, str]:
        group, version = SERVING.split("/") if kind == SERVICE else (GATEWAY, "v1")
        return {"group": group, "version": version, "namespace": self.namespace, "plural": PLURALS[kind]}


def has_settled(service: Object) -> bool:
    """Whether KServe has seen the last change and is ready with it."""
    seen = service.get("status", {}).get("observedGeneration", 0) >= service["metadata"]["generation"]
    no_canary = not service["spec"].get("canary")
    return seen and condition(service, "Ready") and (no_canary or condition(service, "CanaryPredictorReady"))


def is_routed(route: Object) -> bool:
    """Whether every gateway of a route carries its last change."""
    parents = route.get("status", {}).get("parents", [])
    facts = [fact for parent in parents for fact in parent["conditions"]]
    generation = route["metadata"]["generation"]
    return bool(facts) and all(fact["status"] == "True" and fact["observedGeneration"] >= generation for fact in facts)


def is_rolled_out(deployment: Any) -> bool:
    status, wanted = deployment.status, deployment.spec.replicas
    seen = (status.observed_generation or 0) >= deployment.metadata.generation
    counts = {status.updated_replicas or 0, status.replicas or 0, status.available_replicas or 0}
    return bool(seen and counts == {wanted})


def condition(service: Object, name: str) -> bool:
    """Whether a condition of that type is true."""
    return any(fact["type"] == name and fact["status"] == "True" for fact in service.get("status", {}).get("conditions", []))


def said(thing: Object) -> str:
    """What the conditions that are not true have to say."""
    facts = thing.get("status", {}).get("conditions", [])
    return "; ".join(f"{fact['type']}: {fact.get('message') or fact.get('reason', '')}" for fact in facts if fact["status"] != "True")


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    from kubernetes import client

    try:
        yield
    except client.ApiException as error:
        message = f"the API server refused {what}: {error.status} {error.reason} {_reason(error.body)}"
        raise EnvironmentFault(
            "E541", message.rstrip(), remedy="Check that manifests/ is applied and that this account may do it."
        ) from error


def _reason(body: str | bytes | None) -> str:
    import json

    try:
        return str(json.loads(body or "{}").get("message", ""))
    except ValueError:
        return ""
