"""Whether a patched InferenceService or HTTPRoute is in effect, read from the conditions that controllers write."""

import json
from typing import Any

Object = dict[str, Any]

KNATIVE = ("Knative", "Serverless")
# KServe's annotation with the bundle that the pods of a Deployment download.
SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"


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
