"""Checks on manifests: by the schemas of Kubernetes and KEDA, and by the needs of our services."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from services.scaler.live import metadata
from shared.contract import catalog, names
from shared.contract.topology import BACKFILL_BYTES, TopologySettings
from shared.runtime import settings
from tests.support import npm
from tests.support.kube.deploy_manifests import (
    COLD_START,
    GPU,
    LATENCY,
    RATE,
    Document,
    claims_of,
    container_of,
    declared,
    modifiers_of,
    of,
    pod_of,
    query_of,
)
from tidegate.keda.scaledobject import ScaledObject, parse
from tidegate.keda.threshold import lag_threshold

# Native sidecars are on from 1.29.
VERSIONS = ("1.29", kubernetes_validate.latest_version())
KEDA_MODELS = "2.0.0"


@functools.cache
def schema_problem(document: str, version: str) -> str | None:
    """The error of Kubernetes' own schema for a document, as JSON; None if it is valid."""
    try:
        kubernetes_validate.validate(json.loads(document), version, strict=True)
    except kubernetes_validate.ValidationError as e:
        return f"{'.'.join(map(str, e.path))}: {e.message}"
    return None


# Kinds that Kubernetes does not have: each has a schema of its own.
FOREIGN = re.compile(
    r"(keda\.sh|cert-manager\.io|.*\.fluxcd\.io|argoproj\.io|karpenter\..*|autoscaling\.x-k8s\.io|monitoring\.coreos\.com)/"
)


def check_builtin_kinds(docs: list[Document]) -> int:
    """Validate all of Kubernetes' own kinds; return their number."""
    builtin = [d for d in docs if not FOREIGN.match(d["apiVersion"])]
    for d in builtin:
        for version in VERSIONS:
            problem = schema_problem(json.dumps(d, sort_keys=True), version)
            assert problem is None, f"{d['kind']} {d['metadata']['name']}, Kubernetes {version}: {problem}"
    return len(builtin)


@pytest.fixture(scope="session")
def keda_schema(pytestconfig: pytest.Config) -> Path:
    """A folder with KEDA's models in its node_modules."""
    if not shutil.which("node"):
        pytest.skip("node is not installed: apt-get install nodejs npm")
    return npm.installed(pytestconfig, "@kubernetes-models/keda", KEDA_MODELS).parents[2]


VALIDATE = """
import * as kinds from "@kubernetes-models/MODELS";
import { readFileSync } from "node:fs";
for (const d of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    new kinds[d.kind](d).validate();
    console.log("null");
  } catch (e) {
    console.log(JSON.stringify(`${d.kind} ${d.metadata.name}: ${e.message}`));
  }
}
"""


def keda_problems(folder: Path, docs: list[Document]) -> list[str | None]:
    """The errors of KEDA's schema for each of its kinds among `docs`."""
    return problems(folder, "keda/keda.sh/v1alpha1", [d for d in docs if d["apiVersion"].startswith("keda.sh/")])


