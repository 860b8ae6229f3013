"""The workloads of `deploy/`: their settings, their memory, and the time they have to drain."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from services.analytics.settings import AnalyticsSettings
from services.cv.settings import CvSettings
from services.embed.settings import EmbedSettings
from services.ingest.settings import IngestSettings
from services.pictures.settings import PicturesSettings
from services.recorder.settings import RecorderSettings
from services.scaler.settings import ScalerSettings
from services.search.settings import SearchSettings
from services.vlm.settings import VlmSettings
from services.webhook.settings import WebhookSettings
from shared.contract.rights.identities import permissions
from shared.runtime import settings
from tests.support.kube.deploy_checks import (
    check_placeholder,
    check_pod,
)
from tests.support.kube.deploy_checks import keda_schema as keda_schema
from tests.support.kube.deploy_manifests import (
    DEPLOY,
    GPU,
    PROJECT,
    SHIPPED,
    component_of,
    container_of,
    of,
    pod_of,
    secret_names,
    variables,
    workloads,
)
from tests.support.kube.service_checks import (
    SERVICES,
    check_analytics,
    check_cv,
    check_embed,
    check_recorder,
    check_search,
    check_vlm,
    check_webhook,
    identity_of,
    is_written,
    secrets_by_the_readme,
    service_of,
)
from tools.image.build import KINDS

# KEDA's models are installed once, and an overlay is built once.
pytestmark = pytest.mark.xdist_group("deploy")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_valid_manifests(name: str) -> None:
    deployment = workloads(SHIPPED)[name]
    service = service_of(deployment)
    check_pod(deployment)
    container = container_of(deployment)
    assert container["command"] == ["python", "-m", f"services.{service}"]
    assert {"name": "metrics", "containerPort": 9102} in container["ports"]
    # A pod that waits for JetStream or for the webhook's endpoint is not ready. A startup probe on readiness would kill
    # it again and again, with minutes between its starts.
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
    # For a pod that must be single, a budget could only block every drain.
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
        ("pictures", PicturesSettings),
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


def test_the_image_has_the_dependencies_of_its_services() -> None:
    """Every extra that is named as a service is, or its form for a GPU."""
    extras = PROJECT["optional-dependencies"]
    pods = [workloads(SHIPPED)[name] for name in SERVICES]
    small = {component_of(pod) for pod in pods if container_of(pod)["image"] == "tidegate-small"}
    assert small == {"analytics", "console", "ingest", "pictures", "recorder", "scaler", "vlm-front", "webhook"}
    # This includes vlm itself if its model is external.
    extra = {name.partition("-")[0] for name in small} - {"ingest", "pictures"} | {"sagemaker"}
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


def test_cv_drains_in_time_and_has_memory_for_its_messages_in_flight(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p")
    check_cv(of(SHIPPED, "Deployment")["tidegate-cv"], tmp_path / "password", 8)


def test_embed_drains_in_time_and_has_memory_for_its_messages_in_flight(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p")
    check_embed(SHIPPED, tmp_path / "password")


@pytest.mark.parametrize(("worker", "other"), [("embed", "embed-queries"), ("vlm", "vlm-front")])
def test_requests_are_not_answered_by_worker_pods(worker: str, other: str) -> None:
    workers, others = (of(SHIPPED, "Deployment")[f"tidegate-{name}"] for name in (worker, other))
    for one, another in ((workers, others), (others, workers)):
        chosen, labels = one["spec"]["selector"]["matchLabels"], another["spec"]["template"]["metadata"]["labels"]
        assert not chosen.items() <= labels.items()
    assert GPU not in container_of(others)["resources"]["limits"]
    # By this label the overlays choose what goes to their GPU.
    assert "tidegate.dev/gpu" not in others["metadata"]["labels"]


def test_search_is_one_pod_with_room_for_its_index(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p")
    check_search(SHIPPED, tmp_path / "password")


def test_the_recorder_is_one_pod_with_a_volume(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p")
    check_recorder(SHIPPED, tmp_path / "password")


def test_vlm_drains_in_time_and_its_vllm_serves_its_requests(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p")
    check_vlm(SHIPPED, tmp_path / "password")


def test_the_front_of_vlm_has_no_model_and_plans_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p")
    deployment = of(SHIPPED, "Deployment")["tidegate-vlm-front"]
    front = settings.load(VlmSettings, variables(deployment, tmp_path / "password"))
    assert (front.vlm_mode, front.vlm_url, front.vlm_model, front.vlm_caption_every_s) == ("front", "", "", 0)
    assert deployment["spec"]["replicas"] == 1
    assert {v["name"] for v in pod_of(deployment)["volumes"]} == {"nats", "tmp"}


def test_analytics_has_replicas_that_take_over(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p")
    check_analytics(SHIPPED, tmp_path / "password")


def test_webhook_uses_the_secrets_of_the_readme(tmp_path: Path) -> None:
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
