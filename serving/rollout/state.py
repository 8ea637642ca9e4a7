"""State of a rollout, read from the live objects of a service, and the patches that steps are made of."""

from dataclasses import dataclass
from typing import Any, Literal

from serving.rollout import http_route as routes
from serving.rollout.kserve_api import CANARY, ROUTE, SERVICE, VERSIONS, Object, ServiceState

CanaryMode = Literal["two-services", "standard", "knative"]

# Annotations: the bundle of the route's second backend; that of Knative's older revision.
CANDIDATE, STABLE = "lodestar/canary-bundle", "lodestar/stable-bundle"
CANARY_OF = "lodestar/canary-of"  # label of a canary service
MODE = "serving.kserve.io/deploymentMode"


@dataclass(frozen=True, kw_only=True)
class RolloutState:
    """State of a rollout: the addresses of the stable bundle (empty: none yet) and of the candidate, and its percentage of the traffic."""

    stable: str
    candidate: str | None
    percent: int
    canary_mode: CanaryMode | None


def state(live: ServiceState) -> RolloutState:
    """The state of a rollout, read from the InferenceService and its route."""
    notes, percent = annotations(live.service), live.service["spec"]["predictor"].get("canaryTrafficPercent")
    bundle = bundle_of(live.service)
    for entry in live.service["spec"].get("canary", []):
        candidate = entry["predictor"]["model"]["storageUri"]
        return RolloutState(stable=bundle, candidate=candidate, percent=entry["trafficPercent"], canary_mode="standard")
    if percent is not None and notes.get(STABLE, bundle) != bundle:
        return RolloutState(stable=notes[STABLE], candidate=bundle, percent=percent, canary_mode="knative")
    if live.route is not None and CANDIDATE in annotations(live.route):
        percent = routes.canary_percent(live.route, backends(live))
        return RolloutState(stable=bundle, candidate=annotations(live.route)[CANDIDATE], percent=percent, canary_mode="two-services")
    return RolloutState(stable=bundle, candidate=None, percent=0, canary_mode=None)


def is_unfinished(live: ServiceState) -> bool:
    """Whether a rollback or promotion that was stopped has left something without traffic: a canary service, or Knative's share of 0."""
    is_left = live.canary is not None and is_own_canary(live)
    return state(live).candidate is None and (is_left or is_share_withheld(live.service))


def is_share_withheld(service: Object) -> bool:
    """Whether a rollback in Knative mode keeps the traffic from the newest revision until it is ready; not a share set by the owner."""
    return service["spec"]["predictor"].get("canaryTrafficPercent") == 0 and annotations(service).get(STABLE) == bundle_of(service)


def is_candidate(live: ServiceState, candidate: str | None) -> bool:
    """Whether the service has a canary of that bundle, or with None of any."""
    current = state(live).candidate
    return current is not None and candidate in {None, current}


def is_own_canary(live: ServiceState) -> bool:
    """Whether the canary service, if there is one, is this service's canary, and not another service of that name."""
    labels = (live.canary or {}).get("metadata", {}).get("labels") or {}
    return live.canary is None or labels.get(CANARY_OF) == live.service["metadata"]["name"]


def mode(service: Object) -> str:
    """KServe's deployment mode of a service, from its status or else its annotation."""
    return str(service.get("status", {}).get("deploymentMode") or annotations(service).get(MODE, ""))


def annotations(thing: Object) -> dict[str, str]:
    """The annotations of an object."""
    return dict(thing["metadata"].get("annotations") or {})


def bundle_of(service: Object) -> str:
    """The address of the bundle of a service's predictor; empty if it has none."""
    return str(service["spec"]["predictor"].get("model", {}).get("storageUri", ""))


def args_of_arm(model: Object, arm: str | None) -> list[str] | None:
    """The model's arguments with `--arm` for a canary, or with None for the stable predictor, whose default it is; None if none is left."""
    others = [part for part in model.get("args", []) if not part.startswith("--arm=")]
    return [*others, *([f"--arm={arm}"] if arm else [])] or None


def backends(live: ServiceState) -> routes.Backends:
    """The Services that share the traffic of the route."""
    name = live.service["metadata"]["name"]
    return routes.Backends(namespace=live.service["metadata"]["namespace"], stable=f"{name}-predictor", canary=f"{name}-{CANARY}-predictor")


def patch_service(live: ServiceState, **spec: Any) -> Object:
    """A patch of the service's spec."""
    return identity(SERVICE, live.service["metadata"]["name"], live.service, live.service) | {"spec": spec}


def annotate_route(live: ServiceState, candidate: str | None, change: Object | None = None) -> Object:
    """A patch of the route that also records the candidate."""
    change = change or {"metadata": {"annotations": {}}}
    patch = identity(ROUTE, f"{live.service['metadata']['name']}-split", live.service, live.route)
    patch["metadata"]["annotations"] = change["metadata"]["annotations"] | {CANDIDATE: candidate}
    return patch | {key: value for key, value in change.items() if key != "metadata"}


def identity(kind: str, name: str, service: Object, seen: Object | None) -> Object:
    """Kind, name and namespace of a patched object, and the resourceVersion that the patch was made from."""
    metadata = {"name": name, "namespace": service["metadata"]["namespace"]}
    version = (seen or {}).get("metadata", {}).get("resourceVersion")
    return {"apiVersion": VERSIONS[kind], "kind": kind, "metadata": metadata | ({"resourceVersion": version} if version else {})}
