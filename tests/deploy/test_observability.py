"""`deploy/observability`: valid by the operator's schema, and in step with the pods, policies and Secrets it names."""

from __future__ import annotations

import asyncio
import json
import os
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.contract import names
from tests.support import npm
from tests.support.kube.deploy_checks import problems
from tests.support.kube.deploy_manifests import (
    DEPLOY,
    OVERLAYS,
    SHIPPED,
    build,
    component_of,
    container_of,
    of,
    overlay,
    workloads,
)
from tests.support.servers import promql
from tests.support.servers.own_server import OwnServer, accounts
from tests.support.waiting import patience_s
from tidegate.cluster.policies import Peer, Policies

Document = dict[str, Any]

pytestmark = pytest.mark.xdist_group("deploy")

OPERATOR_MODELS = "6.0.0"
FOLDER = DEPLOY / "observability"
PROMETHEUS = Peer(namespace="monitoring")
PODS = {name: each for name, each in workloads(SHIPPED).items() if name != "tidegate-placeholder"}


def check_schema(config: pytest.Config, docs: list[Document]) -> list[str | None]:
    folder = npm.installed(config, "@kubernetes-models/prometheus-operator", OPERATOR_MODELS).parents[2]
    mine = [d for d in docs if d["apiVersion"].startswith("monitoring.coreos.com/")]
    return problems(folder, "prometheus-operator/monitoring.coreos.com/v1", mine)


@pytest.mark.foreign
def test_it_is_valid_by_the_operator_s_schema(pytestconfig: pytest.Config) -> None:
    docs = build(FOLDER)
    found = check_schema(pytestconfig, docs)
    assert set(found) == {None} and len(found) == len(PODS) + 2
    broken = json.loads(json.dumps(of(docs, "PodMonitor")["tidegate-cv"]))
    broken["spec"]["podMetricsEndpoints"][0]["interval"] = "often"
    assert check_schema(pytestconfig, [broken]) != [None]
    assert {d["metadata"]["namespace"] for d in docs} == {"tidegate"}


@pytest.mark.parametrize("name", PODS)
def test_each_pod_is_scraped_once_on_the_port_of_its_page(name: str) -> None:
    workload = PODS[name]
    labels = workload["spec"]["template"]["metadata"]["labels"]
    monitors = of(SHIPPED, "PodMonitor")
    matching = [n for n, m in monitors.items() if m["spec"]["selector"]["matchLabels"].items() <= labels.items()]
    assert matching == [name]
    (endpoint,) = monitors[name]["spec"]["podMetricsEndpoints"]
    (port,) = (p["containerPort"] for p in container_of(workload)["ports"] if p["name"] == endpoint["port"])
    pod = Peer(labels=labels, ports={endpoint["port"]: port})
    assert Policies(SHIPPED).takes(pod, PROMETHEUS, port)
    # A PodMonitor has no other name for the path of a page than ours.
    assert endpoint.get("path", "/metrics") == "/metrics"
    assert endpoint["tlsConfig"] == {"serverName": name}
    (relabelling,) = endpoint["relabelings"]
    assert relabelling["targetLabel"] == "component" and component_of(workload) == labels["app.kubernetes.io/component"]


