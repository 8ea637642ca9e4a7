"""The share of one backend of an HTTPRoute, split between it and a second one, and given back exactly as it was.

A route is its owner's: it may send other paths to other Services, and a rule may have filters, more backends, and fields that are newer
than this code. Of all that only the entries of the one backend are touched, in every rule that has it: their weights, and an entry of
the second backend behind each. What the weights were is noted on the route.
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
    """The Services of a namespace that share: `stable` is the owner's, `second` is put beside it and taken away again."""

    namespace: str
    stable: str
    second: str


def split(route: Object, backends: Backends, percent: int) -> Object:
    """The merge patch by which `second` takes `percent` of a hundred of the requests that `stable` gets.

    EnvironmentFault E570 where no rule sends to `stable`, E571 where its weight beside other backends has no such share in whole numbers.
    """
    rules, weights = _joined(route, backends)
    if not weights:
        message = f"HTTPRoute {_name(route)} has no rule that sends to the Service {backends.stable}"
        raise EnvironmentFault("E570", message, remedy=f"Add `backendRefs: [{{name: {backends.stable}, port: 80}}]` to one of its rules.")
    return _patch([_with(rule, backends, percent, _name(route)) for rule in rules], json.dumps(weights))


def join(route: Object, backends: Backends) -> Object:
    """The merge patch that takes `second` away and gives `stable` the weights that it had."""
    return _patch(_joined(route, backends)[0], None)


def share(route: Object, backends: Backends) -> int:
    """How many of a hundred requests `second` gets of those that both get; 0 where it gets none."""
    for rule in _rules(route):
        own = [_weight(ref) for ref in rule.get("backendRefs", []) if _is(ref, backends.stable, backends)]
        tried = [_weight(ref) for ref in rule.get("backendRefs", []) if _is(ref, backends.second, backends)]
        if sum(tried):
            return round(WHOLE * sum(tried) / (sum(own) + sum(tried)))
    return 0


def _joined(route: Object, backends: Backends) -> tuple[list[Object], list[int | None]]:
    """The rules as they were without `second`, and the weights of `stable` in order, None where none is written."""
    found = [entry for rule in _rules(route) for entry in _entries(rule, backends)]
    noted = _noted(route)
    # Where the owner has added or removed such entries meanwhile, nothing says which weight was whose: what the entries sum up to is.
    # One that the owner has written anew, without the second one behind it, is the owner's.
    is_noted = noted is not None and len(noted) == len(found)
    weights = [(noted or [])[place] if is_noted and is_split else weight for place, (weight, is_split) in enumerate(found)]
    left = iter(weights)
    return [_without(rule, backends, left) for rule in _rules(route)], weights


def _entries(rule: Object, backends: Backends) -> list[tuple[int | None, bool]]:
    """The weights that the entries of `stable` have together with the one of `second` behind each, and whether there is one."""
    refs: list[Object] = rule.get("backendRefs", [])
    found: list[tuple[int | None, bool]] = []
    nothing: Object = {}
    for ref, behind in zip_longest(refs, refs[1:], fillvalue=nothing):
        if _is(ref, backends.stable, backends):
            is_split = _is(behind, backends.second, backends)
            found.append((_weight(ref) + _weight(behind), True) if is_split else (ref.get("weight"), False))
    return found


def _without(rule: Object, backends: Backends, weights: Iterator[int | None]) -> Object:
    if "backendRefs" not in rule:
        return rule
    kept = [ref for ref in rule["backendRefs"] if not _is(ref, backends.second, backends)]
    return rule | {"backendRefs": [_weighted(ref, next(weights)) if _is(ref, backends.stable, backends) else ref for ref in kept]}


def _with(rule: Object, backends: Backends, percent: int, route: str) -> Object:
    refs = rule.get("backendRefs", [])
    changed = []
    for ref in refs:
        if not _is(ref, backends.stable, backends):
            changed.append(ref)
            continue
        # The weight of a rule's only backend says nothing but whether it gets requests at all.
        whole = WHOLE if len(refs) == 1 and _weight(ref) else _weight(ref)
        part = _part(whole, percent, route)
        changed += [_weighted(ref, whole - part), _weighted(ref, part) | {"name": backends.second}]
    return rule | {"backendRefs": changed} if changed != refs else rule


def _part(weight: int, percent: int, route: str) -> int:
    if weight * percent % WHOLE:
        message = f"HTTPRoute {route} gives a weight of {weight} beside other backends, of which {percent} % is no whole number"
        raise EnvironmentFault("E571", message, remedy=f"Multiply all weights of that rule by {WHOLE}.")
    return weight * percent // WHOLE


def _is(ref: Object, name: str, backends: Backends) -> bool:
    kind = ref.get("group", ""), ref.get("kind", "Service"), ref.get("namespace", backends.namespace), ref.get("name")
    return kind == ("", "Service", backends.namespace, name)


def _weight(ref: Object) -> int:
    return int(ref.get("weight", 1))


def _weighted(ref: Object, weight: int | None) -> Object:
    return {key: value for key, value in ref.items() if key != "weight"} if weight is None else ref | {"weight": weight}


def _rules(route: Object) -> list[Object]:
    return list(route["spec"].get("rules", []))


def _noted(route: Object) -> list[int | None] | None:
    try:
        found = json.loads((route["metadata"].get("annotations") or {}).get(WEIGHTS, "null"))
    except ValueError:
        return None
    return found if isinstance(found, list) and all(weight is None or type(weight) is int for weight in found) else None


def _name(route: Object) -> str:
    return str(route["metadata"]["name"])


def _patch(rules: list[Object], weights: str | None) -> Object:
    return {"metadata": {"annotations": {WEIGHTS: weights}}, "spec": {"rules": rules}}
