"""Canary modes: the steps that start, promote and roll back a canary in each of three modes, and the state of a rollout.

    two-services   a second InferenceService, and weights in the HTTPRoute NAME-split: any KServe with a Gateway
    standard       `spec.canary`: KServe from 0.21, whose own route has the weights
    knative        `canaryTrafficPercent`: Knative mode only; elsewhere KServe ignores it, and the new bundle gets all traffic

A step is a function from the live objects to a JSON merge patch of one object, with the resourceVersion that it was made from, or None if
nothing is left to do; a patch may also be marked as a deletion. Concurrent rollouts of one service do not mix: in the mode two-services the
route records the candidate first, and each later step checks that it is still the recorded one.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from lodestar.errors import EnvironmentFault, UsageError
from serving.rollout import http_route as routes
from serving.rollout.kserve_api import CANARY, KNATIVE, ROUTE, SERVICE, VERSIONS, Object, ServiceState, Step

CanaryMode = Literal["two-services", "standard", "knative"]

# Annotations: the mode that the service's owner requests; the bundle of the route's second backend; that of Knative's older revision.
CANARY_MODE, CANDIDATE, STABLE = "lodestar/canary-mode", "lodestar/canary-bundle", "lodestar/stable-bundle"
CANARY_OF = "lodestar/canary-of"
MODE = "serving.kserve.io/deploymentMode"
DELETE = {"$patch": "delete"}
SHOWN_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class CanaryFacts:
    """Inputs of the choice of a canary mode: KServe's deployment mode, the requested canary mode, whether the HTTPRoute exists."""

    mode: str
    requested: str | None
    has_route: bool


@dataclass(frozen=True, kw_only=True)
class RolloutState:
    """State of a rollout: the addresses of the stable bundle (empty: none yet) and of the candidate, and its percentage of the traffic."""

    stable: str
    candidate: str | None
    percent: int
    canary_mode: CanaryMode | None


def detect(cluster: CanaryFacts) -> CanaryMode:
    """The canary mode that this cluster supports; EnvironmentFault E540 if it supports none, or not the requested one."""
    is_knative = cluster.mode in KNATIVE
    canary_mode = cluster.requested or ("knative" if is_knative else "two-services")
    if canary_mode not in get_args(CanaryMode):
        remedy = f"Set it to one of {', '.join(get_args(CanaryMode))}, or remove it."
        raise EnvironmentFault("E545", f"the annotation {CANARY_MODE} is {canary_mode!r}", remedy=remedy)
    if (canary_mode == "knative") != is_knative:
        fault = "Knative mode has its own canary mode" if is_knative else "canaryTrafficPercent is ignored outside Knative mode"
        remedy = f"Set or remove the annotation {CANARY_MODE}."
        raise EnvironmentFault("E545", f"{fault}, so this is no {canary_mode} canary", remedy=remedy)
    if canary_mode == "two-services" and not cluster.has_route:
        remedy = "Install the Gateway API and apply manifests/, or serve in Knative mode."
        raise EnvironmentFault("E540", "this cluster has no way to split requests", remedy=remedy)
    return cast("CanaryMode", canary_mode)


def canary_mode_of(live: ServiceState) -> CanaryMode:
    """The canary mode of a service; errors as of `detect`."""
    requested = _annotations(live.service).get(CANARY_MODE)
    return detect(CanaryFacts(mode=mode(live.service), requested=requested, has_route=live.route is not None))


def check_canary(live: ServiceState, percent: int) -> None:
    """Check that `canary` could send `percent` of a service's traffic to another bundle; errors as of `canary`, nothing is changed."""
    if canary_mode_of(live) == "two-services":
        _split_route(live, percent)


def canary(canary_mode: CanaryMode, candidate: str, percent: int) -> list[Step]:
    """Steps that start a canary: send `percent` of the traffic to the bundle `candidate`; UsageError unless 1–99."""
    if not 0 < percent < 100:
        raise UsageError(f"a canary gets between 1 and 99 percent of the requests, not {percent}", code="E324")
    if canary_mode == "two-services":
        return [
            lambda live: _claim_route(live, candidate, percent),
            lambda live: _canary_service(live, _require_candidate(live, candidate)),
            lambda live: _annotate_route(live, _require_candidate(live, candidate), _split_route(live, percent)),
        ]
    if canary_mode == "standard":
        return [
            lambda live: _patch_service(
                live, canary=[{"trafficPercent": percent, "predictor": _canary_predictor(live.service, candidate)}]
            ),
        ]
    return [lambda live: _patch_knative(live, candidate, percent)]


