"""What rendered NetworkPolicies let through, by the rules of Kubernetes
(https://kubernetes.io/docs/concepts/services-networking/network-policies/)."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod, or with an address alone something outside the cluster."""

    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    address: str = "10.244.0.7"
    named_ports: dict[str, int] = field(default_factory=dict)


def allows(policies: list[Json], source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Return True if the source may send and the target may receive."""
    return _passes(policies, "Egress", source, target, target, port, protocol) and _passes(
        policies, "Ingress", target, source, target, port, protocol
    )


def _passes(policies: list[Json], way: str, own: End, other: End, target: End, port: int, protocol: str) -> bool:
    """Return True if no policy selects the pod this way, or a rule of one that does lets the connection through."""
    rules, peers = way.lower(), "to" if way == "Egress" else "from"
    selecting = [
        each
        for each in policies
        if own.namespace == each["metadata"]["namespace"]
        and way in each["spec"]["policyTypes"]
        and _selects(each["spec"]["podSelector"], own.labels)
    ]
    return not selecting or any(
        _is_peer(rule.get(peers), other, each["metadata"]["namespace"])
        and _is_port(rule.get("ports"), target, port, protocol)
        for each in selecting
        for rule in each["spec"].get(rules) or []
    )


def _is_peer(peers: list[Json] | None, other: End, namespace: str) -> bool:
    return not peers or any(_matches(peer, other, namespace) for peer in peers)


def _matches(peer: Json, other: End, namespace: str) -> bool:
    if "ipBlock" in peer:
        block = ip_network(peer["ipBlock"]["cidr"])
        return ip_address(other.address) in block
    if not other.namespace:
        return False
    there = {"kubernetes.io/metadata.name": other.namespace}
    in_namespace = (
        _selects(peer["namespaceSelector"], there) if "namespaceSelector" in peer else other.namespace == namespace
    )
    return in_namespace and _selects(peer.get("podSelector", {}), other.labels)


def _is_port(ports: list[Json] | None, target: End, port: int, protocol: str) -> bool:
    return not ports or any(
        each.get("protocol", "TCP") == protocol and target.named_ports.get(each["port"], each["port"]) == port
        for each in ports
    )


def _selects(selector: Json, labels: dict[str, str]) -> bool:
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for each in selector.get("matchExpressions", []):
        if each["operator"] not in ("Exists", "In"):
            raise NotImplementedError(each["operator"])
        if each["key"] not in labels or (each["operator"] == "In" and labels[each["key"]] not in each["values"]):
            return False
    return True
