"""The manifests of `deploy/`: valid by Kubernetes' and KEDA's own schemas, and in step with the code that they run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from services.ingest.settings import IngestSettings
from shared.contract import names
from shared.contract.rights.identities import permissions
from shared.contract.topology import TopologySettings
from tests.support.kube.deploy_checks import (
    check_builtin_kinds,
    check_confined,
    check_thresholds,
    check_triggers,
    keda_problems,
    our_own_reading,
)
from tests.support.kube.deploy_checks import keda_schema as keda_schema
from tests.support.kube.deploy_manifests import (
    DEPLOY,
    FILES,
    SHIPPED,
    VERSION,
    claims_of,
    container_of,
    documents,
    listed,
    of,
    pod_of,
    query_of,
    secret_names,
    workloads,
)
from tests.support.kube.service_checks import SERVICES, identity_of, is_written, mebibytes

# KEDA's models are installed once, and an overlay is built once.
pytestmark = pytest.mark.xdist_group("deploy")
SCALED_FILES = [p for p in FILES if any(d["kind"] == "ScaledObject" for d in documents(p.read_text()))]


def relative(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


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


@pytest.mark.parametrize("path", SCALED_FILES, ids=relative)
def test_a_scaled_object_is_complete(path: Path) -> None:
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
def test_shipped_scaled_objects_are_generated_and_not_paused(path: Path) -> None:
    assert is_written(path.stem)
    annotations = documents(path.read_text())[0]["metadata"].get("annotations", {})
    assert not [name for name in annotations if "keda.sh/" in name]


def test_keda_and_the_pods_have_the_same_nats() -> None:
    config = of(SHIPPED, "ConfigMap")["tidegate-nats"]["data"]
    given = of(SHIPPED, "TriggerAuthentication")["tidegate-nats"]["spec"]["configMapTargetRef"]
    assert {e["parameter"]: config[e["key"]] for e in given} == {
        "natsServerMonitoringEndpoint": config["monitoring"],
        "account": names.ACCOUNT,
    }


def test_the_scaler_listens_at_the_address_keda_uses() -> None:
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


def test_an_ingest_replica_has_memory_for_its_buffers_and_time_to_store_them() -> None:
    deployment = of(SHIPPED, "Deployment")["tidegate-ingest"]
    container = container_of(deployment)
    buffers = {e["name"]: e.get("value") for e in container["env"]}
    grace_s = float(buffers.get("INGEST_GRACE_S") or IngestSettings().ingest_grace_s)
    assert pod_of(deployment)["terminationGracePeriodSeconds"] >= grace_s + 10
    total = float(buffers["INGEST_BUFFER_TOTAL_MB"])
    assert total < 0.75 * mebibytes(container["resources"]["limits"]["memory"])
    (trigger,) = of(SHIPPED, "ScaledObject")["tidegate-ingest"]["spec"]["triggers"]
    planned = int(query_of(trigger)["camerasPerReplica"])
    assert planned * float(buffers["INGEST_BUFFER_MB"]) <= total
    assert int(buffers["INGEST_MAX_CAMERAS"]) >= 2 * planned, "one replica carries what another had"


def test_every_secret_is_documented_and_none_is_in_the_repository() -> None:
    readme = (DEPLOY / "README.md").read_text()
    everything = [d for p in DEPLOY.rglob("*.yaml") for d in documents(p.read_text())]
    names = set(secret_names(everything))
    assert {"tidegate-nats-cv", "tidegate-scaler-tls", "tidegate-scaler-client", "tidegate-hub"} <= names
    assert [n for n in sorted(names) if f"`{n}`" not in readme] == []
    assert not [d for d in everything if d.get("kind") == "Secret" or "secretGenerator" in d]
    text = "\n".join(p.read_text() for p in DEPLOY.rglob("*") if p.is_file())
    assert not re.search(r"NATS_PASSWORD\b(?!_)|://[^/\s]+:[^/\s]+@|BEGIN [A-Z ]*PRIVATE KEY|\$2[aby]\$", text)


def test_each_version_has_its_own_setup_job() -> None:
    """A Job can't be changed, and a new version wants other streams."""
    job = of(SHIPPED, "Job")[f"tidegate-setup-{VERSION.replace('.', '-')}"]
    check_builtin_kinds([job])
    assert container_of(job)["command"][:2] == ["tidegate", "setup"]
    check_confined(pod_of(job))


def test_three_servers_restart_one_at_a_time() -> None:
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
    # The limits of streams, and half as much again for each KV bucket and for rewrites.
    limits = TopologySettings()
    promised = limits.media_max_bytes + limits.events_max_bytes + limits.dlq_max_bytes + limits.pictures_max_bytes
    (most,) = re.findall(r"max_file_store: (\d+)GB", config)
    (claim,) = claims_of(stateful)
    assert promised * 1.1 < int(most) * 1e9 < 0.8 * mebibytes(claim["storage"]) * 2**20


def test_no_secret_is_in_the_environment() -> None:
    """Every process of the container and every dump of one has it, and a renewed Secret does not reach it."""
    assert [n for n, w in workloads(SHIPPED).items() if "secretKeyRef" in json.dumps(w)] == []


def test_vllm_finds_an_optional_hub_token() -> None:
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


def test_the_readme_creates_a_secret_for_each_identity() -> None:
    """These are a tenant's Secrets; those of the first come from `tidegate cluster init`."""
    (output,) = re.findall(r"for identity in (.*); do", (DEPLOY / "README.md").read_text())
    pods = {identity_of(workloads(SHIPPED)[name]) for name in SERVICES}
    assert set(output.split()) == pods - {"webhook", "console", "recorder", "pictures"} | {"admin"} and set(
        output.split()
    ) <= set(permissions())


def test_the_readme_states_their_sizes() -> None:
    found = re.findall(r"^\| `(tidegate-\S+)` \| (\d+) \| (\S+) \| (\S+) \|", (DEPLOY / "README.md").read_text(), re.M)
    rows = {name: (int(replicas), cpu, memory) for name, replicas, cpu, memory in found}
    sizes = {}
    for name in SERVICES:
        workload = workloads(SHIPPED)[name]
        requests = container_of(workload)["resources"]["requests"]
        if "tidegate.dev/gpu" not in workload["metadata"]["labels"]:
            sizes[name] = (workload["spec"].get("replicas", 1), requests["cpu"], requests["memory"])
    assert rows == sizes
