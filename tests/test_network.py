"""Whom each pod of `deploy/` may talk to: what its record in the catalog and its model need, and nothing else."""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.contract import catalog
from tests.test_deploy import (
    DEPLOY,
    FORMS,
    OVERLAYS,
    SHIPPED,
    build,
    component_of,
    container_of,
    of,
    overlay,
    pod_of,
    workloads,
)
from tidegate.cluster.policies import HOME, Peer, Policies

Document = dict[str, Any]

pytestmark = pytest.mark.xdist_group("deploy")

ALL = {
    "": [
        "kubernetes/webhook",
        "kubernetes/console",
        "kubernetes/recorder",
        "kubernetes/model-cache",
        "keda/crops",
        "kubernetes/tls",
    ],
    "/demand": [
        "kubernetes/webhook",
        "kubernetes/console",
        "kubernetes/recorder",
        "kubernetes/model-cache",
        "keda/demand/crops",
        "keda/demand/mtls",
        "kubernetes/tls",
    ],
}

# What pods may need, by the port and protocol that they need it on.
NATS = Peer(labels={"app.kubernetes.io/name": "nats", "app.kubernetes.io/component": "nats"})
TOOLS = Peer(labels={"app.kubernetes.io/name": "nats", "app.kubernetes.io/component": "nats-box"})
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
# What nobody may reach, whatever else there is: the bus' other doors, other ports, and the cloud's credentials.
REFUSED = (
    ways((NATS,), 8222, 6222, 7777, 8080)
    + ways((FAR,), 22, 53, 80, 4222)
    + ways((FAR,), 53, 5000, protocol="UDP")
    + ways((METADATA,), 80, HTTPS, *RTSP)
    + ways((Peer(namespace="keda"), Peer(namespace="default")), 80, HTTPS, 4222, 9102)
)


def needed(workload: Document) -> set[str]:
    """What its pod has to reach."""
    name = component_of(workload)
    found = {"bus", "names"} | ({"hub"} if fetches(workload) else set())
    labels = workload["spec"]["template"]["metadata"]["labels"]
    # The policy of weights stays: what is public on 443 the pod of an endpoint may reach in any case.
    found |= {"hub", "endpoint"} if labels.get("tidegate.dev/model") == "endpoint" else set()
    return found | {"ingest": {"cameras"}, "webhook": {"endpoint"}}.get(name, set())


def fetches(workload: Document) -> bool:
    """Whether any of its containers is told of a model by its name on the hub, and not of a folder."""
    for container in (*pod_of(workload).get("initContainers", []), container_of(workload)):
        told = [a.partition("=")[2] for a in container.get("args", []) if a.startswith("--model=")]
        own = {e["name"]: e.get("value", "") for e in container.get("env", [])}
        told += [] if "VLM_URL" in own else [value for name, value in own.items() if name.endswith("_MODEL")]
        if any(value and not value.removeprefix("hf:").startswith("/") for value in told):
            return True
    return False


def peer(workload: Document) -> Peer:
    """Its pod, as others see it."""
    ports = {p["name"]: p["containerPort"] for p in container_of(workload).get("ports", [])}
    namespace = workload["metadata"].get("namespace", HOME)
    return Peer(labels=workload["spec"]["template"]["metadata"]["labels"], ports=ports, namespace=namespace)


def check(docs: list[Document], *, added: bool, scaler: bool) -> None:
    """Every pod is closed both ways but for what it needs; and every service of the catalog has one.

    added: whether the components of webhook, console and recorder are.
    """
    policies, pods = Policies(docs), workloads(docs)
    there = {"webhook": added, "console": added, "recorder": added, "scaler": scaler}
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
    """Prometheus reads metrics and KEDA asks the scaler. Nobody else is let in, our own pods included."""
    sources = (*STRANGERS, *everybody, NATS, APPS, PROMETHEUS, KEDA)
    open_to = [(s, port) for s in sources for port in (9102, 9090, 8000, 80) if policies.takes(pod, s, port)]
    doors = [] if name == "placeholder" else [(PROMETHEUS, 9102)]
    assert open_to == doors + [(KEDA, 9090)] * (name == "scaler"), name


def test_pods_reach_what_they_need_and_nothing_else() -> None:
    check(SHIPPED, added=True, scaler=True)


