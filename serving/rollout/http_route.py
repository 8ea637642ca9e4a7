"""Weights of an HTTPRoute: split the traffic of one backend with the canary's, and restore it exactly.

A route belongs to its owner: it may send other paths to other Services, and a rule may have filters, more backends, and fields newer
than this code. Only the entries of the one backend are changed, in every rule that has it: their weights, and an entry of the
canary's backend behind each. The former weights are an annotation of the route.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from lodestar.errors import EnvironmentFault

Object = dict[str, Any]

WEIGHTS = "lodestar/stable-weights"
WHOLE = 100


@dataclass(frozen=True, kw_only=True)
class Backends:
    """The Services that share traffic: `stable` is the owner's, `canary` the canary's, added and removed."""

    namespace: str
    stable: str
    canary: str


def split(route: Object, backends: Backends, percent: int) -> Object:
    """The merge patch that sends `percent` of the traffic of `stable` to `canary`.

    EnvironmentFault E570 if no rule sends to `stable`, E571 if that share of its weight beside other backends is not a whole number.
    """
    rules, weights = _join_rules(route, backends)
    if not weights:
        message = f"HTTPRoute {_name(route)} has no rule that sends to the Service {backends.stable}"
        raise EnvironmentFault("E570", message, remedy=f"Add `backendRefs: [{{name: {backends.stable}, port: 80}}]` to one of its rules.")
    return _patch([_split_rule(rule, backends, percent, _name(route)) for rule in rules], json.dumps(weights))


def join(route: Object, backends: Backends) -> Object:
    """The merge patch that removes `canary` and restores the former weights of `stable`."""
    return _patch(_join_rules(route, backends)[0], None)


def canary_percent(route: Object, backends: Backends) -> int:
    """The percentage of their common traffic that `canary` gets, 0 if it gets none."""
    for rule in _rules(route):
        stable = [_weight(ref) for ref in rule.get("backendRefs", []) if _sends_to(ref, backends.stable, backends)]
        canary = [_weight(ref) for ref in rule.get("backendRefs", []) if _sends_to(ref, backends.canary, backends)]
        if sum(canary):
            return round(WHOLE * sum(canary) / (sum(stable) + sum(canary)))
    return 0


def _join_rules(route: Object, backends: Backends) -> tuple[list[Object], list[int | None]]:
    """The rules without `canary`, and the weights of `stable` in order, None if an entry has none."""
    before = [entry for rule in _rules(route) for entry in _weights(rule, backends)]
    recorded = _recorded_weights(route)
    # If the owner has added or removed such entries meanwhile, recorded weights cannot be matched: the sum of each pair is used.
    # An entry that the owner has rewritten, without the canary's behind it, keeps its weight.
    is_recorded = recorded is not None and len(recorded) == len(before)
    weights = [(recorded or [])[index] if is_recorded and is_split else weight for index, (weight, is_split) in enumerate(before)]
    remaining = iter(weights)
    return [_join_rule(rule, backends, remaining) for rule in _rules(route)], weights


def _weights(rule: Object, backends: Backends) -> list[tuple[int | None, bool]]:
    """For each entry of `stable`: its weight plus that of the `canary` entry behind it, and whether there is one."""
    refs: list[Object] = rule.get("backendRefs", [])
    found: list[tuple[int | None, bool]] = []
    nothing: Object = {}
    for ref, behind in zip_longest(refs, refs[1:], fillvalue=nothing):
        if _sends_to(ref, backends.stable, backends):
            is_split = _sends_to(behind, backends.canary, backends)
            found.append((_weight(ref) + _weight(behind), True) if is_split else (ref.get("weight"), False))
    return found


def _join_rule(rule: Object, backends: Backends, weights: Iterator[int | None]) -> Object:
    if "backendRefs" not in rule:
        return rule
    kept = [ref for ref in rule["backendRefs"] if not _sends_to(ref, backends.canary, backends)]
    return rule | {"backendRefs": [_weighted(ref, next(weights)) if _sends_to(ref, backends.stable, backends) else ref for ref in kept]}


def _split_rule(rule: Object, backends: Backends, percent: int, route: str) -> Object:
    refs = rule.get("backendRefs", [])
    changed = []
    for ref in refs:
        if not _sends_to(ref, backends.stable, backends):
            changed.append(ref)
            continue
        # The weight of a rule's only backend only matters for being zero or not.
        whole = WHOLE if len(refs) == 1 and _weight(ref) else _weight(ref)
        canary_weight = _canary_weight(whole, percent, route)
        changed += [_weighted(ref, whole - canary_weight), _weighted(ref, canary_weight) | {"name": backends.canary}]
    return rule | {"backendRefs": changed} if changed != refs else rule


def _canary_weight(weight: int, percent: int, route: str) -> int:
    if weight * percent % WHOLE:
        message = f"HTTPRoute {route} gives a weight of {weight} beside other backends, of which {percent} % is no whole number"
        raise EnvironmentFault("E571", message, remedy=f"Multiply all weights of that rule by {WHOLE}.")
    return weight * percent // WHOLE


def _sends_to(ref: Object, name: str, backends: Backends) -> bool:
    kind = ref.get("group", ""), ref.get("kind", "Service"), ref.get("namespace", backends.namespace), ref.get("name")
    return kind == ("", "Service", backends.namespace, name)


def _weight(ref: Object) -> int:
    return int(ref.get("weight", 1))


def _weighted(ref: Object, weight: int | None) -> Object:
    return {key: value for key, value in ref.items() if key != "weight"} if weight is None else ref | {"weight": weight}


def _rules(route: Object) -> list[Object]:
    return list(route["spec"].get("rules", []))


def _recorded_weights(route: Object) -> list[int | None] | None:
    try:
        found = json.loads((route["metadata"].get("annotations") or {}).get(WEIGHTS, "null"))
    except ValueError:
        return None
    return found if isinstance(found, list) and all(weight is None or type(weight) is int for weight in found) else None


def _name(route: Object) -> str:
    return str(route["metadata"]["name"])


def _patch(rules: list[Object], weights: str | None) -> Object:
    return {"metadata": {"annotations": {WEIGHTS: weights}}, "spec": {"rules": rules}}