def test_the_exporter_of_nats_is_scraped() -> None:
    stateful = of(SHIPPED, "StatefulSet")["nats"]
    labels = stateful["spec"]["template"]["metadata"]["labels"]
    monitor = of(SHIPPED, "PodMonitor")["tidegate-nats"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    (exporter,) = (c for c in stateful["spec"]["template"]["spec"]["containers"] if c["name"] == "exporter")
    ours, chart = monitor["podMetricsEndpoints"]
    (port,) = (p["containerPort"] for p in exporter["ports"] if p["name"] == ours["port"])
    assert f"-port={port}" in exporter["args"] and Policies(SHIPPED).takes(Peer(labels=labels), PROMETHEUS, port)
    assert {"-varz", "-healthz", "-jsz=all"} <= set(exporter["args"])
    # The chart's names become those that alerts read: Prometheus anchors its patterns.
    for name in (n for n in promql.FOREIGN if n.startswith(("jetstream_", "gnatsd_"))):
        renamed = "nats_" + name.partition("_")[2]
        for rule in chart["metricRelabelings"]:
            if found := re.fullmatch(rule["regex"], renamed):
                renamed = rule["replacement"].replace("$1", found[1])
        assert renamed == name


async def test_nats_serves_the_figures_that_its_exporter_forwards(tmp_path: Path) -> None:
    """The exporter derives its names from these fields of a real nats-server."""
    accounts(tmp_path)
    async with OwnServer(tmp_path, monitored=True) as nats:
        done = await nats.tidegate("setup")
        assert done.returncode == 0, done.stderr
        varz, jsz, healthz = [
            json.loads(await asyncio.to_thread(_page, f"http://127.0.0.1:{nats.monitoring}/{page}"))
            for page in ("varz", "jsz?consumers=true&config=true&raft=true", "healthz")
        ]
    assert healthz["status"] == "ok"
    fields = {n.removeprefix("gnatsd_varz_") for n in promql.FOREIGN if n.startswith("gnatsd_varz_")}
    assert {f for f in fields if not isinstance(varz[f], int | float)} == set()
    assert jsz["config"]["max_storage"] > 0 and jsz["bytes"] >= 0
    (account,) = (a for a in jsz["account_details"] if a["name"] == names.ACCOUNT)
    streams = {s["name"]: s for s in account["stream_detail"]}
    assert {"MEDIA", "DLQ"} <= set(streams)
    assert {"first_seq", "last_seq", "bytes"} <= set(streams["MEDIA"]["state"]) and streams["MEDIA"]["config"][
        "max_bytes"
    ]
    consumers = {c["name"]: c for c in streams["MEDIA"]["consumer_detail"]}
    assert {"cv", "vlm-plan"} <= set(consumers)
    assert {"num_pending", "num_ack_pending", "ack_floor"} <= set(consumers["cv"])


def _page(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=patience_s()) as answer:
        return bytes(answer.read())


def with_observability(folder: Path, form: str, *components: str) -> list[Document]:
    """An overlay of one's own that names it as the README says."""
    resources = [os.path.relpath(p, folder.resolve()) for p in (OVERLAYS / form, FOLDER)]
    return overlay(folder, form, *components, resources=resources)


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
def test_it_can_be_added_to_an_overlay_of_either_form(form: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    docs = with_observability(tmp_path, form)
    before = {json.dumps(d, sort_keys=True) for d in build(OVERLAYS / form)}
    added = [d for d in docs if json.dumps(d, sort_keys=True) not in before]
    assert {d["kind"] for d in added} <= {"PodMonitor", "PrometheusRule", "ConfigMap"}
    assert len(docs) == len(before) + len(added)
    assert set(check_schema(pytestconfig, docs)) == {None}


@pytest.mark.foreign
def test_tls_scrapes_present_a_certificate_and_verify_each_pod_by_name(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    docs = with_observability(
        tmp_path, "h100/demand", "kubernetes/webhook", "kubernetes/tls", "keda/demand/mtls", "observability/tls"
    )
    assert set(check_schema(pytestconfig, docs)) == {None}
    certificates = of(build(DEPLOY / "kubernetes/tls/cert-manager"), "Certificate")
    own = certificates["tidegate-tls-prometheus"]["spec"]
    assert own["usages"] == ["client auth"]
    monitors = of(docs, "PodMonitor")
    assert {e.get("scheme", "http") for e in monitors.pop("tidegate-nats")["spec"]["podMetricsEndpoints"]} == {"http"}
    assert set(monitors) == set(PODS)
    for name, monitor in monitors.items():
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        tls = endpoint["tlsConfig"]
        assert endpoint["scheme"] == "https"
        assert certificates[f"tidegate-tls-{component_of(PODS[name])}"]["spec"]["dnsNames"] == [tls["serverName"]]
        keys = [tls["ca"]["secret"], tls["cert"]["secret"], tls["keySecret"]]
        assert keys == [{"name": own["secretName"], "key": key} for key in ("ca.crt", "tls.crt", "tls.key")]
        # The operator reads a monitor's Secret in the monitor's own namespace.
        assert monitor["metadata"]["namespace"] == certificates["tidegate-tls-prometheus"]["metadata"]["namespace"]


@pytest.mark.foreign
def test_a_tenant_has_only_its_own_monitors(tmp_path: Path) -> None:
    docs = overlay(tmp_path, "../../observability/pods", namespace="acme")
    assert {(d["kind"], d["metadata"]["namespace"]) for d in docs} == {("PodMonitor", "acme")}


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
def test_every_selected_object_has_the_label_of_the_readme(form: str, tmp_path: Path) -> None:
    readme = (DEPLOY / "README.md").read_text().partition("\n## Observability\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    resources = re.findall(r"`((?:\.\./)+observability)`", readme)
    assert [os.path.normpath(OVERLAYS / f / r) for f, r in zip(("h100", "h100/demand"), resources, strict=True)] == [
        str(FOLDER)
    ] * 2
    docs = overlay(tmp_path, form, resources=[os.path.relpath(FOLDER, tmp_path.resolve())], **yaml.safe_load(block))
    assert {d["metadata"]["labels"]["release"] for d in docs} == {"kube-prometheus-stack"}
