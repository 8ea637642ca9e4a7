"""Whether NetworkPolicies let a connection through, as the API says: what selects a pod denies it everything that none of them allows.

https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Object = dict[str, Any]
NAME = "kubernetes.io/metadata.name"
OPERATORS: dict[str, Callable[[str | None, list[str]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
}


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod with its address; every namespace has its own name among its labels."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = "10.0.0.7"


def allows(policies: Iterable[Object], source: Pod | str, target: Pod | str, port: int, protocol: str = "TCP") -> bool:
    """Whether `source` reaches `target`, each a pod or an address outside of the cluster, on a port."""
    held = list(policies)
    out = not isinstance(source, Pod) or _allowed(held, source, target, "egress", (protocol, port))
    return out and (not isinstance(target, Pod) or _allowed(held, target, source, "ingress", (protocol, port)))


def _allowed(policies: list[Object], pod: Pod, other: Pod | str, direction: str, port: tuple[str, int]) -> bool:
    rules = [rules for policy in policies if (rules := _rules(policy, pod, direction)) is not None]
    # A pod that no policy selects for a direction is not isolated in it.
    return not rules or any(_matches(rule, direction, other, port, pod.namespace) for part in rules for rule in part)


def _rules(policy: Object, pod: Pod, direction: str) -> list[Object] | None:
    spec = policy["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    is_selected = policy["metadata"]["namespace"] == pod.namespace and _selects(spec["podSelector"], pod.labels)
    return list(spec.get(direction, [])) if is_selected and direction.capitalize() in types else None


def _matches(rule: Object, direction: str, other: Pod | str, port: tuple[str, int], namespace: str) -> bool:
    peers = rule.get("from" if direction == "ingress" else "to", [])
    ports = rule.get("ports", [])
    return (not ports or any(_is_port(entry, *port) for entry in ports)) and (
        not peers or any(_is_peer(peer, other, namespace) for peer in peers)
    )


def _is_port(entry: Object, protocol: str, port: int) -> bool:
    if entry.get("protocol", "TCP") != protocol:
        return False
    first: Any = entry.get("port", 0)
    if isinstance(first, str):
        raise TypeError(f"port {first} has a name, and which number that is a policy does not say")
    return bool(first <= port <= (entry.get("endPort") or first or 65535))


def _is_peer(peer: Object, other: Pod | str, namespace: str) -> bool:
    if "ipBlock" in peer:
        address = ip_address(other.address if isinstance(other, Pod) else other)
        block = peer["ipBlock"]
        return address in ip_network(block["cidr"]) and not any(address in ip_network(part) for part in block.get("except", []))
    if not isinstance(other, Pod):
        return False
    is_place = other.namespace == namespace
    if "namespaceSelector" in peer:
        is_place = _selects(peer["namespaceSelector"], {NAME: other.namespace})
    return is_place and _selects(peer.get("podSelector", {}), other.labels)


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        OPERATORS[entry["operator"]](labels.get(entry["key"]), entry.get("values", [])) for entry in selector.get("matchExpressions", [])
    )