def promote(canary_mode: CanaryMode, candidate: str) -> list[Step]:
    """Steps that send all traffic to the candidate; EnvironmentFault E573 if the candidate is another one."""
    if canary_mode == "two-services":
        return [
            lambda live: _patch_service(live, predictor={"model": {"storageUri": _require_candidate(live, candidate)}}),
            *_route_to_stable(candidate),
        ]
    if canary_mode == "standard":

        def replace_stable(live: ServiceState) -> Object:
            _require_candidate(live, candidate)
            name = live.service["spec"]["canary"][0]["predictor"]["name"]
            return _patch_service(live, predictor={"name": name, "model": {"storageUri": candidate}}, canary=None)

        return [replace_stable]
    return [lambda live: _patch_service(live, predictor={"canaryTrafficPercent": None}) if _require_candidate(live, candidate) else None]


def roll_back(canary_mode: CanaryMode, candidate: str | None, stable: str) -> list[Step]:
    """Steps that send all traffic to the bundle `stable` again, and remove `candidate` (None: any candidate).

    A candidate of another rollout is kept.
    """
    if canary_mode == "two-services":
        return _route_to_stable(candidate)
    if canary_mode == "standard":
        return [lambda live: _patch_service(live, canary=None) if _is_candidate(live, candidate) else None]
    # The old revision keeps all traffic until a new one of the same bundle is ready: until then "latest" would be the candidate.
    predictor = {"canaryTrafficPercent": 0, "model": {"storageUri": stable}}
    return [
        lambda live: _patch_service(live, predictor=predictor) if _is_candidate(live, candidate) else None,
        lambda live: _patch_service(live, predictor={"canaryTrafficPercent": None}) if _bundle(live.service) == stable else None,
    ]


def replace_stable(candidate: str) -> list[Step]:
    """The step that makes the candidate the stable bundle, without a canary."""
    return [lambda live: _patch_service(live, predictor={"model": {"storageUri": candidate}})]


def restore_stable(candidate: str, stable: str) -> list[Step]:
    """The step that undoes `replace_stable`: restores the bundle `stable`, or none, unless another rollout has replaced the candidate."""
    return [
        lambda live: (
            _patch_service(live, predictor={"model": {"storageUri": stable or None}}) if _bundle(live.service) == candidate else None
        ),
    ]


def state(live: ServiceState) -> RolloutState:
    """The state of a rollout, read from the InferenceService and its route."""
    annotations, percent = _annotations(live.service), live.service["spec"]["predictor"].get("canaryTrafficPercent")
    bundle = _bundle(live.service)
    for entry in live.service["spec"].get("canary", []):
        candidate = entry["predictor"]["model"]["storageUri"]
        return RolloutState(stable=bundle, candidate=candidate, percent=entry["trafficPercent"], canary_mode="standard")
    if percent is not None and STABLE in annotations:
        return RolloutState(stable=annotations[STABLE], candidate=bundle, percent=percent, canary_mode="knative")
    if live.route is not None and CANDIDATE in _annotations(live.route):
        percent = routes.canary_percent(live.route, _backends(live))
        return RolloutState(stable=bundle, candidate=_annotations(live.route)[CANDIDATE], percent=percent, canary_mode="two-services")
    return RolloutState(stable=bundle, candidate=None, percent=0, canary_mode=None)


def mode(service: Object) -> str:
    """KServe's deployment mode of a service, from its status or else its annotation."""
    return str(service.get("status", {}).get("deploymentMode") or _annotations(service).get(MODE, ""))


def _require_candidate(live: ServiceState, candidate: str) -> str:
    current = state(live).candidate
    if current != candidate:
        name = f"{live.service['metadata']['namespace']}/{live.service['metadata']['name']}"
        message = f"another rollout has changed {name}, whose candidate is now {current or 'none'} and not {candidate}"
        raise EnvironmentFault("E573", message, remedy=f"See `lodestar rollout status --service {name}`; nothing was changed.")
    return candidate


def _is_candidate(live: ServiceState, candidate: str | None) -> bool:
    current = state(live).candidate
    return current is not None and candidate in {None, current}


def _annotations(thing: Object) -> dict[str, str]:
    return dict(thing["metadata"].get("annotations") or {})


def _bundle(service: Object) -> str:
    return str(service["spec"]["predictor"].get("model", {}).get("storageUri", ""))


