"""What `deploy/` applies: valid by Kubernetes' and KEDA's own schemas, and in step with the code that it runs."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml

import services.analytics.__main__ as analytics
import services.recorder.__main__ as recorder
from services.analytics.settings import AnalyticsSettings
from services.cv.settings import CvSettings
from services.embed.settings import EmbedSettings
from services.ingest.settings import IngestSettings
from services.recorder.settings import RecorderSettings
from services.scaler.live import metadata
from services.scaler.settings import ScalerSettings
from services.search.settings import SearchSettings
from services.vlm.endpoints.vllm_server import VllmServer
from services.vlm.settings import VlmSettings
from services.webhook import sender
from services.webhook.settings import WebhookSettings
from shared.contract import names
from shared.contract.identities import permissions
from shared.contract.topology import TopologySettings, consumers
from shared.runtime import settings
from shared.runtime.errors import SettingError
from shared.worker import WorkerSettings
from tests import npm
from tests.deploy_checks import (
    check_builtin_kinds,
    check_confined,
    check_placeholder,
    check_pod,
    check_pod_speaks_tls,
    check_thresholds,
    check_triggers,
    keda_problems,
    our_own_reading,
    problems,
)
from tests.deploy_checks import keda_schema as keda_schema
from tests.deploy_manifests import (
    DEPLOY,
    FILES,
    FORMS,
    GPU,
    IMAGES,
    LATENCY,
    OVERLAYS,
    PRODUCTS,
    PROFILES,
    PROJECT,
    RATE,
    SHIPPED,
    VERSION,
    Document,
    asked_by,
    build,
    claims_of,
    component_of,
    container_of,
    documents,
    key_of_secret,
    listed,
    of,
    overlay,
    pod_of,
    secret_names,
    variables,
    with_tls,
    workloads,
)
from tidegate.keda.hpa import TOLERANCE
from tidegate.keda.scaledobject import PrometheusTrigger
from tidegate.keda.threshold import lag_threshold
from tools.image.build import KINDS

# KEDA's models are installed once, and an overlay is built once.
pytestmark = pytest.mark.xdist_group("deploy")

CERT_MANAGER_MODELS = "6.0.0"


# ---- what there is


SCALED_FILES = [p for p in FILES if any(d["kind"] == "ScaledObject" for d in documents(p.read_text()))]


def relative(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


def service_of(workload: Document) -> str:
    """What it runs, maybe a part of it: `vlm` for `vlm-front`."""
    return component_of(workload).partition("-")[0]


def identity_of(workload: Document) -> str:
    """Who it is on the server: a part of a service may have rights of its own."""
    component = component_of(workload)
    return component if component in permissions() else service_of(workload)


def is_written(service: str) -> bool:
    return (DEPLOY.parent / "services" / service / "__main__.py").exists()


def mebibytes(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


# ---- schemas


def test_every_file_is_applied_or_patches_something() -> None:
    used = listed("resources", "components", "patches")
    assert [relative(p) for p in FILES if p.resolve() not in used] == []
    assert [str(p) for p in used if not p.exists()] == []


def test_built_in_kinds_are_valid() -> None:
    assert check_builtin_kinds(SHIPPED) >= 39


def test_the_validation_is_strict() -> None:
    deployment = json.loads(json.dumps(of(SHIPPED, "Deployment")["tidegate-cv"]))
    pod_of(deployment)["terminationGracePeriod"] = 45
    with pytest.raises(AssertionError, match="terminationGracePeriod"):
        check_builtin_kinds([deployment])


@pytest.mark.foreign
def test_keda_s_kinds_are_valid(keda_schema: Path) -> None:
    problems = keda_problems(keda_schema, SHIPPED)
    assert len(problems) == 9 and set(problems) == {None}
    broken = json.loads(json.dumps(of(SHIPPED, "ScaledObject")["tidegate-cv"]))
    broken["spec"]["fallback"] = {"failureThreshold": 3, "replicas": 1, "behavior": "hold"}
    (problem,) = keda_problems(keda_schema, [broken])
    assert problem and "behavior must be equal to one of the allowed values" in problem


# ---- scaling


@pytest.mark.parametrize("path", SCALED_FILES, ids=relative)
def test_a_scaled_object(path: Path) -> None:
    (document,) = documents(path.read_text())
    assert our_own_reading(document).name == f"tidegate-{path.stem}"
    assert document["spec"]["scaleTargetRef"]["name"] in of(SHIPPED, "Deployment")
    check_thresholds(document)
    check_triggers(document, SHIPPED)


def test_both_forms_name_the_same_objects() -> None:
    names = {relative(p): documents(p.read_text())[0]["metadata"]["name"] for p in SCALED_FILES}
    for service in ("cv", "embed", "vlm"):
        assert names[f"keda/{service}.yaml"] == names[f"keda/demand/{service}.yaml"]
    assert set(names) == {f"keda/{s}.yaml" for s in ("cv", "embed", "vlm")} | {
        f"keda/demand/{s}.yaml" for s in ("cv", "embed", "vlm", "ingest")
    }


@pytest.mark.parametrize("path", SCALED_FILES, ids=relative)
def test_what_is_scaled_is_written_and_not_held(path: Path) -> None:
    assert is_written(path.stem)
    annotations = documents(path.read_text())[0]["metadata"].get("annotations", {})
    assert not [name for name in annotations if "keda.sh/" in name]


def test_keda_and_the_pods_are_told_the_same_nats() -> None:
    config = of(SHIPPED, "ConfigMap")["tidegate-nats"]["data"]
    given = of(SHIPPED, "TriggerAuthentication")["tidegate-nats"]["spec"]["configMapTargetRef"]
    assert {e["parameter"]: config[e["key"]] for e in given} == {
        "natsServerMonitoringEndpoint": config["monitoring"],
        "account": names.ACCOUNT,
    }


def test_the_scaler_answers_where_it_is_asked() -> None:
    service = of(SHIPPED, "Service")["tidegate-scaler"]
    deployment = of(SHIPPED, "Deployment")["tidegate-scaler"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert {(p["port"], p["targetPort"]) for p in service["spec"]["ports"]} == {(9090, "grpc"), (9091, "http")}
    given = {e["name"]: e.get("value") for e in container_of(deployment)["env"]}
    for name, variable, port in (("grpc", "SCALER_PORT", 9090), ("http", "SCALER_HTTP_PORT", 9091)):
        assert {"name": name, "containerPort": port} in container_of(deployment)["ports"]
        assert given[variable] == str(port)
    (rule,) = of(SHIPPED, "NetworkPolicy")["tidegate-scaler"]["spec"]["ingress"]
    assert {p["port"] for p in rule["ports"]} == {"grpc", "http"}


def test_a_replica_of_ingest_has_memory_for_what_it_buffers_and_time_to_store_it() -> None:
    deployment = of(SHIPPED, "Deployment")["tidegate-ingest"]
    container = container_of(deployment)
    buffers = {e["name"]: e.get("value") for e in container["env"]}
    grace_s = float(buffers.get("INGEST_GRACE_S") or IngestSettings().ingest_grace_s)
    assert pod_of(deployment)["terminationGracePeriodSeconds"] >= grace_s + 10
    total = float(buffers["INGEST_BUFFER_TOTAL_MB"])
    assert total < 0.75 * mebibytes(container["resources"]["limits"]["memory"])
    (trigger,) = of(SHIPPED, "ScaledObject")["tidegate-ingest"]["spec"]["triggers"]
    planned = int(asked_by(trigger)["camerasPerReplica"])
    assert planned * float(buffers["INGEST_BUFFER_MB"]) <= total
    assert int(buffers["INGEST_MAX_CAMERAS"]) >= 2 * planned, "one replica carries what another had"


# ---- pods


SERVICES = sorted(name for name in workloads(SHIPPED) if name != "tidegate-placeholder")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service(name: str) -> None:
    deployment = workloads(SHIPPED)[name]
    service = service_of(deployment)
    check_pod(deployment)
    container = container_of(deployment)
    assert container["command"] == ["python", "-m", f"services.{service}"]
    assert {"name": "metrics", "containerPort": 9102} in container["ports"]
    # One that waits, for JetStream or for the webhook's endpoint, is not ready: by that its start would be ended again
    # and again, and begin anew after minutes.
    for probe, path in (("startupProbe", "/healthz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        assert container[probe]["httpGet"] == {"path": path, "port": "metrics"}
    secrets = set(secret_names(pod_of(deployment)["volumes"]))
    own = {"tidegate-webhook": {"webhook"}, "tidegate-hub": {"vlm"}}
    own |= {f"tidegate-nats-console-{role}": {"console"} for role in ("viewer", "operator", "admin")}
    own = {secret for secret, pods in own.items() if component_of(deployment) in pods}
    assert secrets == own | {f"tidegate-nats-{identity_of(deployment)}"}
    assert identity_of(deployment) in permissions() and is_written(service)
    chosen = deployment["spec"]["selector"]["matchLabels"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert chosen.items() <= labels.items()
    # Several that one node takes along are as good as one.
    spread = pod_of(deployment).get("topologySpreadConstraints", [])
    assert [s["labelSelector"]["matchLabels"] for s in spread] == [chosen] * (deployment["spec"].get("replicas", 1) > 1)
    budget = of(SHIPPED, "PodDisruptionBudget").get(name)
    # Of a single pod that has to be alone it could only forbid every drain.
    assert (budget is None) == (deployment["kind"] == "StatefulSet")
    assert budget is None or budget["spec"]["selector"]["matchLabels"].items() <= chosen.items()
    # What is not ready and holds nothing may always go. Ingest is so, too, while NATS is away, and holds video then.
    policy = "IfHealthyBudget" if service == "ingest" else "AlwaysAllow"
    assert budget is None or budget["spec"]["unhealthyPodEvictionPolicy"] == policy
    # KEDA's HPA and a `replicas` here would write over each other.
    assert ("replicas" in deployment["spec"]) == (name not in of(SHIPPED, "ScaledObject"))


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("analytics", AnalyticsSettings),
        ("cv", CvSettings),
        ("embed", EmbedSettings),
        ("embed-queries", EmbedSettings),
        ("ingest", IngestSettings),
        ("recorder", RecorderSettings),
        ("scaler", ScalerSettings),
        ("search", SearchSettings),
        ("vlm", VlmSettings),
        ("vlm-front", VlmSettings),
        ("webhook", WebhookSettings),
    ],
)
def test_variables_are_settings(name: str, model: type[Any], tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("p")
    (tmp_path / "url").write_text("https://example.org/alerts")
    (tmp_path / "secret").write_text("s")
    deployment = workloads(SHIPPED)[f"tidegate-{name}"]
    given = variables(deployment, password)
    fields = {f.upper() for f in model.__struct_fields__}
    assert {name.removesuffix("_FILE") for name in given} <= fields
    loaded = settings.load(model, given)
    assert (loaded.nats_user, loaded.nats_password, loaded.metrics_port) == (identity_of(deployment), "p", 9102)


def test_the_image_has_what_its_services_need() -> None:
    """Every extra that is named as a service is, or its form for a GPU."""
    extras = PROJECT["optional-dependencies"]
    pods = [workloads(SHIPPED)[name] for name in SERVICES]
    small = {component_of(pod) for pod in pods if container_of(pod)["image"] == "tidegate-small"}
    assert small == {"analytics", "console", "ingest", "recorder", "scaler", "vlm-front", "webhook"}
    # And vlm itself, where its model is elsewhere.
    extra = {name.partition("-")[0] for name in small} - {"ingest"} | {"sagemaker"}
    assert extra == set(KINDS["small"].extras.split(","))
    services = {service_of(pod) for pod in pods}
    needed = {f"{s}-torch" if f"{s}-torch" in extras else s for s in services if s in extras}
    assert {
        "analytics",
        "console",
        "cv-torch",
        "embed-torch",
        "recorder",
        "search",
        "scaler",
        "vlm",
        "webhook",
    } == needed
    (line,) = re.findall(r"^ARG EXTRAS=(.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert needed <= set(line.split(",")) <= set(extras)


def check_cv(deployment: Document, password: Path, most: int) -> WorkerSettings:
    """How one replica's loop is bounded; `most` of them stay within what the consumer lets out."""
    cv = settings.load(CvSettings, variables(deployment, password))
    resources = container_of(deployment)["resources"]
    assert cv.num_gpus == int(resources["limits"][GPU])
    assert cv.cv_threads * cv.num_gpus == int(resources["requests"]["cpu"])
    assert most * cv.num_gpus * cv.worker().hold <= TopologySettings().max_ack_pending
    # Closing takes seconds beyond the drain; liveness is not to end what a drain still works on.
    assert pod_of(deployment)["terminationGracePeriodSeconds"] >= cv.cv_grace_s + 10
    return cv.worker()