def problems(folder: Path, models: str, docs: list[Document]) -> list[str | None]:
    done = subprocess.run(
        ["node", "--input-type=module", "-e", VALIDATE.replace("MODELS", models)],
        input=json.dumps(docs),
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_thresholds(scaled: Document) -> None:
    """Every threshold follows from the stated rate and target."""
    given = scaled["metadata"].get("annotations", {})
    lag = [t["metadata"] for t in scaled["spec"]["triggers"] if t["type"] == "nats-jetstream"]
    demand = [query_of(t) for t in scaled["spec"]["triggers"] if t["type"] == "metrics-api"]
    modifiers = modifiers_of(scaled)
    assert bool(lag) == bool(given)
    for trigger in lag:
        t = lag_threshold(float(given[RATE]), float(given[LATENCY]), cold_start_s=float(given.get(COLD_START, 60)))
        if demand:
            net = t.deferred if trigger["stream"] == names.BACKFILL else t.fallback
            assert (trigger["lagThreshold"], demand[0]["lagThreshold"]) == (str(net), str(t.value))
            assert (demand[0]["latencyTarget"], demand[0]["coldStart"]) == (given[LATENCY], given[COLD_START])
        else:
            assert trigger["lagThreshold"] == modifiers.get("target", str(t.value)) == str(t.value)
        limits = TopologySettings()
        if trigger["stream"] == "MEDIA":
            # The fallback trigger must act long before waiting messages expire.
            assert t.fallback / t.rate < limits.media_max_age_s / 2
        assert t.retention_s == limits.media_max_age_s


def check_triggers(scaled: Document, docs: list[Document]) -> None:
    """Addresses, authentications and metadata exist, and the triggers cover every consumer of the service."""
    triggers = scaled["spec"]["triggers"]
    for trigger in triggers:
        authentication = trigger.get("authenticationRef")
        if authentication:
            assert authentication["name"] in of(docs, "TriggerAuthentication")
    demand, lag, utilisation = (
        [t for t in triggers if t["type"] == kind] for kind in ("metrics-api", "nats-jetstream", "prometheus")
    )
    # The scaler's trigger is the first of each file: patches and the component mtls count on it.
    assert triggers == demand + lag + utilisation and len(demand) <= 1
    service = scaled["metadata"]["name"].removeprefix("tidegate-")
    put_off = [t["metadata"] for t in lag if t["metadata"]["stream"] == names.BACKFILL]
    lag = [t for t in lag if t["metadata"] not in put_off]
    wanted = sorted((t["metadata"]["stream"], t["metadata"]["consumer"]) for t in lag)
    check_put_off(service, put_off, docs)
    for trigger in demand:
        home = scaled["metadata"].get("namespace", "tidegate")
        scheme, _, rest = trigger["metadata"]["url"].partition("://")
        assert rest.startswith(f"tidegate-scaler.{home}.svc.cluster.local:9091/demand?")
        assert scheme == ("https" if "authenticationRef" in trigger else "http")
        # Our scaler answers with replicas, as the number of this name.
        assert (trigger["metadata"]["valueLocation"], trigger["metadata"]["targetValue"]) == ("demand", "1")
        # KEDA's `fallback` would start all services without the scaler: the fallback trigger starts those with work.
        assert "fallback" not in scaled["spec"]
        query = metadata.parse_url(trigger["metadata"]["url"])
        assert query.service == service
        if isinstance(query, metadata.CamerasQuery):
            assert not lag and not modifiers_of(scaled)
            return
        consumers = query.consumer.split(",")
        streams = query.stream.split(",")
        assert sorted(zip(streams * (len(consumers) if len(streams) == 1 else 1), consumers, strict=True)) == wanted
    assert wanted == sorted((stream, c) for stream in {s for s, _ in wanted} for c in declared(stream, service))
    assert service != "vlm" or sorted(names.VLM_WORK) == wanted
    check_modifiers(scaled, lag, alone=not (demand or utilisation))


def check_put_off(service: str, put_off: list[Document], docs: list[Document]) -> None:
    """Deferred work counts where work is degradable, and nowhere else. It starts no first replica."""
    deployment = of(docs, "Deployment").get(f"tidegate-{service}")
    given = [v["name"] for v in container_of(deployment).get("env", [])] if deployment else []
    bends = f"{service.upper()}_LATENCY_TARGET_S" in given
    assert len(put_off) == (bends and bool(catalog.backfill_consumer(service)))
    for metadata_ in put_off:
        assert metadata_["consumer"] == names.backfilling(service)
        # More than the capacity of BACKFILL.
        assert int(metadata_["activationLagThreshold"]) > BACKFILL_BYTES


def check_modifiers(scaled: Document, lag: list[Document], *, alone: bool) -> None:
    """The counts of several triggers are added up, unless there is another trigger: the HPA takes the largest."""
    modifiers = modifiers_of(scaled)
    assert bool(modifiers) == (alone and len(lag) > 1)
    if modifiers:
        assert sorted(modifiers["formula"].split(" + ")) == sorted(t["name"] for t in lag)
        assert modifiers["activationTarget"] == "0" and "metricType" not in modifiers
    # The HPA compares a replica's threshold with a replica's share.
    assert all(t.get("metricType", "AverageValue") == "AverageValue" for t in lag)


def our_own_reading(document: Document) -> ScaledObject:
    """Read it, and refuse unknown, misspelt or unbounded values, which KEDA's schema accepts."""
    return parse(yaml.safe_dump(document))


def check_pod(deployment: Document) -> None:
    """The standard `restricted`, and a drain that ends before the kubelet's grace period."""
    pod = pod_of(deployment)
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True and security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in (*pod.get("initContainers", []), *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert requests["memory"] == limits["memory"] and requests.get(GPU) == limits.get(GPU)
    volumes = {v["name"] for v in (*pod.get("volumes", []), *claims_of(deployment))}
    for container in (*pod.get("initContainers", []), *pod["containers"]):
        assert {m["name"] for m in container.get("volumeMounts", [])} <= volumes


def check_placeholder(docs: list[Document]) -> None:
    """A worker of cv fits in the placeholder's place."""
    placeholder, cv = (of(docs, "Deployment")[f"tidegate-{s}"] for s in ("placeholder", "cv"))
    assert container_of(placeholder)["resources"] == container_of(cv)["resources"]
    assert pod_of(placeholder).get("nodeSelector") == pod_of(cv).get("nodeSelector")
    assert pod_of(placeholder)["tolerations"] == pod_of(cv)["tolerations"]


def check_confined(pod: Document) -> None:
    """It runs as a user without rights, in a file system that it can't change."""
    assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]} and "memory" in container["resources"]["limits"]


def check_pod_speaks_tls(name: str, workload: Document) -> None:
    """It has a certificate of its own, settings that name it, and probes over the same scheme."""
    container = container_of(workload)
    (volume,) = (v for v in pod_of(workload)["volumes"] if v["name"] == "certificates")
    assert volume["secret"]["secretName"] == f"tidegate-tls-{name.removeprefix('tidegate-')}"
    (mount,) = (m for m in container["volumeMounts"] if m["name"] == "certificates")
    given = {e["name"]: e.get("value") for e in container["env"]}
    for setting, file in (("CA", "ca.crt"), ("CERT", "tls.crt"), ("KEY", "tls.key")):
        metrics = "CLIENT_CA" if setting == "CA" else setting
        assert given[f"NATS_{setting}"] == given[f"METRICS_{metrics}"] == f"{mount['mountPath']}/{file}"
        assert {f"nats_{setting.lower()}", f"metrics_{metrics.lower()}"} <= set(settings.BusSettings.__struct_fields__)
    assert {container[f"{kind}Probe"]["httpGet"]["scheme"] for kind in ("startup", "readiness", "liveness")} == {
        "HTTPS"
    }