def _canary_service(live: ServiceState, candidate: str) -> Object:
    service = live.service
    stable = service["spec"]["predictor"]
    predictor = stable | {"model": _canary_model(stable["model"], candidate), "minReplicas": 1}
    kept = {name: value for name, value in _annotations(service).items() if name.startswith("serving.kserve.io/")}
    canary_service = _identity(SERVICE, f"{service['metadata']['name']}-{CANARY}", service, live.canary)
    labels = service["metadata"].get("labels", {}) | {CANARY_OF: service["metadata"]["name"]}
    canary_service["metadata"] |= {"labels": labels, "annotations": kept}
    return canary_service | {"spec": {"predictor": predictor}}


def _is_own(live: ServiceState) -> bool:
    """Whether the canary service, if there is one, is this service's canary, and not another service of that name."""
    labels = (live.canary or {}).get("metadata", {}).get("labels") or {}
    return live.canary is None or labels.get(CANARY_OF) == live.service["metadata"]["name"]


def _claim_route(live: ServiceState, candidate: str, percent: int) -> Object:
    """Record the candidate on the route; EnvironmentFault E570, E571 or E574 here, before the rollout could fail half-way."""
    if not _is_own(live):
        name = f"{live.service['metadata']['namespace']}/{live.service['metadata']['name']}-{CANARY}"
        message = f"there is an InferenceService {name} that is not the canary of this service"
        raise EnvironmentFault(
            "E574", message, remedy=f"Give it another name, or the label {CANARY_OF}={live.service['metadata']['name']}."
        )
    _split_route(live, percent)
    return _annotate_route(live, candidate)


def _canary_predictor(service: Object, candidate: str) -> Object:
    """The canary predictor, which KServe merges over the stable one; its name is new with each bundle, since a promotion keeps it."""
    name = f"{CANARY}-{hashlib.sha256(candidate.encode()).hexdigest()[:SHOWN_DIGITS]}"
    # The schema requires the model's name here, though not for the stable one; KServe does not use it.
    return {"name": name, "minReplicas": 1, "model": {"name": ""} | _canary_model(service["spec"]["predictor"]["model"], candidate)}


def _canary_model(model: Object, candidate: str) -> Object:
    arguments = [part for part in model.get("args", []) if not part.startswith("--arm=")]
    return model | {"storageUri": candidate, "args": [*arguments, f"--arm={CANARY}"]}


def _patch_knative(live: ServiceState, candidate: str, percent: int) -> Object:
    change = _patch_service(live, predictor={"canaryTrafficPercent": percent, "model": {"storageUri": candidate}})
    change["metadata"]["annotations"] = {STABLE: state(live).stable}
    return change


def _route_to_stable(candidate: str | None) -> list[Step]:
    def join(live: ServiceState) -> Object | None:
        if live.route is None or not (_is_candidate(live, candidate) or candidate is None):
            return None
        return _annotate_route(live, None, routes.join(live.route, _backends(live)))

    def remove(live: ServiceState) -> Object | None:
        if live.canary is None or not _is_own(live) or candidate not in {None, _bundle(live.canary)}:
            return None
        return _identity(SERVICE, live.canary["metadata"]["name"], live.service, live.canary) | DELETE

    return [join, remove]


def _annotate_route(live: ServiceState, candidate: str | None, change: Object | None = None) -> Object:
    """A patch of the route that also records the candidate."""
    change = change or {"metadata": {"annotations": {}}}
    patch = _identity(ROUTE, f"{live.service['metadata']['name']}-split", live.service, live.route)
    patch["metadata"]["annotations"] = change["metadata"]["annotations"] | {CANDIDATE: candidate}
    return patch | {key: value for key, value in change.items() if key != "metadata"}


def _split_route(live: ServiceState, percent: int) -> Object:
    """The patch of the route's weights; EnvironmentFault E570 or E571."""
    return routes.split(live.route or {"metadata": {"name": "split"}, "spec": {}}, _backends(live), percent)


def _backends(live: ServiceState) -> routes.Backends:
    name = live.service["metadata"]["name"]
    return routes.Backends(namespace=live.service["metadata"]["namespace"], stable=f"{name}-predictor", canary=f"{name}-{CANARY}-predictor")


def _patch_service(live: ServiceState, **spec: Any) -> Object:
    return _identity(SERVICE, live.service["metadata"]["name"], live.service, live.service) | {"spec": spec}


def _identity(kind: str, name: str, service: Object, seen: Object | None) -> Object:
    """Kind, name and namespace of a patched object, and the resourceVersion that the patch was made from."""
    metadata = {"name": name, "namespace": service["metadata"]["namespace"]}
    version = (seen or {}).get("metadata", {}).get("resourceVersion")
    return {"apiVersion": VERSIONS[kind], "kind": kind, "metadata": metadata | ({"resourceVersion": version} if version else {})}
