"""Requirements on the workload of each service, for any source of its manifests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

import services.analytics.app as analytics
import services.recorder.app as recorder
from services.analytics.settings import AnalyticsSettings
from services.cv.settings import CvSettings
from services.embed.settings import EmbedSettings
from services.recorder.settings import RecorderSettings
from services.search.settings import SearchSettings
from services.vlm.endpoints.vllm_server import VllmServer
from services.vlm.settings import VlmSettings
from services.webhook import sender
from services.webhook.settings import WebhookSettings
from shared.contract import names
from shared.contract.rights.identities import permissions
from shared.contract.topology import TopologySettings
from shared.runtime import settings
from shared.worker import WorkerSettings
from tests.support.kube.deploy_checks import keda_schema as keda_schema
from tests.support.kube.deploy_manifests import (
    DEPLOY,
    GPU,
    LATENCY,
    RATE,
    SHIPPED,
    Document,
    claims_of,
    component_of,
    container_of,
    key_of_secret,
    of,
    pod_of,
    variables,
    workloads,
)
from tidegate.keda.threshold import lag_threshold


def service_of(workload: Document) -> str:
    """The service that it runs: `vlm` for `vlm-front`."""
    return component_of(workload).partition("-")[0]


def identity_of(workload: Document) -> str:
    """Its identity on the server: a part of a service may have rights of its own."""
    component = component_of(workload)
    return component if component in permissions() else service_of(workload)


def is_written(service: str) -> bool:
    return (DEPLOY.parent / "services" / service / "__main__.py").exists()


def mebibytes(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


SERVICES = sorted(name for name in workloads(SHIPPED) if name != "tidegate-placeholder")


def check_cv(deployment: Document, password: Path, most: int) -> WorkerSettings:
    """The limits of one replica's loop; `most` replicas stay within the consumer's limit in flight."""
    cv = settings.load(CvSettings, variables(deployment, password))
    resources = container_of(deployment)["resources"]
    assert cv.num_gpus == int(resources["limits"][GPU])
    assert cv.cv_threads * cv.num_gpus == int(resources["requests"]["cpu"])
    assert most * cv.num_gpus * cv.worker().hold <= TopologySettings().max_ack_pending
    # Closing takes seconds beyond the drain; liveness must not end the work of a drain.
    assert pod_of(deployment)["terminationGracePeriodSeconds"] >= cv.cv_grace_s + 10
    return cv.worker()


def check_embed(docs: list[Document], password: Path) -> EmbedSettings:
    """As for cv; and queries use the model of the events."""
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


def check_search(docs: list[Document], password: Path) -> None:
    """One process writes the index; its volume outlives the pod, and has room for compaction."""
    workload = of(docs, "StatefulSet")["tidegate-search"]
    search = settings.load(SearchSettings, variables(workload, password))
    assert workload["spec"]["replicas"] == 1
    # No new pod next to the old one: hence a StatefulSet.
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
    # The recorder releases leases, and ends threads of the store, after the current writes.
    assert pod["terminationGracePeriodSeconds"] >= recorder.GRACE_S + 15
    resources = container_of(workload)["resources"]
    # A minute of a camera of 16 Mbit/s for each concurrent writer, twice while it builds the file; and Python.
    assert mebibytes(resources["limits"]["memory"]) >= 100 + given.recorder_writers * 2 * 120
    assert GPU not in resources["limits"]
    service = of(docs, "Service")[workload["spec"]["serviceName"]]["spec"]
    assert service["clusterIP"] == "None"
    assert service["selector"].items() <= workload["spec"]["template"]["metadata"]["labels"].items()


def arguments(command: list[str]) -> dict[str, str]:
    return dict(a.removeprefix("--").split("=", 1) for a in command if a.startswith("--"))


def check_vlm(docs: list[Document], password: Path) -> None:
    """As for cv, of each consumer; and next to the worker there is a vLLM like the one it would start."""
    deployment, scaled = (of(docs, kind)["tidegate-vlm"] for kind in ("Deployment", "ScaledObject"))
    vlm = settings.load(VlmSettings, variables(deployment, password))
    assert vlm.vlm_mode == "worker"
    hold = vlm.worker().hold * len(names.VLM_WORK)
    assert scaled["spec"]["maxReplicaCount"] * hold <= TopologySettings().max_ack_pending
    assert pod_of(deployment)["terminationGracePeriodSeconds"] >= vlm.vlm_grace_s + 10
    # Jobs in work must not decide; pulled jobs beyond them wait.
    rate, latency = (float(scaled["metadata"]["annotations"][key]) for key in (RATE, LATENCY))
    assert not lag_threshold(rate, latency, max_in_flight=vlm.worker().slots).is_bounded_by_in_flight
    check_vllm(deployment, vlm)


def check_vllm(deployment: Document, vlm: VlmSettings) -> None:
    """It serves the worker's requests, as a sidecar that outlives it; and its volume has only weights."""
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
    # HOME locates compiled code.
    assert models in Path(env["HF_HOME"]).parents and not Path(env["HOME"]).is_relative_to(models)
    assert [n for n, value in env.items() if str(value).startswith(str(models))] == ["HF_HOME"]


