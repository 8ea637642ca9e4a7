"""Record of a service's rollouts, the ConfigMap NAME-rollout: bundles that an operator has rolled back, and the last one replaced.

Every canary mode has it. An annotation of the InferenceService would be copied to its pods and replace them all, and in two of the modes
there need be no route.
"""

import json
from dataclasses import dataclass
from typing import Any

from serving.rollout.kserve_api import RECORD, Object, ServiceState, Step, record_name
from serving.rollout.state import identity, state

ROLLED_BACK, REPLACED = "rolled-back", "replaced"
MAX_RECORDED = 10


@dataclass(frozen=True, kw_only=True)
class StableBundle:
    """The stable bundle of a service and the name of its predictor, which in the canary mode `standard` changes with a promotion."""

    bundle: str
    predictor: str | None


def rolled_back_bundles(live: ServiceState) -> list[str]:
    """The addresses of the bundles that were rolled back, the last one last; empty without a record."""
    found = _read(live, ROLLED_BACK)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def replaced_bundle(live: ServiceState) -> StableBundle | None:
    """The bundle that the current stable one has replaced, as recorded before it was; None without such a record."""
    found = _read(live, REPLACED)
    if not isinstance(found, dict) or found.get("by") != state(live).stable or not isinstance(found.get("bundle"), str):
        return None
    name = found.get("predictor")
    return StableBundle(bundle=found["bundle"], predictor=name if isinstance(name, str) else None)


def bundle_before(live: ServiceState, candidate: str | None) -> StableBundle:
    """The bundle that a rollback of `candidate` returns to: the stable one, or the recorded one if the candidate has replaced it."""
    stable = StableBundle(bundle=state(live).stable, predictor=live.service["spec"]["predictor"].get("name"))
    return (replaced_bundle(live) if stable.bundle == candidate else None) or stable


def record_replacement(candidate: str) -> Step:
    """The step that records the stable bundle before the candidate replaces it."""

    def record(live: ServiceState) -> Object | None:
        stable = bundle_before(live, None)
        if stable.bundle in {"", candidate}:
            return None
        return _patch(live, {REPLACED: json.dumps({"by": candidate, "bundle": stable.bundle, "predictor": stable.predictor})})

    return record


def record_rollback(candidate: str) -> Step:
    """The step that records that a bundle was rolled back, so that no pipeline run starts it again.

    What an earlier promotion replaced is forgotten: the same rollback once more would return to it.
    """

    def record(live: ServiceState) -> Object | None:
        others = [one for one in rolled_back_bundles(live) if one != candidate]
        replaced = _read(live, REPLACED)
        is_kept = isinstance(replaced, dict) and replaced.get("by") == candidate
        note = {ROLLED_BACK: json.dumps([*others, candidate][-MAX_RECORDED:])}
        return _patch(live, note | ({} if is_kept else {REPLACED: None}))

    return record


def forget_rollback(candidate: str) -> Step:
    """The step that removes a bundle from those that were rolled back."""

    def record(live: ServiceState) -> Object | None:
        found = rolled_back_bundles(live)
        kept = [one for one in found if one != candidate]
        return _patch(live, {ROLLED_BACK: json.dumps(kept)}) if kept != found else None

    return record


def _read(live: ServiceState, key: str) -> Any:
    try:
        return json.loads(((live.record or {}).get("data") or {}).get(key, "null"))
    except ValueError:
        return None


def _patch(live: ServiceState, data: dict[str, str | None]) -> Object:
    written = data if live.record is not None else {key: value for key, value in data.items() if value is not None}
    return identity(RECORD, record_name(live.service["metadata"]["name"]), live.service, live.record) | {"data": written}