@pytest.mark.foreign
@pytest.mark.parametrize("form", FORMS)
def test_pods_of_an_overlay_reach_what_they_need_and_nothing_else(form: str, tmp_path: Path) -> None:
    demand = form.endswith("/demand")
    check(build(OVERLAYS / form), added=False, scaler=demand)
    components = ALL["/demand" if demand else ""]
    check(overlay(tmp_path, form, *components), added=True, scaler=demand)
    check(overlay(tmp_path, form, *components, "kubernetes/vlm-endpoint"), added=True, scaler=demand)


def test_nats_is_open_to_its_clients_and_its_monitoring_port_to_keda_alone() -> None:
    policies = Policies(SHIPPED)
    ours = [peer(each) for name, each in workloads(SHIPPED).items() if name != "tidegate-placeholder"]
    doors = {4222: [*ours, NATS, TOOLS, APPS], 6222: [NATS, TOOLS], 8222: [KEDA], 7777: [PROMETHEUS]}
    sources = [*ours, NATS, TOOLS, APPS, KEDA, PROMETHEUS, *STRANGERS, METADATA]
    for port in (4222, 6222, 8222, 7777, 7422, 8080, 7222):
        assert [s for s in sources if policies.takes(NATS, s, port)] == doors.get(port, []), port
    reached = [way for way in (*SERVED["hub"], *SERVED["cameras"], *REFUSED) if policies.sends(NATS, *way)]
    assert reached == ways((NATS,), 6222)
    assert all(policies.sends(NATS, *way) for way in (*SERVED["bus"], *SERVED["names"]))


def rules(docs: list[Document]) -> list[tuple[Document, str, Document]]:
    """(policy, its side, rule) of all."""
    sides = (("ingress", "from"), ("egress", "to"))
    found = [d for d in docs if d["kind"] == "NetworkPolicy"]
    return [(d, side, rule) for d in found for way, side in sides for rule in d["spec"].get(way, [])]


def test_no_rule_is_for_everybody_without_a_reason() -> None:
    for policy, side, rule in rules(SHIPPED):
        assert rule.get(side) and rule.get("ports"), f"{policy['metadata']['name']}: a rule without either is for all"
        for block in (each["ipBlock"] for each in rule[side] if "ipBlock" in each):
            anywhere = block["cidr"] in ("0.0.0.0/0", "::/0")
            assert anywhere == ("tidegate.dev/any-address" in policy["metadata"].get("annotations", {})) or not anywhere
            assert not anywhere or "169.254.0.0/16" in block["except"]
    reasons = [d["metadata"].get("annotations", {}).get("tidegate.dev/any-address") for d in SHIPPED]
    readme = " ".join((DEPLOY / "README.md").read_text().split())
    assert len([r for r in reasons if r]) == 4 and all(r in readme for r in reasons if r)


def test_a_policy_that_is_too_wide_or_missing_is_found() -> None:
    """The checks can fail: each of these mistakes is noticed."""

    def without(name: str) -> list[Document]:
        return [d for d in SHIPPED if (d["kind"], d["metadata"]["name"]) != ("NetworkPolicy", name)]

    for name in (
        "default-deny",
        "tidegate",
        "tidegate-ingest",
        "tidegate-models",
        "tidegate-scaler",
        "tidegate-webhook",
    ):
        with pytest.raises(AssertionError):
            check(without(name), added=True, scaler=True)
    for change in (
        lambda spec: spec["egress"].append({"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 554}]}),
        lambda spec: spec["egress"].append({"ports": [{"port": 443}]}),
        lambda spec: spec["ingress"].append({"ports": [{"port": "metrics"}]}),
    ):
        docs = copy.deepcopy(SHIPPED)
        change(of(docs, "NetworkPolicy")["tidegate"]["spec"])
        with pytest.raises(AssertionError):
            check(docs, added=True, scaler=True)


@functools.cache
def patches() -> list[Document]:
    """Those that the README shows for policies."""
    (block,) = re.findall(
        r"```yaml\n((?:(?!```).)*kind: NetworkPolicy.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL
    )
    shown: list[Document] = yaml.safe_load(block)
    return shown


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
def test_the_readme_s_patches_narrow_what_they_say(form: str, tmp_path: Path) -> None:
    docs = overlay(tmp_path, form, patches=patches())
    policies, pods = Policies(docs), workloads(docs)
    ingest, cv = peer(pods["tidegate-ingest"]), peer(pods["tidegate-cv"])
    assert [policies.sends(ingest, address, 554) for address in (NEAR, FAR, METADATA)] == [True, False, False]
    assert not policies.sends(cv, FAR, HTTPS) and policies.sends(cv, *SERVED["bus"][0])
    assert policies.takes(cv, Peer(namespace="observability"), 9102) and not policies.takes(cv, PROMETHEUS, 9102)
