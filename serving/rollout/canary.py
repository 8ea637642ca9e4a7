"""Canary modes: the steps that start and promote a canary in each of three modes (`reversal` has those that take it back).

    two-services   a second InferenceService, and weights in the HTTPRoute NAME-split: any KServe with a Gateway
    standard       `spec.canary`: KServe from 0.21, whose own route has the weights
    knative        `canaryTrafficPercent`: Knative mode only; elsewhere KServe ignores it, and the new bundle gets all traffic

A step is a function from the live objects to a JSON merge patch of one object, with the resourceVersion that it was made from, or None if
nothing is left to do; a patch may also be marked as a deletion. Concurrent rollouts of one service do not mix: in the mode two-services the
route records the candidate first, and each later step checks that it is still the recorded one.
"""

import hashlib
from dataclasses import dataclass
from typing import cast, get_args

from lodestar.errors import EnvironmentFault, UsageError
from serving.rollout import http_route as routes
from serving.rollout.conditions import KNATIVE
from serving.rollout.kserve_api import CANARY, SERVICE, Object, ServiceState, Step
from serving.rollout.reversal import remove_canary, route_to_stable
from serving.rollout.state import (
    CANARY_OF,
    STABLE,
    CanaryMode,
    annotate_route,
    annotations,
    args_of_arm,
    backends,
    identity,
    is_own_canary,
    mode,
    patch_service,
    state,
)

CANARY_MODE = "lodestar/canary-mode"  # annotation: the mode that the service's owner requests
SHOWN_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class CanaryFacts:
    """Inputs of the choice of a canary mode: KServe's deployment mode, the requested canary mode, whether the HTTPRoute exists."""

    mode: str
    requested: str | None
    has_route: bool


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
    requested = annotations(live.service).get(CANARY_MODE)
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
            lambda live: annotate_route(live, _require_candidate(live, candidate), _split_route(live, percent)),
        ]
    if canary_mode == "standard":
        return [
            lambda live: patch_service(live, canary=[{"trafficPercent": percent, "predictor": _canary_predictor(live.service, candidate)}]),
        ]
    return [lambda live: _patch_knative(live, candidate, percent)]


def promote(canary_mode: CanaryMode, candidate: str) -> list[Step]:
    """Steps that send all traffic to the candidate; EnvironmentFault E573 if the candidate is another one."""
    if canary_mode == "two-services":
        return [
            lambda live: patch_service(live, predictor={"model": {"storageUri": _require_candidate(live, candidate)}}),
            route_to_stable(candidate),
            remove_canary,
        ]
    if canary_mode == "standard":

        def replace_stable(live: ServiceState) -> Object:
            _require_candidate(live, candidate)
            name = live.service["spec"]["canary"][0]["predictor"]["name"]
            return patch_service(live, predictor={"name": name, "model": {"storageUri": candidate}}, canary=None)

        return [replace_stable]
    return [lambda live: _promote_knative(live, candidate)]


def replace_stable(candidate: str) -> list[Step]:
    """The step that makes the candidate the stable bundle, without a canary."""
    return [lambda live: patch_service(live, predictor={"model": {"storageUri": candidate}})]


def _require_candidate(live: ServiceState, candidate: str) -> str:
    current = state(live).candidate
    if current != candidate:
        name = f"{live.service['metadata']['namespace']}/{live.service['metadata']['name']}"
        message = f"another rollout has changed {name}, whose candidate is now {current or 'none'} and not {candidate}"
        raise EnvironmentFault("E573", message, remedy=f"See `lodestar rollout status --service {name}`; nothing was changed.")
    return candidate


def _canary_service(live: ServiceState, candidate: str) -> Object:
    service = live.service
    stable = service["spec"]["predictor"]
    predictor = stable | {"model": _canary_model(stable["model"], candidate), "minReplicas": 1}
    kept = {name: value for name, value in annotations(service).items() if name.startswith("serving.kserve.io/")}
    canary_service = identity(SERVICE, f"{service['metadata']['name']}-{CANARY}", service, live.canary)
    labels = service["metadata"].get("labels", {}) | {CANARY_OF: service["metadata"]["name"]}
    canary_service["metadata"] |= {"labels": labels, "annotations": kept}
    return canary_service | {"spec": {"predictor": predictor}}


def _claim_route(live: ServiceState, candidate: str, percent: int) -> Object:
    """Record the candidate on the route; EnvironmentFault E570, E571 or E574 here, before the rollout could fail half-way."""
    if not is_own_canary(live):
        name = f"{live.service['metadata']['namespace']}/{live.service['metadata']['name']}-{CANARY}"
        message = f"there is an InferenceService {name} that is not the canary of this service"
        raise EnvironmentFault(
            "E574", message, remedy=f"Give it another name, or the label {CANARY_OF}={live.service['metadata']['name']}."
        )
    _split_route(live, percent)
    return annotate_route(live, candidate)


def _canary_predictor(service: Object, candidate: str) -> Object:
    """The canary predictor, which KServe merges over the stable one; its name is new with each bundle, since a promotion keeps it."""
    name = f"{CANARY}-{hashlib.sha256(candidate.encode()).hexdigest()[:SHOWN_DIGITS]}"
    # The schema requires the model's name here, though not for the stable one; KServe does not use it.
    return {"name": name, "minReplicas": 1, "model": {"name": ""} | _canary_model(service["spec"]["predictor"]["model"], candidate)}


def _canary_model(model: Object, candidate: str) -> Object:
    return model | {"storageUri": candidate, "args": args_of_arm(model, CANARY)}


def _patch_knative(live: ServiceState, candidate: str, percent: int) -> Object:
    model = {"storageUri": candidate, "args": args_of_arm(live.service["spec"]["predictor"]["model"], CANARY)}
    change = patch_service(live, predictor={"canaryTrafficPercent": percent, "model": model})
    change["metadata"]["annotations"] = {STABLE: state(live).stable}
    return change


def _promote_knative(live: ServiceState, candidate: str) -> Object:
    _require_candidate(live, candidate)
    args = args_of_arm(live.service["spec"]["predictor"]["model"], None)
    return patch_service(live, predictor={"canaryTrafficPercent": None, "model": {"args": args}})


def _split_route(live: ServiceState, percent: int) -> Object:
    """The patch of the route's weights; EnvironmentFault E570 or E571."""
    return routes.split(live.route or {"metadata": {"name": "split"}, "spec": {}}, backends(live), percent)
