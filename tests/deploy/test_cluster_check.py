"""The three commands, by a real kubectl against a page of an API server; each line of the check, failing and well."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.kube import cluster_faults, trigger_faults
from tests.support.kube.checked_cluster import (
    Cluster,
    check,
    cluster,
    jsz,
    no_nats,
    run,
    schema,
    three_commands,
    tidegate,
    whole,
)
from tests.support.kube.cluster_faults import WELL, Fault, kind_of
from tests.support.kube.deploy_manifests import DEPLOY, PRODUCTS
from tests.support.kube.kube_api import Document, KubeApi
from tests.support.kube.kube_controllers import act

__all__ = ["cluster", "jsz", "whole"]

FAULTS = (*cluster_faults.FAULTS, *trigger_faults.FAULTS)

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(
        not shutil.which("kubectl"), reason="kubectl is not installed: apt-get install kubernetes-client"
    ),
    pytest.mark.xdist_group("cluster-check"),
]


def test_a_healthy_cluster_passes_every_check(whole: Cluster) -> None:
    status, lines = check(whole, str(whole.overlay))
    assert [line for line in lines if line[0] != "ok"] == [] and status == 0
    # Each line that fails below passes here, and each line that passes here fails below.
    assert {line[1] for line in lines} >= {WELL.get(each.line, each.line) for each in FAULTS}
    assert {kind_of(line[1]) for line in lines} == {kind_of(WELL.get(each.line, each.line)) for each in FAULTS}
    # The check never read the values of Secrets.
    assert whole.api.listed_secrets == []


def test_a_healthy_cluster_with_tls_passes_and_missing_certificates_fail(tmp_path: Path, jsz: Document) -> None:
    with KubeApi(tmp_path, schema) as api:
        components = ("kubernetes/nats", "kubernetes/tls", "keda/demand/mtls")
        cluster = three_commands(api, tmp_path, jsz, *components, tls=True)
        status, lines = check(cluster, str(cluster.overlay))
        assert [line for line in lines if line[0] != "ok"] == [] and status == 0
        assert api.listed_secrets == []
        for name in ("nats-tls", "tidegate-tls-cv", "tidegate-scaler-tls"):
            api.drop("Secret", name)
        found = {what: (level, remedy) for level, what, _, remedy in check(cluster)[1]}
        for name in ("nats-tls", "tidegate-tls-cv", "tidegate-scaler-tls"):
            level, remedy = found[f"Secret {name}"]
            assert level == "bad" and "tidegate cluster init DIR --tls" in remedy


def test_a_second_tenant_is_checked_in_its_namespace(cluster: Cluster) -> None:
    """Its streams are on the first one's servers."""
    tenant = DEPLOY / "kubernetes/overlays/tenant/demand"
    done = run(cluster.api, "kubectl", "apply", "--server-side", "-k", str(tenant))
    assert done.returncode == 0, done.stderr
    act(cluster.api, PRODUCTS["h100"], "acme")
    _, lines = check(cluster, "--namespace", "acme", str(tenant))
    bad = [line for line in lines if line[0] != "ok"]
    assert bad and all(line[1].startswith("Secret tidegate-nats-") for line in bad)
    for _, what, *_ in bad:
        meta = {"name": what.removeprefix("Secret "), "namespace": "acme"}
        cluster.api.put({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {}})
    status, lines = check(cluster, "--namespace", "acme", str(tenant))
    assert [line for line in lines if line[0] != "ok"] == [] and status == 0
    assert any(line[1] == "streams" and "29 streams" in line[2] for line in lines)
    no_nats(cluster.api)
    _, lines = check(cluster, "--namespace", "acme")
    assert ["kubectl -n tidegate port-forward" in line[3] for line in lines if line[1] == "streams"] == [True]


@pytest.mark.slow
@pytest.mark.long  # all of them take more than a minute of a core
@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.line}: {f.says}"[:70])
def test_each_fault_has_its_line_and_its_remedy(cluster: Cluster, fault: Fault) -> None:
    fault.act(cluster.api)
    status, lines = check(cluster, str(cluster.overlay))
    found = [line for line in lines if line[1] == fault.line and line[0] == fault.level]
    assert any(fault.says in line[2] and fault.remedy in line[3] for line in found), lines
    assert status == (1 if any(line[0] == "bad" for line in lines) else 0)
    assert fault.level == "note" or status == 1


def test_monitoring_can_be_queried_directly(cluster: Cluster, whole: Cluster) -> None:
    """If the API server reaches no pod, a port that the user forwards serves the same page."""
    pages = [page for path, page in whole.api.pages.items() if path.endswith("/jsz")]
    no_nats(cluster.api)
    cluster.api.pages["/jsz"] = pages[0]
    _, lines = check(cluster, "--monitor", cluster.api.url)
    assert [line[0] for line in lines if line[1] == "streams"] == ["ok"]
    _, lines = check(cluster, "--monitor", "http://127.0.0.1:1")
    assert [(line[0], "does not answer" in line[2]) for line in lines if line[1] == "streams"] == [("note", True)]


def test_a_missing_cluster_is_reported_in_a_sentence(tmp_path: Path) -> None:
    with KubeApi(tmp_path) as api:
        pass
    done = tidegate(api, "cluster", "check")
    assert done.returncode == 1 and done.stdout == ""
    assert "kubectl config current-context" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