def check_analytics(docs: list[Document], password: Path) -> None:
    """Its cameras always have an owner, and each replica has the size of its load."""
    deployment = of(docs, "Deployment")["tidegate-analytics"]
    loaded = settings.load(AnalyticsSettings, variables(deployment, password))
    spec, resources = deployment["spec"], container_of(deployment)["resources"]
    assert 2 <= spec["replicas"] <= loaded.analytics_partitions / 4
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["minReadySeconds"] >= 5
    # analytics writes checkpoints and releases leases after the events in flight.
    assert pod_of(deployment)["terminationGracePeriodSeconds"] >= analytics.GRACE_S + 15
    assert GPU not in resources["limits"] and "tidegate.dev/gpu" not in deployment["metadata"]["labels"]
    # One loop: more than a core it can't use. 1.93 ms a camera-second and 166 MB were measured with 1000 cameras.
    assert resources["requests"]["cpu"] == "1" and "cpu" not in resources["limits"]
    assert mebibytes(resources["limits"]["memory"]) >= 2 * 166
    texts = (DEPLOY / "README.md", DEPLOY / "kubernetes/base/analytics.yaml")
    for text in texts:
        (cameras,) = set(re.findall(r"a\s+replica for each (\d+) cameras", text.read_text(), re.IGNORECASE))
        assert 0.5 <= int(cameras) * 0.002 <= 0.8


def check_webhook(docs: list[Document], password: Path) -> None:
    """It finds its endpoint and its key in the Secret, drains in time, and reaches only its peers."""
    deployment = of(docs, "Deployment")["tidegate-webhook"]
    given = {e["name"]: e.get("value") for e in container_of(deployment)["env"]}
    assert {"WEBHOOK_URL_FILE", "WEBHOOK_SECRET_FILE"} <= set(given) and not {"WEBHOOK_URL", "WEBHOOK_SECRET"} & set(
        given
    )
    files = [str(given[f"{name}_FILE"]) for name in ("WEBHOOK_URL", "WEBHOOK_SECRET")]
    keys = {key_of_secret(deployment, file.removeprefix("-")) for file in files}
    (row,) = re.findall(r"^ *\| `tidegate-webhook` \| (`url`.*?) \|", (DEPLOY / "README.md").read_text(), re.MULTILINE)
    assert keys == set(re.findall(r"`(\w+)`", row))
    loaded = settings.load(WebhookSettings, variables(deployment, password))
    assert loaded.endpoint and loaded.endpoint.events == ("alerts",)
    assert loaded.endpoint.url.startswith("https://") and len(loaded.endpoint.key) == 32
    # Without its Secret the pod starts, and the site file's endpoint is used.
    assert all(file.startswith("-") for file in files)
    assert [v["secret"].get("optional") for v in pod_of(deployment)["volumes"] if v["name"] == "webhook"] == [True]
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
    """Run the README's commands for webhook's Secrets; `folder` has their values then, by their keys."""
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
