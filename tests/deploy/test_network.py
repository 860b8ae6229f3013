"""Whom each pod of `deploy/` may talk to: what its record in the catalog and its model need, and nothing else."""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path

import pytest
import yaml

from tests.support.kube.deploy_manifests import DEPLOY, FORMS, OVERLAYS, SHIPPED, build, of, overlay, workloads
from tests.support.kube.network_policies import (
    APPS,
    FAR,
    HTTPS,
    KEDA,
    METADATA,
    NATS,
    NEAR,
    PROMETHEUS,
    REFUSED,
    SERVED,
    STRANGERS,
    Document,
    check,
    peer,
    ways,
)
from tidegate.cluster.policies import Peer, Policies

pytestmark = pytest.mark.xdist_group("deploy")

ALL = {
    "": [
        "kubernetes/site",
        "kubernetes/webhook",
        "kubernetes/console",
        "kubernetes/recorder",
        "kubernetes/pictures",
        "kubernetes/model-cache",
        "keda/crops",
        "kubernetes/tls",
    ],
    "/demand": [
        "kubernetes/site",
        "kubernetes/webhook",
        "kubernetes/console",
        "kubernetes/recorder",
        "kubernetes/pictures",
        "kubernetes/model-cache",
        "keda/demand/crops",
        "keda/demand/mtls",
        "kubernetes/tls",
    ],
}

TOOLS = Peer(labels={"app.kubernetes.io/name": "nats", "app.kubernetes.io/component": "nats-box"})


def test_pods_reach_exactly_what_they_need() -> None:
    check(SHIPPED, added=True, scaler=True)


@pytest.mark.foreign
@pytest.mark.parametrize("form", FORMS)
def test_pods_of_an_overlay_reach_exactly_what_they_need(form: str, tmp_path: Path) -> None:
    demand = form.endswith("/demand")
    check(build(OVERLAYS / form), added=False, scaler=demand)
    components = ALL["/demand" if demand else ""]
    check(overlay(tmp_path, form, *components), added=True, scaler=demand)
    check(overlay(tmp_path, form, *components, "kubernetes/vlm-endpoint"), added=True, scaler=demand)


def test_nats_is_open_to_its_clients_and_its_monitoring_port_only_to_keda() -> None:
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


def test_every_open_rule_has_a_reason() -> None:
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
def test_the_readme_s_patches_narrow_the_stated_rules(form: str, tmp_path: Path) -> None:
    docs = overlay(tmp_path, form, patches=patches())
    policies, pods = Policies(docs), workloads(docs)
    ingest, cv = peer(pods["tidegate-ingest"]), peer(pods["tidegate-cv"])
    assert [policies.sends(ingest, address, 554) for address in (NEAR, FAR, METADATA)] == [True, False, False]
    assert not policies.sends(cv, FAR, HTTPS) and policies.sends(cv, *SERVED["bus"][0])
    assert policies.takes(cv, Peer(namespace="observability"), 9102) and not policies.takes(cv, PROMETHEUS, 9102)
