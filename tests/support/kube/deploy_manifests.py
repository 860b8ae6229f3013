"""The manifests of `deploy/`: shipped files, built overlays, and the parts of a workload."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from shared.contract import catalog
from shared.contract.topology import TopologySettings, consumers
from tests.support.paths import ROOT

Document = dict[str, Any]
DEPLOY = ROOT / "deploy"
OVERLAYS = DEPLOY / "kubernetes/overlays"
PROJECT = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]
IMAGES = [{"name": name, "newTag": VERSION} for name in ("tidegate", "tidegate-small")]
PROFILES = ("h100", "l40s", "rtx-pro-4500", "rtx-pro-6000")
FORMS = [f"{profile}{form}" for profile in PROFILES for form in ("", "/demand")]
PRODUCTS = {
    "h100": "NVIDIA-H100-80GB-HBM3",
    "l40s": "NVIDIA-L40S",
    "rtx-pro-4500": "NVIDIA-RTX-PRO-4500-Blackwell-Server-Edition",
    "rtx-pro-6000": "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition",
}
GPU = "nvidia.com/gpu"
RATE = "tidegate.dev/segments-per-second"
LATENCY = "tidegate.dev/latency-target-seconds"
COLD_START = "tidegate.dev/cold-start-seconds"


def documents(text: str) -> list[Document]:
    return [d for d in yaml.load_all(text, yaml.CSafeLoader) if d]


def kustomizations() -> Iterator[tuple[Path, Document]]:
    for path in sorted(DEPLOY.rglob("kustomization.yaml")):
        yield path.parent, documents(path.read_text())[0]


def listed(*keys: str) -> set[Path]:
    """Files and folders that kustomizations name."""
    found = set()
    for folder, content in kustomizations():
        for key in keys:
            for entry in content.get(key, []):
                name = entry.get("path") if isinstance(entry, dict) else entry
                if name:
                    found.add((folder / name).resolve())
    return found


PATCHES = listed("patches")
# Values for a foreign chart are excluded, as is a kind of KubeRay's: test_nats_chart, test_archive_deploy.
FILES = sorted(
    p
    for p in DEPLOY.rglob("*.yaml")
    if p.name != "kustomization.yaml" and p not in PATCHES and p.parent.name not in ("nats-chart", "ray")
)
SHIPPED = [d for path in FILES for d in documents(path.read_text())]


def of(docs: list[Document], *kinds: str) -> dict[str, Document]:
    return {d["metadata"]["name"]: d for d in docs if d["kind"] in kinds}


def workloads(docs: list[Document]) -> dict[str, Document]:
    """Our workloads with permanent pods."""
    ours = [d for d in docs if d["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "tidegate"]
    return of(ours, "Deployment", "StatefulSet")


def component_of(workload: Document) -> str:
    return str(workload["metadata"]["labels"]["app.kubernetes.io/component"])


def pod_of(deployment: Document) -> Document:
    spec: Document = deployment["spec"]["template"]["spec"]
    return spec


def claims_of(workload: Document) -> list[Document]:
    """The volumes that a StatefulSet creates for each of its pods: name and size."""
    templates = workload["spec"].get("volumeClaimTemplates", [])
    return [{"name": t["metadata"]["name"], **t["spec"]["resources"]["requests"]} for t in templates]


def container_of(deployment: Document) -> Document:
    """The container of the service itself."""
    (container,) = pod_of(deployment)["containers"]
    assert isinstance(container, dict)
    return container


def variables(deployment: Document, password: Path) -> dict[str, str]:
    """The environment as the kubelet sets it, with the values of other objects.

    password: a file; the other keys of the Secret lie next to it.
    """
    config = of(SHIPPED, "ConfigMap")["tidegate-nats"]["data"]
    built = {}
    for entry in container_of(deployment).get("env", []):
        source = entry.get("valueFrom", {})
        if "configMapKeyRef" in source:
            built[entry["name"]] = config[source["configMapKeyRef"]["key"]]
        elif "fieldRef" in source:
            built[entry["name"]] = f"{deployment['metadata']['name']}-7c9fd5d6b4-x2x4z"
        else:
            built[entry["name"]] = entry["value"]
    for name in [n for n in built if n.endswith("_FILE")]:
        optional = "-" * built[name].startswith("-")
        built[name] = f"{optional}{password.parent / key_of_secret(deployment, built[name].removeprefix('-'))}"
    return built


def key_of_secret(deployment: Document, path: str) -> str:
    """The key that a Secret needs, for its pod to find it at `path`."""
    secret = {v["name"] for v in pod_of(deployment)["volumes"] if "secret" in v}
    mounted = {m["mountPath"] for m in container_of(deployment)["volumeMounts"] if m["name"] in secret}
    folder, _, key = path.rpartition("/")
    assert folder in mounted
    return key


def declared(stream: str, service: str) -> set[str]:
    """The consumers of a stream that a service processes."""
    built = consumers(TopologySettings(embed_crops="detections"))
    all_of = {str(consumer.durable_name) for on, consumer in built if on == stream}
    return {name for name in all_of if catalog.service_of(name) == service}


def modifiers_of(scaled: Document) -> Document:
    """Its `scalingModifiers`; empty if each trigger counts by itself."""
    found: Document = scaled["spec"].get("advanced", {}).get("scalingModifiers", {})
    return found


def query_of(trigger: Document) -> dict[str, str]:
    """The parameters in the URL of a trigger."""
    return dict(parse_qsl(urlsplit(trigger["metadata"]["url"]).query))


def secret_names(value: Any) -> Iterator[str]:
    """Names of the Secrets that a document refers to."""
    if isinstance(value, dict):
        if "secretName" in value:
            yield value["secretName"]
        for source in value.get("sources", []):
            if "secret" in source:
                yield source["secret"]["name"]
        if "secretKeyRef" in value:
            yield value["secretKeyRef"]["name"]
        for entry in value.get("secretTargetRef", []):
            yield entry["name"]
        for v in value.values():
            yield from secret_names(v)
    elif isinstance(value, list):
        for v in value:
            yield from secret_names(v)


def build(folder: Path) -> list[Document]:
    """The output of kustomize for a folder; cached for ours, which do not change."""
    return _built_once(folder) if folder.is_relative_to(DEPLOY) else _built(folder)


def _built(folder: Path) -> list[Document]:
    if not shutil.which("kustomize"):
        pytest.skip("kustomize is not installed: apt-get install kustomize")
    done = subprocess.run(["kustomize", "build", folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


_built_once = functools.cache(_built)


def overlay(folder: Path, form: str, *components: str, **more: Any) -> list[Document]:
    """Build a custom overlay of `form`, with components and further content."""
    used = [os.path.relpath(p, folder.resolve()) for p in (OVERLAYS / form, *(DEPLOY / c for c in components))]
    content = {"resources": used[:1], "components": used[1:], **more}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return build(folder)


def with_tls(folder: Path, form: str) -> list[Document]:
    """An overlay with every service and the README's settings for TLS."""
    components = [f"kubernetes/{name}" for name in ("webhook", "console", "recorder", "pictures", "tls")]
    return overlay(folder, form, *components, *["keda/demand/mtls"] * form.endswith("/demand"))
