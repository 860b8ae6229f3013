"""The components of `deploy/`, by the real kustomize: each fits both forms of scaling."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from services.ingest.settings import IngestSettings
from services.scaler.live import metadata
from services.scaler.settings import ScalerSettings
from services.vlm.settings import VlmSettings
from shared.runtime import settings
from shared.runtime.errors import SettingError
from tests.support import npm
from tests.support.kube.deploy_checks import (
    check_builtin_kinds,
    check_pod,
    check_pod_speaks_tls,
    check_triggers,
    keda_problems,
    our_own_reading,
    problems,
)
from tests.support.kube.deploy_checks import keda_schema as keda_schema
from tests.support.kube.deploy_manifests import (
    DEPLOY,
    IMAGES,
    OVERLAYS,
    VERSION,
    Document,
    build,
    claims_of,
    container_of,
    of,
    overlay,
    pod_of,
    secret_names,
    variables,
    with_tls,
    workloads,
)
from tests.support.kube.service_checks import SERVICES, check_recorder, check_vlm, check_webhook, secrets_by_the_readme

# KEDA's models are installed once, and an overlay is built once.
pytestmark = pytest.mark.xdist_group("deploy")

CERT_MANAGER_MODELS = "6.0.0"


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
def test_cert_manager_creates_what_tls_needs(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    folder = npm.installed(pytestconfig, "@kubernetes-models/cert-manager", CERT_MANAGER_MODELS).parents[2]
    docs = build(DEPLOY / "kubernetes/tls/cert-manager")
    assert set(problems(folder, "cert-manager/cert-manager.io/v1", docs)) == {None}
    broken = json.loads(json.dumps(of(docs, "Certificate")["tidegate-ca"])) | {"spec": {"secretName": "x"}}
    assert problems(folder, "cert-manager/cert-manager.io/v1", [broken]) != [None]
    needed = {name for name in secret_names(with_tls(tmp_path, "h100/demand")) if "tls" in name or "client" in name}
    readme = (DEPLOY / "README.md").read_text()
    (helm,) = set(secret_names(yaml.safe_load((DEPLOY / "nats-chart/values-tls.yaml").read_text())))
    built = {c["spec"]["secretName"]: c["spec"] for c in of(docs, "Certificate").values()}
    assert needed | {helm, "tidegate-ca", "tidegate-tls-admin", "tidegate-tls-prometheus"} == set(built)
    assert [name for name in built if f"`{name}`" not in readme] == []
    assert {d["metadata"]["namespace"] for d in docs} == {"tidegate"}
    host = urlsplit(of(with_tls(tmp_path, "h100/demand"), "ConfigMap")["tidegate-nats"]["data"]["url"]).hostname
    assert host in built[helm]["dnsNames"]
    assert built["tidegate-scaler-tls"]["dnsNames"] == ["tidegate-scaler.tidegate.svc.cluster.local"]
    for name in needed:
        request = {"tidegate-scaler-tls": {"server auth"}}
        request |= {key: {"client auth"} for key in ("tidegate-scaler-client", "tidegate-tls-admin")}
        assert set(built[name]["usages"]) == request.get(name, {"client auth", "server auth"})


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
def test_a_shared_volume_of_weights_is_a_component_of_either_form(form: str, tmp_path: Path) -> None:
    docs = overlay(tmp_path, form, "kubernetes/model-cache")
    check_builtin_kinds(docs)
    (tmp_path / "password").write_text("p")
    check_pod(of(docs, "Deployment")["tidegate-vlm"])
    check_vlm(docs, tmp_path / "password")
    claim = of(docs, "PersistentVolumeClaim")["tidegate-models"]
    assert (claim["metadata"]["namespace"], claim["spec"]["accessModes"]) == ("tidegate", ["ReadWriteMany"])
    mounted = {"name": "models", "persistentVolumeClaim": {"claimName": "tidegate-models"}}
    assert [n for n, w in workloads(docs).items() if mounted in pod_of(w).get("volumes", [])] == ["tidegate-vlm"]
    # It replaces the previous one, and nothing else changes.
    before = {json.dumps(d, sort_keys=True) for d in build(OVERLAYS / form)}
    changed = [d for d in docs if json.dumps(d, sort_keys=True) not in before]
    assert [d["metadata"]["name"] for d in changed] == ["tidegate-models", "tidegate-vlm"]
    volumes = [v["name"] for v in pod_of(of(docs, "Deployment")["tidegate-vlm"])["volumes"]]
    assert sorted(volumes) == ["hub", "models", "nats", "shm", "tmp"]


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
def test_a_ca_for_cameras_is_a_component_of_either_form(form: str, tmp_path: Path) -> None:
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
    built = re.findall(r"create configmap (\S+) --from-file=(\S+?)=", (DEPLOY / "README.md").read_text())
    assert [(name, f"{mount['mountPath']}/{key}") for name, key in built] == [(volume, loaded.ingest_ca)]
    assert mount["readOnly"] and loaded.ingest_buffer_mb == 32


def endpoints_patches() -> list[Document]:
    """The patches of the guide for an external model."""
    guide = (DEPLOY.parent / "docs/how-to/endpoints.md").read_text()
    (text,) = re.findall(r"```yaml\n(components:.*?)```", guide, re.DOTALL)
    found: list[Document] = yaml.safe_load(text)["patches"]
    return found


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
@pytest.mark.parametrize("key", [False, True], ids=["a role", "a key"])
def test_an_external_model_is_a_component_of_either_form(form: str, key: bool, tmp_path: Path) -> None:
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
def test_an_external_model_without_settings_is_reported_at_start(tmp_path: Path) -> None:
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
    # The other documents are unchanged.
    before = {json.dumps(d, sort_keys=True) for d in build(OVERLAYS / form)}
    added = [d for d in docs if json.dumps(d, sort_keys=True) not in before]
    assert {d["kind"] for d in added} == {"Deployment", "NetworkPolicy", "PodDisruptionBudget"} and len(added) == 3
    assert {(d["metadata"]["name"], d["metadata"]["namespace"]) for d in added} == {("tidegate-webhook", "tidegate")}
    assert len(docs) == len(before) + len(added)
    images = {container_of(of(docs, "Deployment")[f"tidegate-{name}"])["image"] for name in ("webhook", "analytics")}
    assert images == {f"tidegate-small:{VERSION}"}


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
def test_site_is_a_component_of_either_form(form: str, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("cameras: {lobby: {url: 'rtsp://10.0.0.7/a'}}")
    generated = {"configMapGenerator": [{"name": "tidegate-site", "namespace": "tidegate", "files": ["site.yaml"]}]}
    docs = overlay(tmp_path, form, "kubernetes/site", "kubernetes/tls", images=IMAGES, **generated)
    check_builtin_kinds(docs)
    (job,) = (d for d in docs if d["kind"] == "Job" and d["metadata"]["name"] == "tidegate-site")
    assert job["metadata"]["namespace"] == "tidegate"
    container = container_of(job)
    assert container["image"] == f"tidegate-small:{VERSION}"
    assert container["command"][:2] == ["tidegate", "apply"]
    (volume,) = (v["configMap"] for v in pod_of(job)["volumes"] if v["name"] == "site")
    assert volume["name"] in of(docs, "ConfigMap") and volume["name"].startswith("tidegate-site-"), "it has a hash"
    assert {"NATS_CA", "NATS_CERT", "NATS_KEY"} <= {e["name"] for e in container["env"]}
    (tmp_path / "site.yaml").write_text("cameras: {}")
    again = overlay(tmp_path, form, "kubernetes/site", images=IMAGES, **generated)
    changed = next(d for d in again if d["kind"] == "Job" and d["metadata"]["name"] == "tidegate-site")
    assert pod_of(changed)["volumes"] != pod_of(job)["volumes"]


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
def test_pictures_is_a_component_of_either_form(form: str, tmp_path: Path) -> None:
    docs = overlay(tmp_path, form, "kubernetes/pictures", images=IMAGES)
    check_builtin_kinds(docs)
    workload = of(docs, "Deployment")["tidegate-pictures"]
    check_pod(workload)
    assert container_of(workload)["image"] == f"tidegate-small:{VERSION}"
    before = {json.dumps(d, sort_keys=True) for d in build(OVERLAYS / form)}
    added = [d for d in docs if json.dumps(d, sort_keys=True) not in before]
    assert sorted(d["kind"] for d in added) == ["Deployment", "PodDisruptionBudget"] and len(docs) == len(before) + 2
    assert {(d["metadata"]["name"], d["metadata"]["namespace"]) for d in added} == {("tidegate-pictures", "tidegate")}


@pytest.mark.foreign
@pytest.mark.parametrize("form", ["h100", "h100/demand"])
def test_an_overlay_includes_webhook_as_the_readme_shows(form: str, tmp_path: Path) -> None:
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
    built = re.findall(r"secret generic (\S+) --from-file=(recordings.key)=", (DEPLOY / "README.md").read_text())
    assert [(name, f"{mount['mountPath']}/{file}") for name, file in built] == [
        (volume["secretName"], given["RECORDER_KEY_FILE"])
    ]
    # The recorder refuses a key that others may read.
    assert mount["readOnly"] and volume["defaultMode"] == 0o440


@pytest.mark.foreign
def test_the_patch_for_a_bucket_removes_the_volume_and_runs_two_recorders(tmp_path: Path) -> None:
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
    remaining = {name: our_own_reading(d).spec.min_replica_count for name, d in of(docs, "ScaledObject").items()}
    assert {name for name, least in remaining.items() if name != "tidegate-ingest" and least} == {"tidegate-vlm"}
    assert remaining["tidegate-vlm"] == 1


@pytest.mark.foreign
def test_the_patch_for_a_push_makes_a_form_with_the_same_queries(tmp_path: Path, keda_schema: Path) -> None:
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