def test_cv_drains_in_time_and_holds_what_it_may(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p")
    check_cv(of(SHIPPED, "Deployment")["tidegate-cv"], tmp_path / "password", 8)


def check_embed(docs: list[Document], password: Path) -> EmbedSettings:
    """As for cv; and queries are answered by the model that the events are of."""
    deployments, scaled = of(docs, "Deployment"), of(docs, "ScaledObject")["tidegate-embed"]
    deployment = deployments["tidegate-embed"]
    embed, queries = (
        settings.load(EmbedSettings, variables(deployments[name], password))
        for name in ("tidegate-embed", "tidegate-embed-queries")
    )
    assert (embed.embed_model, embed.embed_pretrained) == (queries.embed_model, queries.embed_pretrained)
    assert (queries.embed_mode, queries.embed_device, embed.embed_mode) == ("queries", "cpu", "all")
    resources = container_of(deployment)["resources"]
    assert embed.num_gpus == int(resources["limits"][GPU])
    assert embed.embed_threads * embed.num_gpus == int(resources["requests"]["cpu"])
    hold = embed.worker().hold
    assert scaled["spec"]["maxReplicaCount"] * embed.num_gpus * hold <= TopologySettings().max_ack_pending
    assert pod_of(deployment)["terminationGracePeriodSeconds"] >= embed.embed_grace_s + 10
    rate, latency = (float(scaled["metadata"]["annotations"][key]) for key in (RATE, LATENCY))
    assert not lag_threshold(rate, latency, max_in_flight=hold).is_bounded_by_in_flight
    return embed


def test_embed_drains_in_time_and_holds_what_it_may(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p")
    check_embed(SHIPPED, tmp_path / "password")


@pytest.mark.parametrize(("worker", "other"), [("embed", "embed-queries"), ("vlm", "vlm-front")])
def test_requests_are_answered_by_other_pods_than_the_workers(worker: str, other: str) -> None:
    workers, others = (of(SHIPPED, "Deployment")[f"tidegate-{name}"] for name in (worker, other))
    for one, another in ((workers, others), (others, workers)):
        chosen, labels = one["spec"]["selector"]["matchLabels"], another["spec"]["template"]["metadata"]["labels"]
        assert not chosen.items() <= labels.items()
    assert GPU not in container_of(others)["resources"]["limits"]
    # By this label the overlays choose what goes to their GPU.
    assert "tidegate.dev/gpu" not in others["metadata"]["labels"]


def check_search(docs: list[Document], password: Path) -> None:
    """One process writes the index; its volume outlives the pod, and has room for what tidying writes anew."""
    workload = of(docs, "StatefulSet")["tidegate-search"]
    search = settings.load(SearchSettings, variables(workload, password))
    assert workload["spec"]["replicas"] == 1
    # No new pod beside the old one: that is what a StatefulSet is for.
    assert workload["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady"
    (claim,) = claims_of(workload)
    (mount,) = (m for m in container_of(workload)["volumeMounts"] if m["name"] == claim["name"])
    # A folder of its own: a file system's root has entries that are not ours.
    assert Path(mount["mountPath"]) in Path(search.search_index).parents and not mount.get("readOnly")
    assert mebibytes(claim["storage"]) >= 1.5 * search.search_max_bytes / 2**20
    pod = pod_of(workload)
    # A volume comes owned by root.
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
    # The image's HOME, and where LanceDB sorts.
    assert {"name": "tmp", "mountPath": "/tmp"} in container_of(workload)["volumeMounts"]
    assert pod["terminationGracePeriodSeconds"] >= 10
    assert GPU not in container_of(workload)["resources"]["limits"]
    service = of(docs, "Service")[workload["spec"]["serviceName"]]["spec"]
    assert service["clusterIP"] == "None"
    assert service["selector"].items() <= workload["spec"]["template"]["metadata"]["labels"].items()


def test_search_is_one_pod_with_room_for_its_index(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p")
    check_search(SHIPPED, tmp_path / "password")


def check_recorder(docs: list[Document], password: Path) -> None:
    """One process writes to its volume, which outlives the pod; it has memory for that, and time to end it."""
    workload = of(docs, "StatefulSet")["tidegate-recorder"]
    given = settings.load(RecorderSettings, variables(workload, password))
    assert workload["spec"]["replicas"] == 1
    (claim,) = claims_of(workload)
    (mount,) = (m for m in container_of(workload)["volumeMounts"] if m["name"] == claim["name"])
    # A folder of its own: a file system's root has entries that are not ours.
    assert Path(mount["mountPath"]) in Path(given.recorder_store).parents and not mount.get("readOnly")
    pod = pod_of(workload)
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
    # Leases are given up, and threads of the store end, after what was being written.
    assert pod["terminationGracePeriodSeconds"] >= recorder.GRACE_S + 15
    resources = container_of(workload)["resources"]
    # A minute of a camera of 16 Mbit/s, for each file that is written at once, twice while it is made; and Python.
    assert mebibytes(resources["limits"]["memory"]) >= 100 + given.recorder_writers * 2 * 120
    assert GPU not in resources["limits"]
    service = of(docs, "Service")[workload["spec"]["serviceName"]]["spec"]
    assert service["clusterIP"] == "None"
    assert service["selector"].items() <= workload["spec"]["template"]["metadata"]["labels"].items()


def test_the_recorder_is_one_pod_with_a_volume(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p")
    check_recorder(SHIPPED, tmp_path / "password")


def arguments(command: list[str]) -> dict[str, str]:
    return dict(a.removeprefix("--").split("=", 1) for a in command if a.startswith("--"))


def check_vlm(docs: list[Document], password: Path) -> None:
    """As for cv, of each consumer; and beside the worker there is a vLLM like the one it would start."""
    deployment, scaled = (of(docs, kind)["tidegate-vlm"] for kind in ("Deployment", "ScaledObject"))
    vlm = settings.load(VlmSettings, variables(deployment, password))
    assert vlm.vlm_mode == "worker"
    hold = vlm.worker().hold * len(names.VLM_WORK)
    assert scaled["spec"]["maxReplicaCount"] * hold <= TopologySettings().max_ack_pending
    assert pod_of(deployment)["terminationGracePeriodSeconds"] >= vlm.vlm_grace_s + 10
    # What is in work must not decide; what is held beyond that waits.
    rate, latency = (float(scaled["metadata"]["annotations"][key]) for key in (RATE, LATENCY))
    assert not lag_threshold(rate, latency, max_in_flight=vlm.worker().slots).is_bounded_by_in_flight
    check_vllm(deployment, vlm)


def check_vllm(deployment: Document, vlm: VlmSettings) -> None:
    """It serves what the worker asks, as a sidecar that outlives it; and its volume holds weights alone."""
    (vllm,) = pod_of(deployment)["initContainers"]
    assert vllm["restartPolicy"] == "Always"
    given = arguments(vllm["args"])
    own = arguments(VllmServer(msgspec.structs.replace(vlm, vlm_url="", vlm_python=sys.executable)).command())
    for name in ("model", "max-num-seqs", "max-model-len"):
        assert given[name] == own[name]
    name = "structured-outputs-config"
    assert json.loads(given[name]) == json.loads(own[name]) == {"backend": "xgrammar", "disable_any_whitespace": True}
    assert json.loads(given["limit-mm-per-prompt"])["image"] >= vlm.vlm_frames
    assert vlm.vlm_url == f"http://{given['host']}:{given['port']}/v1"
    assert int(given.get("tensor-parallel-size", 1)) == int(vllm["resources"]["limits"][GPU])
    assert GPU not in container_of(deployment)["resources"]["limits"]
    env = {e["name"]: e.get("value") for e in vllm["env"]}
    (models,) = (Path(m["mountPath"]) for m in vllm["volumeMounts"] if m["name"] == "models" and not m.get("readOnly"))
    # What is compiled is found by HOME.
    assert models in Path(env["HF_HOME"]).parents and not Path(env["HOME"]).is_relative_to(models)
    assert [n for n, value in env.items() if str(value).startswith(str(models))] == ["HF_HOME"]


def test_vlm_drains_in_time_and_its_vllm_serves_what_it_asks(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p")
    check_vlm(SHIPPED, tmp_path / "password")


def test_the_front_of_vlm_has_no_model_and_plans_nothing_unasked(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p")
    deployment = of(SHIPPED, "Deployment")["tidegate-vlm-front"]
    front = settings.load(VlmSettings, variables(deployment, tmp_path / "password"))
    assert (front.vlm_mode, front.vlm_url, front.vlm_model, front.vlm_caption_every_s) == ("front", "", "", 0)
    assert deployment["spec"]["replicas"] == 1
    assert {v["name"] for v in pod_of(deployment)["volumes"]} == {"nats", "tmp"}


def check_analytics(docs: list[Document], password: Path) -> None:
    """Its cameras always have an owner, and each replica is as large as what it is to carry."""
    deployment = of(docs, "Deployment")["tidegate-analytics"]
    loaded = settings.load(AnalyticsSettings, variables(deployment, password))
    spec, resources = deployment["spec"], container_of(deployment)["resources"]
    assert 2 <= spec["replicas"] <= loaded.analytics_partitions / 4
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["minReadySeconds"] >= 5
    # Checkpoints are written, and leases given up, after what was being said.
    assert pod_of(deployment)["terminationGracePeriodSeconds"] >= analytics.GRACE_S + 15
    assert GPU not in resources["limits"] and "tidegate.dev/gpu" not in deployment["metadata"]["labels"]
    # One loop: more than a core it can't use. 1.93 ms a camera-second and 166 MB were measured with 1000 cameras.
    assert resources["requests"]["cpu"] == "1" and "cpu" not in resources["limits"]
    assert mebibytes(resources["limits"]["memory"]) >= 2 * 166
    texts = (DEPLOY / "README.md", DEPLOY / "kubernetes/base/analytics.yaml")
    for text in texts:
        (cameras,) = set(re.findall(r"a\s+replica for each (\d+) cameras", text.read_text(), re.IGNORECASE))
        assert 0.5 <= int(cameras) * 0.002 <= 0.8


def test_analytics_has_replicas_that_take_over(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p")
    check_analytics(SHIPPED, tmp_path / "password")


def check_webhook(docs: list[Document], password: Path) -> None:
    """It finds its endpoint and its key in the Secret, drains in time, and reaches what it has to and nothing else."""
    deployment = of(docs, "Deployment")["tidegate-webhook"]
    given = {e["name"]: e.get("value") for e in container_of(deployment)["env"]}
    assert {"WEBHOOK_URL_FILE", "WEBHOOK_SECRET_FILE"} <= set(given) and not {"WEBHOOK_URL", "WEBHOOK_SECRET"} & set(
        given
    )
    keys = {key_of_secret(deployment, given[f"{name}_FILE"]) for name in ("WEBHOOK_URL", "WEBHOOK_SECRET")}
    (row,) = re.findall(r"^ *\| `tidegate-webhook` \| (`url`.*?) \|", (DEPLOY / "README.md").read_text(), re.MULTILINE)
    assert keys == set(re.findall(r"`(\w+)`", row))
    loaded = settings.load(WebhookSettings, variables(deployment, password))
    assert loaded.url.startswith("https://") and len(loaded.key) == 32 and loaded.kinds == {"alerts"}
    assert pod_of(deployment)["terminationGracePeriodSeconds"] >= sender.GRACE_S + 10
    resources = container_of(deployment)["resources"]
    assert mebibytes(resources["limits"]["memory"]) >= 50 + 2 * sender.MOST_BYTES / 2**20
    # A rollout that waits for readiness would wait for the endpoint.
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == deployment["spec"]["replicas"] == 1
    policies = of(docs, "NetworkPolicy")
    own = policies["tidegate-webhook"]["spec"]
    assert own["podSelector"] == deployment["spec"]["selector"] and own["policyTypes"] == ["Egress"]
    rules = [*policies["tidegate"]["spec"]["egress"], *own["egress"]]
    ports = {(p["port"], p.get("protocol", "TCP")) for rule in rules for p in rule["ports"]}
    nats = urlsplit(of(docs, "ConfigMap")["tidegate-nats"]["data"]["url"]).port
    assert ports == {(nats, "TCP"), (53, "UDP"), (53, "TCP"), (443, "TCP")}


def secrets_by_the_readme(folder: Path) -> None:
    """Run the README's commands for webhook's Secrets; what is in those lies in `folder` then, by their keys."""
    (block,) = re.findall(r"```\n([^`]*generic tidegate-webhook.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)
    (folder / "secrets").mkdir()
    (folder / "secrets/webhook").write_text("p")
    kubectl = (
        'kubectl() { for a; do case $a in --from-file=*) a=${a#*=}; cp "${a#*=}" "${a%%=*}";; esac; done; }\n'
        'python() { "$PYTHON" "$@"; }\n'
    )
    subprocess.run(
        ["bash", "-euc", kubectl + textwrap.dedent(block)],
        cwd=folder,
        env=os.environ | {"PYTHON": sys.executable},
        check=True,
        timeout=60,
    )
    assert (folder / "secrets/webhook-secret").stat().st_mode & 0o077 == 0


def test_webhook_posts_to_what_the_readme_makes_secrets_of(tmp_path: Path) -> None:
    secrets_by_the_readme(tmp_path)
    check_webhook(SHIPPED, tmp_path / "password")


def test_the_placeholder_yields_to_everything() -> None:
    placeholder = of(SHIPPED, "Deployment")["tidegate-placeholder"]
    check_pod(placeholder)
    pod = pod_of(placeholder)
    priority = of(SHIPPED, "PriorityClass")[pod["priorityClassName"]]
    # cluster-autoscaler starts no node for what is under -10.
    assert -10 <= priority["value"] < 0 and priority["preemptionPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] == 0
    check_placeholder(SHIPPED)


# ---- secrets


def test_every_secret_is_explained_and_none_is_here() -> None:
    readme = (DEPLOY / "README.md").read_text()
    everything = [d for p in DEPLOY.rglob("*.yaml") for d in documents(p.read_text())]
    names = set(secret_names(everything))
    assert {"tidegate-nats-cv", "tidegate-scaler-tls", "tidegate-scaler-client", "tidegate-hub"} <= names
    assert [n for n in sorted(names) if f"`{n}`" not in readme] == []
    assert not [d for d in everything if d.get("kind") == "Secret" or "secretGenerator" in d]
    text = "\n".join(p.read_text() for p in DEPLOY.rglob("*") if p.is_file())
    assert not re.search(r"NATS_PASSWORD\b(?!_)|://[^/\s]+:[^/\s]+@|BEGIN [A-Z ]*PRIVATE KEY|\$2[aby]\$", text)


def test_each_version_has_a_job_of_its_own_that_sets_up() -> None:
    """A Job can't be changed, and a new version wants other streams."""
    (job,) = of(SHIPPED, "Job").values()
    check_builtin_kinds([job])
    assert job["metadata"]["name"] == f"tidegate-setup-{VERSION.replace('.', '-')}"
    assert container_of(job)["command"][:2] == ["tidegate", "setup"]
    check_confined(pod_of(job))


def test_three_servers_go_one_at_a_time() -> None:
    stateful = of(SHIPPED, "StatefulSet")["nats"]
    check_confined(pod_of(stateful))
    assert stateful["spec"]["replicas"] == 3
    (budget,) = (d for d in SHIPPED if d["kind"] == "PodDisruptionBudget" and d["metadata"]["name"] == "nats")
    assert budget["spec"]["maxUnavailable"] == 1
    selectors = [
        d["spec"]["selector"] for d in SHIPPED if d["kind"] == "Service" and d["metadata"]["name"][:4] == "nats"
    ]
    assert [s for s in selectors if s != stateful["spec"]["template"]["metadata"]["labels"]] == []
    rules = pod_of(stateful)["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert [rule["topologyKey"] for rule in rules] == ["kubernetes.io/hostname"]
    config = of(SHIPPED, "ConfigMap")["nats"]["data"]["nats.conf"]
    lame_duck_s = int(re.findall(r"lame_duck_duration: (\d+)s", config)[0])
    assert pod_of(stateful)["terminationGracePeriodSeconds"] >= lame_duck_s + 15
    # Streams' promises, and half as much again for each KV bucket and what is written anew.
    limits = TopologySettings()
    promised = limits.media_max_bytes + limits.events_max_bytes + limits.dlq_max_bytes
    (most,) = re.findall(r"max_file_store: (\d+)GB", config)
    (claim,) = claims_of(stateful)
    assert promised * 1.1 < int(most) * 1e9 < 0.8 * mebibytes(claim["storage"]) * 2**20


def test_no_secret_is_in_the_environment() -> None:
    """Every process of the container and every dump of one has it, and a renewed Secret does not reach it."""
    assert [n for n, w in workloads(SHIPPED).items() if "secretKeyRef" in json.dumps(w)] == []


def test_a_token_of_the_hub_is_found_by_vllm_where_there_is_one() -> None:
    pod = pod_of(of(SHIPPED, "Deployment")["tidegate-vlm"])
    (vllm,) = pod["initContainers"]
    (volume,) = (v for v in pod["volumes"] if v.get("secret", {}).get("secretName") == "tidegate-hub")
    assert volume["secret"]["optional"] is True
    (mount,) = (m for m in vllm["volumeMounts"] if m["name"] == volume["name"])
    given = {e["name"]: e.get("value") for e in vllm["env"]}
    assert given["HF_TOKEN_PATH"] == f"{mount['mountPath']}/token" and mount["readOnly"]
    # The worker fetches nothing.
    assert volume["name"] not in {
        m["name"] for m in container_of({"spec": {"template": {"spec": pod}}})["volumeMounts"]
    }


def test_the_readme_makes_a_secret_for_each_identity() -> None:
    """Of a tenant; those of the first come from `tidegate cluster init`."""
    (said,) = re.findall(r"for identity in (.*); do", (DEPLOY / "README.md").read_text())
    pods = {identity_of(workloads(SHIPPED)[name]) for name in SERVICES}
    assert set(said.split()) == pods - {"webhook", "console", "recorder"} | {"admin"} and set(said.split()) <= set(
        permissions()
    )


def test_the_readme_says_how_large_they_are() -> None:
    found = re.findall(r"^\| `(tidegate-\S+)` \| (\d+) \| (\S+) \| (\S+) \|", (DEPLOY / "README.md").read_text(), re.M)
    rows = {name: (int(replicas), cpu, memory) for name, replicas, cpu, memory in found}
    sizes = {}
    for name in SERVICES:
        workload = workloads(SHIPPED)[name]
        requests = container_of(workload)["resources"]["requests"]
        if "tidegate.dev/gpu" not in workload["metadata"]["labels"]:
            sizes[name] = (workload["spec"].get("replicas", 1), requests["cpu"], requests["memory"])
    assert rows == sizes


# ---- overlays, by the real kustomize


@pytest.mark.foreign
@pytest.mark.parametrize("form", FORMS)
def test_an_overlay(form: str, tmp_path: Path) -> None:
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
    # What is in hand must not decide: the stated rate alone gives the threshold.
    rate, latency = (float(cv["metadata"]["annotations"][key]) for key in (RATE, LATENCY))
    assert not lag_threshold(rate, latency, max_in_flight=worker.hold).is_bounded_by_in_flight
    # Decoding 1080p25 took 0.078 of a core a segment: the stated rate needs that many cores.
    assert worker.threads >= math.floor(rate * 0.078)


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["cpu", "cpu/demand"])
def test_the_overlay_without_gpus_asks_for_none(form: str, keda_schema: Path) -> None:
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
def test_work_bends_only_where_demand_scales(form: str) -> None:
    """What workers defend is what their ScaledObject asks for."""
    docs = build(OVERLAYS / form)
    scaled = of(docs, "ScaledObject")
    for service in (s for s in ("cv", "embed", "vlm") if f"tidegate-{s}" in scaled):
        name = f"tidegate-{service}"
        given = {v["name"]: v.get("value") for v in container_of(workloads(docs)[name])["env"]}
        triggers = scaled[name]["spec"]["triggers"]
        asks = [asked_by(t) for t in triggers if t["type"] == "metrics-api"]
        assert given.get(f"{service.upper()}_LATENCY_TARGET_S") == (asks[0]["latencyTarget"] if asks else None)
        assert bool(asks) == form.endswith("/demand")


@pytest.mark.foreign
def test_nvidia_s_figures_are_taken_over_unchanged() -> None:
    """Streams of 1080p30 by NVIDIA, as frames, as segments of 5 frames."""
    for profile, streams in (("h100", 50), ("rtx-pro-6000", 29), ("l40s", 15)):
        for form in ("", "/demand"):
            scaled = of(build(OVERLAYS / f"{profile}{form}"), "ScaledObject")["tidegate-cv"]
            assert float(scaled["metadata"]["annotations"][RATE]) == streams * 30 / 5


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["rtx-pro-4500", "rtx-pro-4500/demand"])
def test_a_gpu_that_nvidia_states_nothing_of_has_its_share_of_another_s_rate(form: str) -> None:
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
        # What the HPA's tolerance takes of it must still be reached by a GPU that is wholly busy.
        assert trigger.threshold * (1 + TOLERANCE) < 1 and trigger.ignore_null_values
        # What started and added replicas still does, unchanged.
        assert scaled["spec"]["triggers"][:-1] == before[name]["spec"]["triggers"] and lag
        assert "fallback" not in scaled["spec"] and "scalingModifiers" not in scaled["spec"]["advanced"]


@pytest.mark.foreign
def test_the_guide_s_overlay_scales_by_utilisation(tmp_path: Path) -> None:
    guide = (DEPLOY.parent / "docs/how-to/scale.md").read_text()
    (said,) = [y for y in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL) if "keda/utilisation" in y]
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    mine = tmp_path / "deploy/kubernetes/overlays/mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(said)
    types = {n: [t["type"] for t in d["spec"]["triggers"]] for n, d in of(build(mine), "ScaledObject").items()}
    assert len(types) == 3 and all(kinds[-1] == "prometheus" for kinds in types.values())


@pytest.mark.foreign
def test_a_tenant_s_gpus_are_those_of_its_namespace(tmp_path: Path) -> None:
    scaled = of(overlay(tmp_path, "tenant", "keda/utilisation"), "ScaledObject").values()
    queries = [t["metadata"]["query"] for d in scaled for t in d["spec"]["triggers"] if t["type"] == "prometheus"]
    assert len(queries) == 3 and all('{exported_namespace="acme",exported_container="' in q for q in queries)


@pytest.mark.foreign
def test_the_query_adds_up_the_gpus_of_a_service(tmp_path: Path) -> None:
    """By Prometheus itself, on what dcgm-exporter exports of two pods, a neighbour, another tenant and an idle GPU."""
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed: apt-get install prometheus")
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


@pytest.mark.foreign
def test_mutual_tls_is_a_component_of_the_demand_form(tmp_path: Path, keda_schema: Path) -> None:
    docs = overlay(tmp_path, "h100/demand", "keda/demand/mtls")
    check_builtin_kinds(docs)
    assert set(keda_problems(keda_schema, docs)) == {None}
    scaler = of(docs, "Deployment")["tidegate-scaler"]
    check_pod(scaler)
    (mount,) = (m for m in container_of(scaler)["volumeMounts"] if m["name"] == "tls")
    given = {e["name"]: e.get("value") for e in container_of(scaler)["env"]}
    for name, file in (("SCALER_TLS_CERT", "tls.crt"), ("SCALER_TLS_KEY", "tls.key"), ("SCALER_CLIENT_CA", "ca.crt")):
        assert given[name] == f"{mount['mountPath']}/{file}" and name.lower() in ScalerSettings.__struct_fields__
    parameters = {
        e["parameter"] for e in of(docs, "TriggerAuthentication")["tidegate-scaler"]["spec"]["secretTargetRef"]
    }
    assert parameters == {"ca", "cert", "key"}
    for scaled in of(docs, "ScaledObject").values():
        check_triggers(scaled, docs)
        trigger = scaled["spec"]["triggers"][0]
        assert trigger["authenticationRef"] == {"name": "tidegate-scaler"}
        assert trigger["metadata"]["authMode"] == "tls"


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
def test_tls_everywhere_is_a_component_of_either_form(form: str, tmp_path: Path, keda_schema: Path) -> None:
    docs = with_tls(tmp_path, form)
    check_builtin_kinds(docs)
    assert set(keda_problems(keda_schema, docs)) == {None}
    config = of(docs, "ConfigMap")["tidegate-nats"]["data"]
    assert config["url"] == "tls://nats.tidegate.svc.cluster.local:4222"
    for scaled in of(docs, "ScaledObject").values():
        our_own_reading(scaled)
        check_triggers(scaled, docs)
        lag = [t["metadata"] for t in scaled["spec"]["triggers"] if t["type"] == "nats-jetstream"]
        assert {m["useHttps"] for m in lag} <= {config["https"]} == {"true"}
    pods = {name: each for name, each in workloads(docs).items() if name != "tidegate-placeholder"}
    assert set(pods) == set(SERVICES) - (set() if form.endswith("/demand") else {"tidegate-scaler"})
    for name, workload in pods.items():
        check_pod(workload)
        check_pod_speaks_tls(name, workload)
    (job,) = of(docs, "Job").values()
    given = {e["name"]: e.get("value") for e in container_of(job)["env"]}
    assert given["NATS_CERT"] == "/run/secrets/certificates/tls.crt"
    assert "tidegate-tls-admin" in json.dumps(pod_of(job)["volumes"])


@pytest.mark.foreign
def test_cert_manager_makes_what_tls_needs(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    folder = npm.installed(pytestconfig, "@kubernetes-models/cert-manager", CERT_MANAGER_MODELS).parents[2]
    docs = build(DEPLOY / "kubernetes/tls/cert-manager")
    assert set(problems(folder, "cert-manager/cert-manager.io/v1", docs)) == {None}
    broken = json.loads(json.dumps(of(docs, "Certificate")["tidegate-ca"])) | {"spec": {"secretName": "x"}}
    assert problems(folder, "cert-manager/cert-manager.io/v1", [broken]) != [None]
    needed = {name for name in secret_names(with_tls(tmp_path, "h100/demand")) if "tls" in name or "client" in name}
    readme = (DEPLOY / "README.md").read_text()
    (helm,) = set(secret_names(yaml.safe_load((DEPLOY / "nats-chart/values-tls.yaml").read_text())))
    made = {c["spec"]["secretName"]: c["spec"] for c in of(docs, "Certificate").values()}
    assert needed | {helm, "tidegate-ca", "tidegate-tls-admin", "tidegate-tls-prometheus"} == set(made)
    assert [name for name in made if f"`{name}`" not in readme] == []
    assert {d["metadata"]["namespace"] for d in docs} == {"tidegate"}
    host = urlsplit(of(with_tls(tmp_path, "h100/demand"), "ConfigMap")["tidegate-nats"]["data"]["url"]).hostname
    assert host in made[helm]["dnsNames"]
    assert made["tidegate-scaler-tls"]["dnsNames"] == ["tidegate-scaler.tidegate.svc.cluster.local"]
    for name in needed:
        asked = {"tidegate-scaler-tls": {"server auth"}}
        asked |= {key: {"client auth"} for key in ("tidegate-scaler-client", "tidegate-tls-admin")}
        assert set(made[name]["usages"]) == asked.get(name, {"client auth", "server auth"})


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
def test_a_volume_of_weights_for_all_replicas_is_a_component_of_either_form(form: str, tmp_path: Path) -> None:
    docs = overlay(tmp_path, form, "kubernetes/model-cache")
    check_builtin_kinds(docs)
    (tmp_path / "password").write_text("p")
    check_pod(of(docs, "Deployment")["tidegate-vlm"])
    check_vlm(docs, tmp_path / "password")
    claim = of(docs, "PersistentVolumeClaim")["tidegate-models"]
    assert (claim["metadata"]["namespace"], claim["spec"]["accessModes"]) == ("tidegate", ["ReadWriteMany"])
    mounted = {"name": "models", "persistentVolumeClaim": {"claimName": "tidegate-models"}}
    assert [n for n, w in workloads(docs).items() if mounted in pod_of(w).get("volumes", [])] == ["tidegate-vlm"]
    # In place of the one before, and nothing else is different.
    before = {json.dumps(d, sort_keys=True) for d in build(OVERLAYS / form)}
    changed = [d for d in docs if json.dumps(d, sort_keys=True) not in before]
    assert [d["metadata"]["name"] for d in changed] == ["tidegate-models", "tidegate-vlm"]
    volumes = [v["name"] for v in pod_of(of(docs, "Deployment")["tidegate-vlm"])["volumes"]]
    assert sorted(volumes) == ["hub", "models", "nats", "shm", "tmp"]


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
def test_a_ca_of_cameras_is_a_component_of_either_form(form: str, tmp_path: Path) -> None:
    docs = overlay(tmp_path, form, "kubernetes/camera-ca")
    check_builtin_kinds(docs)
    ingest = of(docs, "Deployment")["tidegate-ingest"]
    check_pod(ingest)
    before = {json.dumps(d, sort_keys=True) for d in build(OVERLAYS / form)}
    assert [d for d in docs if json.dumps(d, sort_keys=True) not in before] == [ingest]
    (volume,) = (v["configMap"]["name"] for v in pod_of(ingest)["volumes"] if v["name"] == "camera-ca")
    (mount,) = (m for m in container_of(ingest)["volumeMounts"] if m["name"] == "camera-ca")
    (tmp_path / "password").write_text("p")
    loaded = settings.load(IngestSettings, variables(ingest, tmp_path / "password"))
    made = re.findall(r"create configmap (\S+) --from-file=(\S+?)=", (DEPLOY / "README.md").read_text())
    assert [(name, f"{mount['mountPath']}/{key}") for name, key in made] == [(volume, loaded.ingest_ca)]
    assert mount["readOnly"] and loaded.ingest_buffer_mb == 32


def endpoints_patches() -> list[Document]:
    """What the guide has people put into their overlay for a model elsewhere."""
    guide = (DEPLOY.parent / "docs/how-to/endpoints.md").read_text()
    (said,) = re.findall(r"```yaml\n(components:.*?)```", guide, re.DOTALL)
    found: list[Document] = yaml.safe_load(said)["patches"]
    return found


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
@pytest.mark.parametrize("key", [False, True], ids=["a role", "a key"])
def test_a_model_elsewhere_is_a_component_of_either_form(form: str, key: bool, tmp_path: Path) -> None:
    components = ["kubernetes/model-cache", "kubernetes/tls", "kubernetes/vlm-endpoint"]
    components += ["kubernetes/vlm-endpoint/key"] * key
    docs = overlay(tmp_path, form, *components, images=IMAGES, patches=endpoints_patches())
    check_builtin_kinds(docs)
    deployment, account = of(docs, "Deployment")["tidegate-vlm"], of(docs, "ServiceAccount")["tidegate-vlm"]
    check_pod(deployment)
    pod, container = pod_of(deployment), container_of(deployment)
    assert "gpu" not in json.dumps(deployment) and not pod.get("initContainers")
    assert container["image"] == f"tidegate-small:{VERSION}"
    volumes = {"certificates", "nats", "tmp"} | ({"endpoint"} if key else set())
    assert {v["name"] for v in pod["volumes"]} == volumes == {m["name"] for m in container["volumeMounts"]}
    for name in ("password", "key"):
        (tmp_path / name).write_text(name)
    vlm = settings.load(VlmSettings, variables(deployment, tmp_path / "password"))
    assert (vlm.vlm_url, vlm.vlm_key) == ("sagemaker://qwen-vl?region=eu-west-1", "key" if key else "")
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    assert account["metadata"]["annotations"] == {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/tidegate-vlm"
    }
    assert account["automountServiceAccountToken"] is False
    assert [d["kind"] for d in docs if d["kind"] in ("Role", "RoleBinding", "ClusterRoleBinding")] == []


@pytest.mark.foreign
def test_a_model_elsewhere_that_nobody_named_is_said_at_start(tmp_path: Path) -> None:
    deployment = of(overlay(tmp_path, "h100", "kubernetes/vlm-endpoint"), "Deployment")["tidegate-vlm"]
    (tmp_path / "password").write_text("p")
    with pytest.raises(SettingError, match="neither VLM_URL nor VLM_MODEL is set"):
        settings.load(VlmSettings, variables(deployment, tmp_path / "password"))


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
def test_webhook_is_a_component_of_either_form(form: str, tmp_path: Path) -> None:
    docs = overlay(tmp_path, form, "kubernetes/webhook", images=IMAGES)
    check_builtin_kinds(docs)
    secrets_by_the_readme(tmp_path)
    check_webhook(docs, tmp_path / "password")
    check_pod(of(docs, "Deployment")["tidegate-webhook"])
    # Beside what was there, in which nothing is different.
    before = {json.dumps(d, sort_keys=True) for d in build(OVERLAYS / form)}
    added = [d for d in docs if json.dumps(d, sort_keys=True) not in before]
    assert {d["kind"] for d in added} == {"Deployment", "NetworkPolicy", "PodDisruptionBudget"} and len(added) == 3
    assert {(d["metadata"]["name"], d["metadata"]["namespace"]) for d in added} == {("tidegate-webhook", "tidegate")}
    assert len(docs) == len(before) + len(added)
    images = {container_of(of(docs, "Deployment")[f"tidegate-{name}"])["image"] for name in ("webhook", "analytics")}
    assert images == {f"tidegate-small:{VERSION}"}


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
def test_an_overlay_itself_takes_webhook_where_the_readme_says(form: str, tmp_path: Path) -> None:
    copy = tmp_path / "deploy"
    shutil.copytree(DEPLOY, copy)
    (line,) = re.findall(r"^2\. In the overlay, (.*?)\. An", (DEPLOY / "README.md").read_text(), re.MULTILINE)
    paths = re.findall(r"`(\.\./\S+)`", line)
    file = copy / "kubernetes/overlays" / form / "kustomization.yaml"
    content = yaml.safe_load(file.read_text())
    content["components"].append(paths[form.endswith("/demand")])
    (replicas,) = re.findall(r"In your overlay:\s+`(replicas: .*?)`", (DEPLOY / "README.md").read_text())
    file.write_text(yaml.safe_dump(content | yaml.safe_load(replicas)))
    deployments = of(build(file.parent), "Deployment")
    # The overlay's own `images` reach it.
    assert container_of(deployments["tidegate-webhook"])["image"] == f"tidegate-small:{VERSION}"
    assert deployments["tidegate-analytics"]["spec"]["replicas"] == 4


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
def test_recorder_is_a_component_of_either_form(form: str, tmp_path: Path) -> None:
    docs = overlay(tmp_path, form, "kubernetes/recorder", images=IMAGES)
    check_builtin_kinds(docs)
    (tmp_path / "password").write_text("p")
    check_recorder(docs, tmp_path / "password")
    workload = of(docs, "StatefulSet")["tidegate-recorder"]
    check_pod(workload)
    assert container_of(workload)["image"] == f"tidegate-small:{VERSION}"
    before = {json.dumps(d, sort_keys=True) for d in build(OVERLAYS / form)}
    added = [d for d in docs if json.dumps(d, sort_keys=True) not in before]
    assert sorted(d["kind"] for d in added) == ["Service", "StatefulSet"] and len(docs) == len(before) + 2
    assert {(d["metadata"]["name"], d["metadata"]["namespace"]) for d in added} == {("tidegate-recorder", "tidegate")}


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
def test_the_key_of_recordings_is_a_component_of_either_form(form: str, tmp_path: Path) -> None:
    docs = overlay(tmp_path, form, "kubernetes/recorder", "kubernetes/recorder-key", images=IMAGES)
    check_builtin_kinds(docs)
    workload = of(docs, "StatefulSet")["tidegate-recorder"]
    check_pod(workload)
    (volume,) = (v["secret"] for v in pod_of(workload)["volumes"] if v["name"] == "recordings-key")
    (mount,) = (m for m in container_of(workload)["volumeMounts"] if m["name"] == "recordings-key")
    given = {e["name"]: e.get("value") for e in container_of(workload)["env"]}
    made = re.findall(r"secret generic (\S+) --from-file=(recordings.key)=", (DEPLOY / "README.md").read_text())
    assert [(name, f"{mount['mountPath']}/{file}") for name, file in made] == [
        (volume["secretName"], given["RECORDER_KEY_FILE"])
    ]
    # What others may read, the recorder refuses.
    assert mount["readOnly"] and volume["defaultMode"] == 0o440


@pytest.mark.foreign
def test_the_patch_for_a_bucket_takes_the_volume_away_and_has_two_record(tmp_path: Path) -> None:
    readme = (DEPLOY / "README.md").read_text().partition("\n## Recordings\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    docs = overlay(tmp_path, "h100", "kubernetes/recorder", images=IMAGES, **yaml.safe_load(block))
    check_builtin_kinds(docs)
    workload = of(docs, "StatefulSet")["tidegate-recorder"]
    check_pod(workload)
    assert workload["spec"]["replicas"] == 2 and claims_of(workload) == []
    assert {m["name"] for m in container_of(workload)["volumeMounts"]} == {"nats", "tmp"}
    given = {e["name"]: e.get("value") for e in container_of(workload)["env"]}
    assert given["RECORDER_STORE"].startswith("s3://") and given["NATS_USER"] == "recorder"


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
def test_the_patch_for_a_warm_replica_keeps_one(form: str, tmp_path: Path) -> None:
    (patches,) = re.findall(r"`patches`:\n\n```yaml\n(.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)
    docs = overlay(tmp_path, form, patches=yaml.safe_load(textwrap.dedent(patches)))
    kept = {name: our_own_reading(d).spec.min_replica_count for name, d in of(docs, "ScaledObject").items()}
    assert {name for name, least in kept.items() if name != "tidegate-ingest" and least} == {"tidegate-vlm"}
    assert kept["tidegate-vlm"] == 1


@pytest.mark.foreign
def test_the_patch_for_a_push_makes_a_form_that_asks_the_same(tmp_path: Path, keda_schema: Path) -> None:
    guide = (DEPLOY.parent / "docs/how-to/scale.md").read_text()
    (patches,) = re.findall(r"`patches`:\n\n```yaml\n(.*?)```", guide, re.DOTALL)
    before = yaml.safe_load((DEPLOY / "keda/demand/cv.yaml").read_text())
    docs = overlay(tmp_path, "../../keda/demand", patches=yaml.safe_load(patches))
    assert set(keda_problems(keda_schema, docs)) == {None}
    scaled = of(docs, "ScaledObject")["tidegate-cv"]
    our_own_reading(scaled)
    push, *net = scaled["spec"]["triggers"]
    assert net == before["spec"]["triggers"][1:] and "fallback" not in scaled["spec"]
    assert push["metadata"]["scalerAddress"] == "tidegate-scaler.tidegate.svc.cluster.local:9090"
    assert metadata.parse(push["metadata"]) == metadata.parse_url(before["spec"]["triggers"][0]["metadata"]["url"])
