"""Bundles that an operator has rolled back, recorded on the service's route so that no pipeline run starts them again.

A service without a route has no such record.
"""

import json

from serving.rollout.kserve_api import ROUTE, VERSIONS, Object, ServiceState, Step

ROLLED_BACK = "lodestar/rolled-back"  # a JSON list of addresses, the last one last
MAX_RECORDED = 10


def rolled_back_bundles(live: ServiceState) -> list[str]:
    """The addresses of the bundles that were rolled back; empty without a record."""
    annotation = ((live.route or {}).get("metadata", {}).get("annotations") or {}).get(ROLLED_BACK, "[]")
    try:
        found = json.loads(annotation)
    except ValueError:
        return []
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def record_rollback(candidate: str, *, is_rolled_back: bool) -> Step:
    """The step that records on the route that a bundle was rolled back, or removes the record."""

    def record(live: ServiceState) -> Object | None:
        rolled_back = rolled_back_bundles(live)
        if live.route is None or (candidate in rolled_back) == is_rolled_back:
            return None
        kept = [*rolled_back, candidate][-MAX_RECORDED:] if is_rolled_back else [one for one in rolled_back if one != candidate]
        metadata = {key: live.route["metadata"][key] for key in ("name", "namespace", "resourceVersion") if key in live.route["metadata"]}
        metadata["annotations"] = {ROLLED_BACK: json.dumps(kept) if kept else None}
        return {"apiVersion": VERSIONS[ROUTE], "kind": ROUTE, "metadata": metadata}

    return record
