"""Peers of the pods of `deploy/`, and the check that each pod reaches what it needs and nothing else."""

from __future__ import annotations

from typing import Any

from shared.contract import catalog
from tests.support.kube.deploy_manifests import component_of, container_of, pod_of, workloads
from tidegate.cluster.policies import HOME, Peer, Policies

Document = dict[str, Any]
# What pods may need, by the port and protocol that they need it on.
NATS = Peer(labels={"app.kubernetes.io/name": "nats", "app.kubernetes.io/component": "nats"})
DNS, NODE_DNS = Peer(namespace="kube-system", labels={"k8s-app": "kube-dns"}), Peer("169.254.20.10")
NEAR, FAR, METADATA = Peer("10.20.0.7"), Peer("203.0.113.5"), Peer("169.254.169.254")
PROMETHEUS, KEDA = Peer(namespace="monitoring"), Peer(namespace="keda")
APPS = Peer(namespace="shop", namespace_labels={"tidegate.dev/apps": "true"})
STRANGERS = (Peer(namespace="default"), Peer(labels={"app": "other"}), NEAR, FAR)
RTSP, HTTPS = (554, 8554, 322), 443
Way = tuple[Peer, int, str]


def ways(peers: tuple[Peer, ...], *ports: int, protocol: str = "TCP") -> list[Way]:
    return [(peer, port, protocol) for peer in peers for port in ports]


SERVED = {
    "bus": ways((NATS,), 4222),
    "names": ways((DNS, NODE_DNS), 53) + ways((DNS, NODE_DNS), 53, protocol="UDP"),
    "cameras": ways((NEAR, FAR), *RTSP),
    "hub": ways((FAR,), HTTPS),
    "endpoint": ways((NEAR, FAR), HTTPS),
}
# No pod may reach these: the bus' other ports, other pods' ports, and the cloud's credentials.
REFUSED = (
    ways((NATS,), 8222, 6222, 7777, 8080)
    + ways((FAR,), 22, 53, 80, 4222)
    + ways((FAR,), 53, 5000, protocol="UDP")
    + ways((METADATA,), 80, HTTPS, *RTSP)
    + ways((Peer(namespace="keda"), Peer(namespace="default")), 80, HTTPS, 4222, 9102)
)


def needed(workload: Document) -> set[str]:
    """The peers that its pod must reach."""
    name = component_of(workload)
    found = {"bus", "names"} | ({"hub"} if fetches(workload) else set())
    labels = workload["spec"]["template"]["metadata"]["labels"]
    # The policy of weights stays: the pod of an endpoint may reach public addresses on 443 in any case.
    found |= {"hub", "endpoint"} if labels.get("tidegate.dev/model") == "endpoint" else set()
    return found | {"ingest": {"cameras"}, "webhook": {"endpoint"}}.get(name, set())


def fetches(workload: Document) -> bool:
    """Whether the settings of a container name a model on the hub, and not a folder."""
    for container in (*pod_of(workload).get("initContainers", []), container_of(workload)):
        text = [a.partition("=")[2] for a in container.get("args", []) if a.startswith("--model=")]
        own = {e["name"]: e.get("value", "") for e in container.get("env", [])}
        text += [] if "VLM_URL" in own else [value for name, value in own.items() if name.endswith("_MODEL")]
        if any(value and not value.removeprefix("hf:").startswith("/") for value in text):
            return True
    return False


def peer(workload: Document) -> Peer:
    """Its pod, as others see it."""
    ports = {p["name"]: p["containerPort"] for p in container_of(workload).get("ports", [])}
    namespace = workload["metadata"].get("namespace", HOME)
    return Peer(labels=workload["spec"]["template"]["metadata"]["labels"], ports=ports, namespace=namespace)


def check(docs: list[Document], *, added: bool, scaler: bool) -> None:
    """Every pod is closed both ways except for its needs; and every service of the catalog has one.

    added: whether the components of webhook, console, recorder and pictures are.
    """
    policies, pods = Policies(docs), workloads(docs)
    there = {"webhook": added, "console": added, "recorder": added, "pictures": added, "scaler": scaler}
    without = {name for name, is_there in there.items() if not is_there}
    services = {component_of(each) for each in pods.values()} - {"placeholder"}
    assert services == {service.name for service in catalog.services()} - without
    everybody = [peer(each) for each in pods.values()]
    for workload in pods.values():
        name, pod = component_of(workload), peer(workload)
        assert policies.isolates(pod, "Ingress") and policies.isolates(pod, "Egress"), name
        idle = name == "placeholder"
        wanted = [] if idle else [way for need in needed(workload) for way in SERVED[need]]
        possible = [way for served in SERVED.values() for way in served]
        possible += [*REFUSED, *ways(tuple(everybody), 9102, 9090, 8000)]
        reached = [way for way in possible if policies.sends(pod, *way)]
        assert [way for way in reached if way not in wanted] == [], f"{name} reaches more"
        assert [way for way in wanted if way not in reached] == [], f"{name} does not reach"
        check_doors(policies, name, pod, everybody)


def check_doors(policies: Policies, name: str, pod: Peer, everybody: list[Peer]) -> None:
    """Prometheus reads metrics and KEDA calls the scaler. No other pod is let in, ours included."""
    sources = (*STRANGERS, *everybody, NATS, APPS, PROMETHEUS, KEDA)
    open_to = [(s, port) for s in sources for port in (9102, 9090, 8000, 80) if policies.takes(pod, s, port)]
    doors = [] if name == "placeholder" else [(PROMETHEUS, 9102)]
    assert open_to == doors + [(KEDA, 9090)] * (name == "scaler"), name
