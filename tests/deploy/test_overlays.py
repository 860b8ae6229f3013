"""The overlays of `deploy/`, by the real kustomize: valid, and scaled as their guides say."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from shared.contract import names
from shared.contract.topology import TopologySettings, consumers
from tests.support.kube.deploy_checks import (
    check_builtin_kinds,
    check_placeholder,
    check_pod,
    check_thresholds,
    check_triggers,
    keda_problems,
    our_own_reading,
)
from tests.support.kube.deploy_checks import keda_schema as keda_schema
from tests.support.kube.deploy_manifests import (
    DEPLOY,
    FORMS,
    GPU,
    LATENCY,
    OVERLAYS,
    PRODUCTS,
    PROFILES,
    RATE,
    Document,
    build,
    component_of,
    container_of,
    of,
    overlay,
    pod_of,
    query_of,
    workloads,
)
from tests.support.kube.service_checks import arguments, check_analytics, check_cv, check_embed, check_search, check_vlm
from tidegate.keda.hpa import TOLERANCE
from tidegate.keda.scaledobject import PrometheusTrigger
from tidegate.keda.threshold import lag_threshold

# KEDA's models are installed once, and an overlay is built once.
pytestmark = pytest.mark.xdist_group("deploy")


@pytest.mark.foreign
@pytest.mark.parametrize("form", FORMS)
def test_an_overlay_is_valid_and_complete(form: str, tmp_path: Path) -> None:
    docs = build(OVERLAYS / form)
    check_builtin_kinds(docs)
    cluster_wide = ("Namespace", "PriorityClass")
    assert all(d["kind"] in cluster_wide or d["metadata"]["namespace"] == "tidegate" for d in docs)
    deployments, scaled = workloads(docs), of(docs, "ScaledObject")
    on_gpu = {"tidegate-cv", "tidegate-embed", "tidegate-vlm"}
    assert set(scaled) == on_gpu | ({"tidegate-ingest"} if form.endswith("/demand") else set())
    assert ("tidegate-scaler" in deployments) == form.endswith("/demand")
    assert "tidegate-webhook" not in deployments
    for name, deployment in deployments.items():
        check_pod(deployment)
        selector = pod_of(deployment).get("nodeSelector")
        product = {"nvidia.com/gpu.product": PRODUCTS[form.removesuffix("/demand")]}
        assert selector == (product if name in on_gpu | {"tidegate-placeholder"} else None)
        images = [c["image"] for c in (*pod_of(deployment).get("initContainers", []), container_of(deployment))]
        assert all(re.fullmatch(r"[a-z0-9./-]+:[A-Za-z0-9.-]+", image) for image in images)
    check_placeholder(docs)
    for one in scaled.values():
        our_own_reading(one)
        assert one["spec"]["scaleTargetRef"]["name"] in deployments
        check_thresholds(one)
        check_triggers(one, docs)
    cv = scaled["tidegate-cv"]
    (tmp_path / "password").write_text("p")
    assert check_embed(docs, tmp_path / "password").embed_crops == ""
    check_search(docs, tmp_path / "password")
    check_vlm(docs, tmp_path / "password")
    check_analytics(docs, tmp_path / "password")
    worker = check_cv(deployments["tidegate-cv"], tmp_path / "password", cv["spec"]["maxReplicaCount"])
    # Messages in flight must not decide: the stated rate alone gives the threshold.
    rate, latency = (float(cv["metadata"]["annotations"][key]) for key in (RATE, LATENCY))
    assert not lag_threshold(rate, latency, max_in_flight=worker.hold).is_bounded_by_in_flight
    # Decoding 1080p25 took 0.078 of a core a segment: the stated rate needs that many cores.
    assert worker.threads >= math.floor(rate * 0.078)


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["cpu", "cpu/demand"])
def test_the_overlay_without_gpus_requests_none(form: str, keda_schema: Path) -> None:
    """Every service but vlm, by models that the image holds."""
    docs = build(OVERLAYS / form)
    check_builtin_kinds(docs)
    assert set(keda_problems(keda_schema, docs)) == {None}
    assert "gpu" not in json.dumps([d for d in docs if d["kind"] != "ScaledObject"])
    scaled = of(docs, "ScaledObject")
    assert set(scaled) == {"tidegate-cv", "tidegate-embed"} | ({"tidegate-ingest"} if "demand" in form else set())
    for one in scaled.values():
        check_thresholds(one)
        check_triggers(one, docs)
    names = {"analytics", "cv", "embed", "embed-queries", "ingest", "search"} | (
        {"scaler"} if "demand" in form else set()
    )
    assert {component_of(w) for w in workloads(docs).values()} == names
    for workload in workloads(docs).values():
        check_pod(workload)
        assert not re.search("cuda|hf:|ViT", json.dumps(container_of(workload)["env"]))


@pytest.mark.foreign
@pytest.mark.parametrize("form", FORMS)
def test_an_overlay_s_keda_kinds_are_valid(form: str, keda_schema: Path) -> None:
    assert set(keda_problems(keda_schema, build(OVERLAYS / form))) == {None}


@pytest.mark.foreign
@pytest.mark.parametrize("form", [*FORMS, "cpu", "cpu/demand"])
def test_work_degrades_only_if_demand_scales(form: str) -> None:
    """Workers defend the target of their ScaledObject."""
    docs = build(OVERLAYS / form)
    scaled = of(docs, "ScaledObject")
    for service in (s for s in ("cv", "embed", "vlm") if f"tidegate-{s}" in scaled):
        name = f"tidegate-{service}"
        given = {v["name"]: v.get("value") for v in container_of(workloads(docs)[name])["env"]}
        triggers = scaled[name]["spec"]["triggers"]
        asks = [query_of(t) for t in triggers if t["type"] == "metrics-api"]
        assert given.get(f"{service.upper()}_LATENCY_TARGET_S") == (asks[0]["latencyTarget"] if asks else None)
        assert bool(asks) == form.endswith("/demand")


@pytest.mark.foreign
def test_nvidia_s_figures_are_unchanged() -> None:
    """Streams of 1080p30 by NVIDIA, as frames, as segments of 5 frames."""
    for profile, streams in (("h100", 50), ("rtx-pro-6000", 29), ("l40s", 15)):
        for form in ("", "/demand"):
            scaled = of(build(OVERLAYS / f"{profile}{form}"), "ScaledObject")["tidegate-cv"]
            assert float(scaled["metadata"]["annotations"][RATE]) == streams * 30 / 5


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["rtx-pro-4500", "rtx-pro-4500/demand"])
def test_a_gpu_without_figures_of_nvidia_has_a_share_of_another_s_rate(form: str) -> None:
    """CUDA cores and GB/s of an RTX PRO 4500 and an RTX PRO 6000, both of the server edition."""
    share = min(10_496 / 24_064, 800 / 1_597)
    scaled = of(build(OVERLAYS / form), "ScaledObject")
    rate = {name: float(d["metadata"]["annotations"][RATE]) for name, d in scaled.items() if name != "tidegate-ingest"}
    assert rate["tidegate-cv"] == math.floor(29 * share) * 30 / 5
    assert rate["tidegate-vlm"] == round(3 * share, 1)


@pytest.mark.foreign
@pytest.mark.parametrize("profile", PROFILES)
def test_the_model_of_vlm_fits_into_the_gpu(profile: str) -> None:
    """Weights in bf16, and keys and values of all jobs at their longest; a quarter of what vLLM takes is left over."""
    (vllm,) = pod_of(of(build(OVERLAYS / profile), "Deployment")["tidegate-vlm"])["initContainers"]
    given = arguments(vllm["args"])
    assert given["model"] == "Qwen/Qwen2.5-VL-7B-Instruct" and "gpu-memory-utilization" not in given
    weights, token = 8.3e9 * 2, 2 * 28 * 4 * 128 * 2
    needed = weights + int(given["max-num-seqs"]) * int(given["max-model-len"]) * token
    gigabytes = {"h100": 80, "l40s": 48, "rtx-pro-4500": 32, "rtx-pro-6000": 96}[profile]
    assert needed < 0.75 * 0.92 * gigabytes * 1e9


@pytest.mark.foreign
@pytest.mark.parametrize(("form", "component"), [("h100", "keda/crops"), ("h100/demand", "keda/demand/crops")])
def test_objects_are_embedded_by_a_component_of_either_form(
    form: str, component: str, tmp_path: Path, keda_schema: Path
) -> None:
    docs = overlay(tmp_path, form, component)
    check_builtin_kinds(docs)
    assert set(keda_problems(keda_schema, docs)) == {None}
    (tmp_path / "password").write_text("p")
    assert check_embed(docs, tmp_path / "password").embed_crops == "detections"
    for name, scaled in of(docs, "ScaledObject").items():
        check_triggers(scaled, docs)
        streams = {t["metadata"]["stream"] for t in scaled["spec"]["triggers"] if "stream" in t["metadata"]}
        assert streams - {names.BACKFILL} <= (
            {"EVENTS"} if name == "tidegate-embed" else {"MEDIA", *(stream for stream, _ in names.VLM_WORK)}
        )
    declared = consumers(TopologySettings(embed_crops="detections"))
    assert "EVENTS" in [stream for stream, consumer in declared if consumer.durable_name == "embed"]


def container_with_gpu(deployment: Document) -> Document:
    pod = pod_of(deployment)
    (found,) = (c for c in (*pod.get("initContainers", []), *pod["containers"]) if GPU in c["resources"]["limits"])
    assert isinstance(found, dict)
    return found


@pytest.mark.foreign
@pytest.mark.parametrize("form", PROFILES)
def test_gpu_utilisation_is_a_component_of_each_gpu(form: str, tmp_path: Path, keda_schema: Path) -> None:
    docs = overlay(tmp_path, form, "keda/utilisation")
    assert set(keda_problems(keda_schema, docs)) == {None}
    before = of(build(OVERLAYS / form), "ScaledObject")
    for name, scaled in of(docs, "ScaledObject").items():
        check_thresholds(scaled)
        check_triggers(scaled, docs)
        *lag, trigger = our_own_reading(scaled).triggers
        assert isinstance(trigger, PrometheusTrigger)
        gpu = container_with_gpu(of(docs, "Deployment")[name])["name"]
        assert f'{{exported_namespace="tidegate",exported_container="{gpu}"}}' in trigger.query
        # A fully busy GPU must exceed the threshold plus the HPA's tolerance.
        assert trigger.threshold * (1 + TOLERANCE) < 1 and trigger.ignore_null_values
        # The other triggers are unchanged.
        assert scaled["spec"]["triggers"][:-1] == before[name]["spec"]["triggers"] and lag
        assert "fallback" not in scaled["spec"] and "scalingModifiers" not in scaled["spec"]["advanced"]


@pytest.mark.foreign
def test_the_guide_s_overlay_scales_by_utilisation(tmp_path: Path) -> None:
    guide = (DEPLOY.parent / "docs/how-to/scale.md").read_text()
    (text,) = [y for y in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL) if "keda/utilisation" in y]
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    mine = tmp_path / "deploy/kubernetes/overlays/mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(text)
    types = {n: [t["type"] for t in d["spec"]["triggers"]] for n, d in of(build(mine), "ScaledObject").items()}
    assert len(types) == 3 and all(kinds[-1] == "prometheus" for kinds in types.values())


@pytest.mark.foreign
def test_a_tenant_s_gpus_are_those_of_its_namespace(tmp_path: Path) -> None:
    scaled = of(overlay(tmp_path, "tenant", "keda/utilisation"), "ScaledObject").values()
    queries = [t["metadata"]["query"] for d in scaled for t in d["spec"]["triggers"] if t["type"] == "prometheus"]
    assert len(queries) == 3 and all('{exported_namespace="acme",exported_container="' in q for q in queries)


@pytest.mark.foreign
def test_the_query_adds_up_the_gpus_of_a_service(tmp_path: Path) -> None:
    """Prometheus evaluates it on dcgm-exporter's series of two pods, a neighbour, another tenant and an idle GPU."""
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed: apt-get install promtool")
    (trigger,) = (
        t
        for t in of(overlay(tmp_path, "h100", "keda/utilisation"), "ScaledObject")["tidegate-cv"]["spec"]["triggers"]
        if t["type"] == "prometheus"
    )
    metric = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
    pods = [("tidegate", "cv", 0.75), ("tidegate", "cv", 0.5), ("tidegate", "vllm", 1), ("acme", "cv", 1)]
    series = {
        f'{metric}{{exported_namespace="{home}",exported_container="{container}",gpu="{gpu}"}}': f"{value}"
        for gpu, (home, container, value) in enumerate(pods)
    } | {f'{metric}{{gpu="4"}}': "0"}
    expected = {"eval_time": "0s", "exp_samples": [{"labels": "{}", "value": 1.25}]}
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": value} for name, value in series.items()],
        "promql_expr_test": [{"expr": trigger["metadata"]["query"], **expected}],
    }
    (tmp_path / "query.yaml").write_text(yaml.safe_dump({"tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "query.yaml"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
