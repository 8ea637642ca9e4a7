"""Which bundles of a service an operator has rolled back: noted on its route, so that no run starts one of them again by itself.

A service without a route has nowhere to note it.
"""

import json

from serving.cluster import ROUTE, VERSIONS, Live, Object, Step

ROLLED_BACK = "lodestar/rolled-back"  # a JSON list of addresses, the last one last
KEPT = 10


def rolled_back(live: Live) -> list[str]:
    """The addresses of the bundles that were rolled back; none where the route does not say."""
    noted = ((live.route or {}).get("metadata", {}).get("annotations") or {}).get(ROLLED_BACK, "[]")
    try:
        found = json.loads(noted)
    except ValueError:
        return []
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def note(address: str, *, is_rolled_back: bool) -> Step:
    """The step that notes on the route that a bundle was rolled back, or forgets it."""

    def noted(live: Live) -> Object | None:
        found = rolled_back(live)
        if live.route is None or (address in found) == is_rolled_back:
            return None
        kept = [*found, address][-KEPT:] if is_rolled_back else [one for one in found if one != address]
        metadata = {key: live.route["metadata"][key] for key in ("name", "namespace", "resourceVersion") if key in live.route["metadata"]}
        metadata["annotations"] = {ROLLED_BACK: json.dumps(kept) if kept else None}
        return {"apiVersion": VERSIONS[ROUTE], "kind": ROUTE, "metadata": metadata}

    return noted
