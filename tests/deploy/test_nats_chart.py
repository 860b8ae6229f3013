"""deploy/nats-chart: NATS' own Helm chart makes of our values what the component kubernetes/nats has.

The chart is in no package: NATS_CHART names its folder, helm/charts/nats of nats-io/k8s.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from shared.contract import memory
from shared.contract.memory import MB
from tests.support.kube.deploy_checks import check_builtin_kinds, check_confined
from tests.support.kube.deploy_manifests import DEPLOY, SHIPPED, Document, claims_of, documents, of, overlay, pod_of
from tests.support.servers.nats_pods import NatsPods, are_one
from tidegate.commands import tidegate

CHART = DEPLOY / "nats-chart"
FORMS = {"plain": ("values.yaml",), "tls": ("values.yaml", "values-tls.yaml")}


def values(form: str) -> Document:
    """Those of several files, as helm merges them."""
    found: Document = {}
    for name in FORMS[form]:
        found = merged(found, yaml.safe_load((CHART / name).read_text()))
    return found


def merged(one: Document, other: Document) -> Document:
    both = {
        k: merged(one[k], v) if isinstance(v, dict) and isinstance(one.get(k), dict) else v for k, v in other.items()
    }
    return one | both


def ours() -> Document:
    return of(SHIPPED, "StatefulSet")["nats"]


def setting(name: str) -> str:
    """Return a setting of the component's nats.conf."""
    found = re.findall(rf"^ *{name}: (\S+)$", of(SHIPPED, "ConfigMap")["nats"]["data"]["nats.conf"], re.MULTILINE)
    (value,) = found
    return str(value)


def test_its_memory_suffices_for_the_buffers_of_slow_clients() -> None:
    (environment,) = (c["env"] for c in pod_of(ours())["containers"] if c["name"] == "nats")
    (limit,) = (int(e["value"].removesuffix("MiB")) * MB for e in environment if e["name"] == "GOMEMLIMIT")
    pending, payload = (int(setting(name).removesuffix("MB")) * MB for name in ("max_pending", "max_payload"))
    assert (pending, payload) == (memory.MAX_PENDING, memory.MAX_PAYLOAD)
    assert memory.needed() <= limit
    compose = (DEPLOY / "compose/nats.conf").read_text()
    assert f"max_pending: {pending // MB}MB\n" in compose and f"max_payload: {payload // MB}MB\n" in compose


def test_the_values_are_those_of_the_component() -> None:
    given = values("plain")
    config, store = given["config"], given["config"]["jetstream"]["fileStore"]
    for name in ("max_payload", "max_pending", "max_control_line", "max_connections"):
        assert str(config["merge"][name]).strip("<> ") == setting(name)
    assert (store["maxSize"], config["jetstream"]["merge"]["sync_interval"]) == (
        setting("max_file_store"),
        setting("sync_interval"),
    )
    assert [store["pvc"]["size"]] == [claim["storage"] for claim in claims_of(ours())]
    assert config["cluster"]["replicas"] == ours()["spec"]["replicas"]
    assert given["statefulSet"]["merge"]["spec"]["minReadySeconds"] == ours()["spec"]["minReadySeconds"]
    server, exporter = pod_of(ours())["containers"]
    assert given["container"]["merge"]["resources"] == server["resources"]
    assert given["promExporter"]["merge"]["resources"] == exporter["resources"]
    component = yaml.safe_load((DEPLOY / "kubernetes/nats/kustomization.yaml").read_text())
    (image,) = (i for i in component["images"] if i["name"] == "nats")
    assert given["container"]["image"]["tag"] == image["newTag"]
    pod = given["podTemplate"]["merge"]["spec"]
    for name in ("securityContext", "affinity", "automountServiceAccountToken"):
        assert pod[name] == pod_of(ours())[name]


def test_the_readme_uses_the_values() -> None:
    readme = (DEPLOY / "README.md").read_text()
    assert all(f"deploy/nats-chart/{name}" in readme for name in FORMS["tls"])


# ---- as the chart makes them


@pytest.fixture(params=FORMS)
def rendered(request: pytest.FixtureRequest) -> tuple[str, list[Document]]:
    """(form, what helm would apply)."""
    if not (chart := os.environ.get("NATS_CHART")):
        pytest.skip("NATS' chart is in no package: set NATS_CHART to helm/charts/nats of nats-io/k8s")
    helm: Any = pytest.importorskip("helm_python", reason="Helm is not installed: pip install helm-python-sdk")
    with helm.Chart.load(chart) as loaded:
        built = loaded.render(values(request.param), name="nats", namespace="tidegate")
    # A test of the chart is a pod that helm runs on request only.
    docs = [d for name, text in built.items() if "/tests/" not in name for d in documents(text)]
    for doc in docs:
        doc["metadata"].setdefault("namespace", "tidegate")
    return request.param, docs


def test_the_chart_creates_what_pods_policies_and_keda_reference(
    rendered: tuple[str, list[Document]], tmp_path: Path
) -> None:
    form, docs = rendered
    check_builtin_kinds(docs)
    stateful = of(docs, "StatefulSet")["nats"]
    check_confined(pod_of(stateful))
    labels = stateful["spec"]["template"]["metadata"]["labels"]
    selected = ours()["spec"]["selector"]["matchLabels"]
    assert selected.items() <= labels.items()
    assert {d["metadata"]["name"] for d in docs} == {"nats", "nats-headless", "nats-config"}
    assert {p["port"] for p in of(docs, "Service")["nats"]["spec"]["ports"]} == {4222, 8222}
    components = ["kubernetes/nats", *["kubernetes/tls"] * (form == "tls")]
    wanted = pod_of(of(overlay(tmp_path, "h100", *components), "StatefulSet")["nats"])
    for pod in (pod_of(stateful), wanted):
        names = {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        assert names == {"nats-server", *["nats-tls"] * (form == "tls")}
        server = pod["containers"][0]
        schemes = {
            server[f"{kind}Probe"]["httpGet"].get("scheme", "HTTP") for kind in ("startup", "readiness", "liveness")
        }
        assert schemes == {"HTTPS" if form == "tls" else "HTTP"}
    (exporter,) = (c for c in pod_of(stateful)["containers"] if c["name"] == "prom-exporter")
    assert exporter["ports"] == [{"name": "prom-metrics", "containerPort": 7777}]
    # The container has no key.
    assert "tls-ca" not in json.dumps([m for m in exporter.get("volumeMounts", []) if m.get("subPath") != "ca.crt"])
    (reloader,) = (c for c in pod_of(stateful)["containers"] if c["name"] == "reloader")
    assert "/etc/nats-server/accounts.conf" in reloader["args"]
    assert {"name": "server", "mountPath": "/etc/nats-server", "readOnly": True} in reloader["volumeMounts"]


@pytest.fixture
def servers(rendered: tuple[str, list[Document]], tmp_path: Path) -> Iterator[NatsPods]:
    form, docs = rendered
    done = CliRunner().invoke(tidegate, ["cluster", "init", str(tmp_path / "secrets"), *["--tls"] * (form == "tls")])
    assert done.exit_code == 0, done.output
    config = of(docs, "ConfigMap")["nats-config"]["data"]["nats.conf"]
    mounts = ["nats-certs/nats", "nats-certs/cluster", "nats-ca-cert"] if form == "tls" else []
    pods = NatsPods(tmp_path, tmp_path / "secrets", {"nats-config/nats.conf": config}, mounts)
    yield pods
    pods.stop()


@pytest.mark.slow
async def test_three_servers_of_the_chart_form_a_cluster(servers: NatsPods) -> None:
    await are_one(servers)
