"""A cause is one line of the check, which names what follows from it; a sound overlay has no false one."""

from __future__ import annotations

import shutil

import pytest

from tests.support.kube.checked_cluster import Cluster, check, cluster, jsz, several, whole
from tests.support.kube.deploy_manifests import FORMS, OVERLAYS, build
from tests.support.kube.trigger_faults import no_scaler, paused, url, without_demand
from tidegate.cluster import state
from tidegate.cluster.checks import causes, triggers
from tidegate.cluster.kubectl import by_kind
from tidegate.view.findings import Finding

__all__ = ["cluster", "jsz", "whole"]

needs_kubectl = pytest.mark.skipif(
    not shutil.which("kubectl"), reason="kubectl is not installed: apt-get install kubernetes-client"
)
pytestmark = [pytest.mark.foreign, pytest.mark.xdist_group("cluster-check")]


def problems(cluster: Cluster) -> list[list[str]]:
    _, lines = check(cluster, str(cluster.overlay))
    return [line for line in lines if line[0] != "ok"]


@needs_kubectl
def test_an_absent_scaler_is_one_line_that_names_what_follows(cluster: Cluster) -> None:
    no_scaler(cluster.api)
    ((level, what, found, remedy),) = problems(cluster)
    assert (level, what) == ("bad", "tidegate-scaler") and "--replicas=2" in remedy
    for service in ("cv", "embed", "vlm", "ingest"):
        assert f"ScaledObject tidegate-{service}" in found and f"HPA keda-hpa-tidegate-{service}" in found
        assert f"metric s0-metric-api-demand of tidegate-{service}" in found


@needs_kubectl
def test_a_refused_query_is_one_line_with_the_scaler_s_sentence(cluster: Cluster) -> None:
    several(url("coldStart=60", "coldStart=soon"), without_demand("tidegate-cv"))(cluster.api)
    ((_, what, found, _),) = problems(cluster)
    assert what == "trigger 0 of tidegate-cv"
    assert found.startswith("metadata key coldStart is 'soon': give seconds, such as")
    assert "quality of tidegate-cv" in found and "tidegate-embed" not in found


@needs_kubectl
def test_a_pause_is_no_fault(cluster: Cluster) -> None:
    paused(paused="true")(cluster.api)
    status, lines = check(cluster, str(cluster.overlay))
    assert status == 0
    ((level, what, _, remedy),) = [line for line in lines if line[0] != "ok"]
    assert (level, what) == ("note", "ScaledObject tidegate-cv") and remedy.endswith("autoscaling.keda.sh/paused-")


@needs_kubectl
def test_an_annotation_that_is_false_pauses_nothing(cluster: Cluster) -> None:
    annotations = cluster.api.get("ScaledObject", "tidegate-cv")["metadata"]["annotations"]
    annotations["autoscaling.keda.sh/paused"] = "false"
    assert problems(cluster) == []


@needs_kubectl
def test_another_namespace_is_named(cluster: Cluster) -> None:
    _, lines = check(cluster, "--namespace", "acme", str(cluster.overlay))
    assert [(line[0], line[3]) for line in lines if line[1] == "overlay"] == [
        ("bad", "check that one: --namespace tidegate")
    ]


@pytest.mark.parametrize("form", [*FORMS, "cpu", "cpu/demand", "tenant", "tenant/demand"])
def test_no_trigger_of_an_overlay_has_a_mistake(form: str) -> None:
    objects = by_kind(build(OVERLAYS / form))
    objects["Namespace"]["tidegate"] = {"kind": "Namespace", "metadata": {"name": "tidegate"}}
    namespace = "acme" if form.startswith("tenant") else "tidegate"
    found = triggers.requests(state.Cluster(namespace, objects=objects))
    assert found and [f for f in found if f.level != "ok"] == []


def test_a_cause_of_a_cause_has_all_that_follows() -> None:
    root = Finding("nats", "bad", "away")
    middle = Finding("streams", "bad", "unseen", causes=("nats",))
    leaf = Finding("metric", "note", "none", causes=("missing", "streams"))
    folded = causes.fold([leaf, Finding("gpu", "ok", "8"), middle, root, Finding("disk", "bad", "full")])
    assert [(f.what, f.found) for f in folded] == [
        ("nats", "away; hence also metric, streams"),
        ("disk", "full"),
        ("gpu", "8"),
    ]


def test_lines_that_explain_each_other_both_stay() -> None:
    found = [Finding("a", "bad", "x", causes=("b",)), Finding("b", "bad", "y", causes=("a",))]
    assert causes.fold(found) == found


def test_a_cause_that_is_well_explains_nothing() -> None:
    found = [Finding("nats", "ok", "3 servers"), Finding("metric", "bad", "none", causes=("nats",))]
    assert [f.what for f in causes.fold(found)] == ["metric", "nats"]
