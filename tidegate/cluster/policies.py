"""Evaluates label selectors and NetworkPolicies like Kubernetes.

Each policy that selects a pod adds permissions; without one all is allowed.

    policies = Policies(documents)
    policies.sends(pod, Peer(address="203.0.113.5"), 443)     # a pod's default namespace is tidegate
    policies.takes(pod, Peer(namespace="keda"), 9090)
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]
HOME = "tidegate"


@dataclass(frozen=True)
class Peer:
    """An address outside the cluster's pods, or a pod with labels in a namespace. ports: its named ports."""

    address: str = ""
    namespace: str = HOME
    labels: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    namespace_labels: dict[str, str] = field(default_factory=dict)


class Policies:
    def __init__(self, documents: list[Document]) -> None:
        found = [d for d in documents if d["kind"] == "NetworkPolicy"]
        self.specs = [(d["metadata"].get("namespace", HOME), d["spec"]) for d in found]

    def sends(self, pod: Peer, to: Peer, port: int, protocol: str = "TCP") -> bool:
        """Return whether the pod's own side permits the outgoing connection."""
        return self._lets("Egress", "to", pod, to, to, port, protocol)

    def takes(self, pod: Peer, source: Peer, port: int, protocol: str = "TCP") -> bool:
        """Return whether the pod's own side permits the incoming connection."""
        return self._lets("Ingress", "from", pod, source, pod, port, protocol)

    def isolates(self, pod: Peer, direction: str) -> bool:
        """Return whether any policy covers that direction of the pod."""
        return bool(self._of(pod, direction))

    def _of(self, pod: Peer, direction: str) -> list[Document]:
        """Return the policies for that direction of the pod."""
        return [
            spec
            for namespace, spec in self.specs
            if namespace == pod.namespace
            and direction in spec["policyTypes"]
            and selected(spec["podSelector"], pod.labels)
        ]

    def _lets(self, direction: str, side: str, pod: Peer, peer: Peer, listener: Peer, port: int, protocol: str) -> bool:
        if not self.isolates(pod, direction):
            return True
        rules = [rule for spec in self._of(pod, direction) for rule in spec.get(direction.lower(), [])]
        return any(
            (side not in rule or any(_matches(each, peer, pod.namespace) for each in rule[side]))
            and ("ports" not in rule or any(_is_port(each, listener, port, protocol) for each in rule["ports"]))
            for rule in rules
        )


def _is_port(rule: Document, listener: Peer, port: int, protocol: str) -> bool:
    wanted = rule.get("port")
    number = listener.ports.get(wanted) if isinstance(wanted, str) else wanted
    return rule.get("protocol", "TCP") == protocol and (wanted is None or number == port)


def _matches(rule: Document, peer: Peer, own: str) -> bool:
    """own: the policy's namespace, the default for a pod selector."""
    if block := rule.get("ipBlock"):
        if not peer.address:
            return False
        address = ipaddress.ip_address(peer.address)
        inside = address in ipaddress.ip_network(block["cidr"])
        return inside and not any(address in ipaddress.ip_network(each) for each in block.get("except", []))
    if peer.address:
        return False
    if "namespaceSelector" in rule:
        names = {"kubernetes.io/metadata.name": peer.namespace} | peer.namespace_labels
        home = selected(rule["namespaceSelector"], names)
    else:
        home = peer.namespace == own
    return home and selected(rule.get("podSelector", {}), peer.labels)


def selected(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Match a label selector: all of matchLabels and matchExpressions have to hold."""
    wanted: dict[str, str] = selector.get("matchLabels") or {}
    return wanted.items() <= labels.items() and all(holds(e, labels) for e in selector.get("matchExpressions") or [])


def holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Evaluate one expression of a label selector, or of a node's affinity, which also has Gt and Lt."""
    value, operator = labels.get(str(expression.get("key"))), expression.get("operator")
    values = list(expression.get("values") or [])
    if operator in ("In", "NotIn"):
        return (value in values) is (operator == "In")
    if operator in ("Exists", "DoesNotExist"):
        return (value is not None) is (operator == "Exists")
    try:
        number, bound = int(str(value)), int(values[0])
    except (ValueError, IndexError):
        return False
    return number > bound if operator == "Gt" else number < bound
