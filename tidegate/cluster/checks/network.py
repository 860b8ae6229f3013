"""Reachability by the present NetworkPolicies: required connections, and forbidden ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tidegate.cluster.checks.base import HOME as KEDA
from tidegate.cluster.checks.streams import unserved_port
from tidegate.cluster.kubectl import Document
from tidegate.cluster.monitor import CONFIG, namespace_of
from tidegate.cluster.policies import Peer, Policies
from tidegate.cluster.state import Cluster, labels, template
from tidegate.view.findings import Finding
from tidegate.view.words import counted

PLACEHOLDER = "placeholder"
SCALER = "tidegate-scaler"
STRANGERS = "default"


class Connection(NamedTuple):
    """A connection: source, destination, port, and its description."""

    source: Peer
    to: Peer
    port: int
    text: str


def reach(cluster: Cluster) -> list[Finding]:
    """Check that the policies, if enforced, allow the required connections, and none that reads protected data."""
    if "objects" in cluster.unknown or not cluster.ours():
        return []
    rules = list(cluster.of("NetworkPolicy").values())
    remedy = "apply the overlay again, or see what patches its policies: deploy/README.md, Who may talk to whom"
    if not rules:
        found = "no policy: any pod of the cluster may ask NATS' monitoring port and the scaler"
        return [Finding("network", "bad", found, remedy)]
    policies = Policies(rules)
    wanted, unwanted = list(_wanted(cluster)), list(_unwanted(cluster))
    closed = [connection.text for connection in wanted if not _lets(policies, connection)]
    opened = [connection.text for connection in unwanted if _lets(policies, connection)]
    lines = []
    if closed:
        lines.append(Finding("network", "bad", f"closed by policies: {'; '.join(closed)}", remedy))
    if opened:
        lines.append(Finding("network", "bad", f"open, and should not be: {'; '.join(opened)}", remedy))
    summary = (
        f"{counted(len(wanted), 'way')} open that must be, {len(unwanted)} closed, if the network enforces policies"
    )
    return lines or [Finding("network", "ok", summary)]


def _lets(policies: Policies, connection: Connection) -> bool:
    return policies.sends(connection.source, connection.to, connection.port) and policies.takes(
        connection.to, connection.source, connection.port
    )


def _wanted(cluster: Cluster) -> Iterator[Connection]:
    keda = Peer(namespace=KEDA)
    client, monitoring = _ports(cluster)
    if nats := _nats(cluster):
        for name, workload in sorted(cluster.ours().items()):
            pod = _pod(cluster, workload)
            if pod.labels.get("app.kubernetes.io/name") == "tidegate" and not _is_idle(pod):
                yield Connection(pod, nats, client, f"{name} to NATS")
        # A port that nothing serves is the ConfigMap's mistake, and not the policies'.
        if not unserved_port(cluster, _config(cluster).get("monitoring", "")):
            yield Connection(keda, nats, monitoring, "KEDA to NATS' monitoring port")
    if scaler := cluster.ours().get(SCALER):
        pod = _pod(cluster, scaler)
        yield Connection(keda, pod, pod.ports.get("http", 0), "KEDA to the scaler")


def _unwanted(cluster: Cluster) -> Iterator[Connection]:
    """Yield connections from a pod of another namespace, and from a foreign one in ours."""
    client, monitoring = _ports(cluster)
    for who, text in (
        (Peer(namespace=STRANGERS), f"any pod of {STRANGERS}"),
        (Peer(namespace=cluster.namespace, labels={"app": "stranger"}), f"any pod of {cluster.namespace}"),
    ):
        if nats := _nats(cluster):
            yield Connection(who, nats, client, f"{text} to NATS")
            yield Connection(who, nats, monitoring, f"{text} to NATS' monitoring port")
        if scaler := cluster.ours().get(SCALER):
            pod = _pod(cluster, scaler)
            yield Connection(who, pod, pod.ports.get("http", 0), f"{text} to the scaler")


def _config(cluster: Cluster) -> Document:
    return cluster.of("ConfigMap").get(CONFIG, {}).get("data") or {}


def _ports(cluster: Cluster) -> tuple[int, int]:
    """Return the ports of clients, and of monitoring, from the ConfigMap that pods and KEDA read."""
    config = _config(cluster)
    found = [str(config.get(key, "")).rpartition(":")[2] for key in ("url", "monitoring")]
    client, monitoring = (int(port) if port.isdigit() else 0 for port in found)
    return client, monitoring


def _nats(cluster: Cluster) -> Peer | None:
    """Return a NATS server of the namespace, of any origin."""
    config = _config(cluster)
    address = str(config.get("monitoring", ""))
    spec = cluster.of("Service").get(address.partition(".")[0], {}).get("spec") or {}
    if namespace_of(address) != cluster.namespace or not spec.get("selector"):
        return None
    return Peer(namespace=cluster.namespace, labels=dict(spec["selector"]))


def _pod(cluster: Cluster, workload: Document) -> Peer:
    pod = template(workload)
    containers = (pod.get("spec") or {}).get("containers") or []
    ports = {p["name"]: p["containerPort"] for c in containers for p in c.get("ports") or [] if "name" in p}
    return Peer(namespace=cluster.namespace, labels=labels(pod), ports=ports)


def _is_idle(pod: Peer) -> bool:
    return pod.labels.get("app.kubernetes.io/component") == PLACEHOLDER
