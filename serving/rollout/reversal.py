"""Reversal of a rollout: all traffic goes to the old bundle again, whatever has been done of the start or promotion."""

from dataclasses import replace

from serving.rollout import http_route as routes
from serving.rollout.kserve_api import SERVICE, Object, Reversal, ServiceState, Step
from serving.rollout.record import StableBundle, record_rollback
from serving.rollout.state import (
    CanaryMode,
    annotate_route,
    args_of_arm,
    backends,
    bundle_of,
    identity,
    is_candidate,
    is_own_canary,
    is_share_withheld,
    patch_service,
    state,
)

DELETE = {"$patch": "delete"}


def roll_back(canary_mode: CanaryMode, candidate: str | None, before: StableBundle) -> Reversal:
    """The reversal of a start or promotion of `candidate` (None: of any candidate) to the bundle `before`; another's candidate is kept.

    Only `afterwards` is what needs the traffic to have moved: the canary service is removed, Knative's share is lifted.
    """
    if canary_mode == "two-services":
        return Reversal(at_once=[route_to_stable(candidate), _restore(candidate, before)], afterwards=[remove_canary])
    if canary_mode == "standard":
        return Reversal(at_once=[_drop_canary(candidate, before)], afterwards=[])
    return Reversal(at_once=[_return_revision(candidate, before)], afterwards=[_lift_share])


def recorded(reversal: Reversal, candidate: str) -> Reversal:
    """The reversal as an operator's decision on the candidate, which is recorded first."""
    return replace(reversal, at_once=[record_rollback(candidate), *reversal.at_once])


def restore_stable(candidate: str, before: StableBundle) -> Reversal:
    """The reversal of `canary.replace_stable`: restores the bundle, or none, unless another rollout has replaced the candidate."""
    return Reversal(at_once=[_restore(candidate, before)], afterwards=[])


def route_to_stable(candidate: str | None) -> Step:
    """The step that removes the candidate (None: any) from the route."""

    def join(live: ServiceState) -> Object | None:
        if live.route is None or not (is_candidate(live, candidate) or candidate is None):
            return None
        return annotate_route(live, None, routes.join(live.route, backends(live)))

    return join


def remove_canary(live: ServiceState) -> Object | None:
    """Delete the canary service, of whichever bundle, unless a rollout has recorded a candidate on the route."""
    if live.canary is None or not is_own_canary(live) or state(live).candidate is not None:
        return None
    return identity(SERVICE, live.canary["metadata"]["name"], live.service, live.canary) | DELETE


def _restore(candidate: str | None, before: StableBundle) -> Step:
    def restore(live: ServiceState) -> Object | None:
        if not _has_replaced(live, candidate, before):
            return None
        return patch_service(live, predictor={"model": {"storageUri": before.bundle or None}})

    return restore


def _drop_canary(candidate: str | None, before: StableBundle) -> Step:
    def drop(live: ServiceState) -> Object | None:
        if is_candidate(live, candidate):
            return patch_service(live, canary=None)
        if not _has_replaced(live, candidate, before):
            return None
        return patch_service(live, predictor={"name": before.predictor, "model": {"storageUri": before.bundle}}, canary=None)

    return drop


def _return_revision(candidate: str | None, before: StableBundle) -> Step:
    def give_back(live: ServiceState) -> Object | None:
        model = {"storageUri": before.bundle, "args": args_of_arm(live.service["spec"]["predictor"]["model"], None)}
        if is_candidate(live, candidate):
            # The old revision keeps all traffic until a new one of the same bundle is ready: until then "latest" would be the candidate.
            return patch_service(live, predictor={"canaryTrafficPercent": 0, "model": model})
        return patch_service(live, predictor={"model": model}) if _has_replaced(live, candidate, before) else None

    return give_back


def _lift_share(live: ServiceState) -> Object | None:
    return patch_service(live, predictor={"canaryTrafficPercent": None}) if is_share_withheld(live.service) else None


def _has_replaced(live: ServiceState, candidate: str | None, before: StableBundle) -> bool:
    return bundle_of(live.service) == candidate != before.bundle
