"""The manifests of `deploy/flux` and `deploy/argocd`: everything once, in one order, within their rights."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import npm
from tests.support.kube.custom_resources import seconds, unknown_fields
from tests.support.kube.deploy_checks import check_builtin_kinds, problems
from tests.support.kube.deploy_manifests import DEPLOY, VERSION, build, documents, of

Document = dict[str, Any]

# The packages of npm are installed once, and an overlay is built once.
pytestmark = [pytest.mark.foreign, pytest.mark.xdist_group("deploy")]

FLUX, ARGO = DEPLOY / "flux", DEPLOY / "argocd"
FLUX_MODELS = "4.0.0"
ARGO_MODELS = "4.0.0"
CEL = "8.0.0"
ORDER = ("namespace", "nats", "setup", "scaler", "services")
PART = "tidegate.dev/part"
WAVE = "argocd.argoproj.io/sync-wave"


def key(d: Document) -> tuple[str, str, str]:
    return d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]


def parts() -> dict[str, list[Document]]:
    """The resources that each Kustomization of Flux applies of the overlay."""
    return {name: build(FLUX / "parts" / name) for name in ORDER}


def kustomizations(folder: Path, *components: str) -> dict[str, Document]:
    """Those that `kubectl apply -k deploy/flux` makes, with components of it."""
    used = [os.path.relpath(FLUX / name, folder.resolve()) for name in ("", *components)]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": used[:1], "components": used[1:]}))
    return of(build(folder), "Kustomization")


# ---- schemas


FLUX_KINDS = {
    "Kustomization": "kustomize.toolkit.fluxcd.io/v1",
    "HelmRelease": "helm.toolkit.fluxcd.io/v2",
    "HelmRepository": "source.toolkit.fluxcd.io/v1",
    "GitRepository": "source.toolkit.fluxcd.io/v1",
}


def flux_problems(config: pytest.Config, docs: list[Document]) -> list[str]:
    package = npm.installed(config, "@kubernetes-models/flux-cd", FLUX_MODELS)
    found = [f"unknown field {name}" for d in docs for name in unknown_fields(package, d)]
    for d in docs:
        assert d["apiVersion"] == FLUX_KINDS[d["kind"]]
        found += [p for p in problems(package.parents[2], f"flux-cd/{d['apiVersion']}", [d]) if p]
    return found


def test_flux_s_kinds_are_valid(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    kustomizations(tmp_path, "sops", "tls")
    docs = [*build(tmp_path), *build(FLUX / "keda"), *build(FLUX / "tls/cert-manager")]
    own = [d for d in docs if d["kind"] in FLUX_KINDS]
    assert len(own) == 1 + 6 + 3 + 2 * 2 and {d["kind"] for d in docs} == {*FLUX_KINDS, "Namespace"}
    assert flux_problems(pytestconfig, own) == []
    broken = copy.deepcopy(own[0])
    broken["spec"]["deletionPolicy"] = "Keep"
    assert flux_problems(pytestconfig, [broken]) != []
    broken = copy.deepcopy(own[0])
    broken["spec"]["dependOn"] = []
    assert flux_problems(pytestconfig, [broken]) == ["unknown field dependOn"]


def argo_problems(config: pytest.Config, docs: list[Document]) -> list[str]:
    package = npm.installed(config, "@kubernetes-models/argo-cd", ARGO_MODELS)
    found = [f"unknown field {name}" for d in docs for name in unknown_fields(package, d)]
    return found + [p for p in problems(package.parents[2], "argo-cd/argoproj.io/v1alpha1", docs) if p]


def test_argo_s_kinds_are_valid(pytestconfig: pytest.Config) -> None:
    docs = build(ARGO)
    assert [d["kind"] for d in docs] == ["AppProject", "Application", "Application"]
    assert argo_problems(pytestconfig, docs) == []
    broken = copy.deepcopy(docs[1])
    broken["spec"]["syncPolicy"]["automatic"] = {}
    assert argo_problems(pytestconfig, [broken]) == ["unknown field automatic"]
    del broken["spec"]["destination"], broken["spec"]["syncPolicy"]["automatic"]
    assert argo_problems(pytestconfig, [broken]) != []


# ---- the parts


def check_parts(whole: list[Document], split: dict[str, list[Document]]) -> None:
    """Each resource is in one part, as it is in the whole."""
    applied = [json.dumps(d, sort_keys=True) for docs in split.values() for d in docs]
    assert sorted(applied) == sorted(json.dumps(d, sort_keys=True) for d in whole)
    for name, docs in split.items():
        assert docs and {d["metadata"]["annotations"][PART] for d in docs} == {name}


def test_every_resource_is_in_one_part() -> None:
    check_parts(build(FLUX / "overlay"), parts())
    for docs in parts().values():
        check_builtin_kinds(docs)
    missing = parts() | {"nats": parts()["nats"][1:]}
    twice = parts() | {"scaler": [*parts()["scaler"], parts()["setup"][0]]}
    for broken in (missing, twice):
        with pytest.raises(AssertionError):
            check_parts(build(FLUX / "overlay"), broken)


@pytest.mark.parametrize("tool", [FLUX, ARGO])
def test_the_parts_change_nothing_but_annotations(tool: Path, tmp_path: Path) -> None:
    """kubectl, flux and argocd install the same resources of the same overlay and components."""
    content = yaml.safe_load((tool / "overlay/kustomization.yaml").read_text())
    used = [os.path.relpath(tool / "overlay" / p, tmp_path.resolve()) for p in (*content["resources"], "nats")]
    used[1] = os.path.relpath(DEPLOY / "kubernetes/nats", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": used[:1], "components": used[1:]}))
    wanted = {key(d): d for d in build(tmp_path)}
    for d in copy.deepcopy(build(tool / "overlay")):
        ours = {k: v for k, v in d["metadata"].pop("annotations").items() if not k.startswith(("tidegate.dev/part",))}
        ours = {k: v for k, v in ours.items() if "argoproj.io" not in k and "fluxcd.io" not in k}
        d["metadata"] |= {"annotations": ours} if ours else {}
        assert d == wanted.pop(key(d))
    assert not wanted


def test_an_unassigned_resource_is_in_the_services_part(tmp_path: Path) -> None:
    """A component that is new to the list of parts, or of one's own, is applied too, and after all else."""
    used = ["kubernetes/overlays/h100/demand", "kubernetes/model-cache", "kubernetes/webhook", "kubernetes/parts"]
    used = [os.path.relpath(DEPLOY / p, tmp_path.resolve()) for p in used]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": used[:1], "components": used[1:]}))
    found = {key(d): d["metadata"]["annotations"][PART] for d in build(tmp_path)}
    assert found["PersistentVolumeClaim", "tidegate", "tidegate-models"] == "services"
    assert found["Deployment", "tidegate", "tidegate-webhook"] == "services"
    # No pod is ever without its policy.
    assert found["NetworkPolicy", "tidegate", "tidegate-webhook"] == "namespace"


# ---- Flux


def order(found: dict[str, Document]) -> list[str]:
    """The Kustomizations as Flux applies them. Fails where one waits for what is not there, or for itself."""
    graph = {name: [d["name"] for d in k["spec"].get("dependsOn", [])] for name, k in found.items()}
    assert {name for names in graph.values() for name in names} <= set(found)
    return list(TopologicalSorter(graph).static_order())


def before(found: dict[str, Document], name: str) -> set[str]:
    """Return all resources that have to be ready before one of them is applied."""
    direct = {d["name"] for d in found[name]["spec"].get("dependsOn", [])}
    return direct.union(*(before(found, each) for each in direct))


def check_order(found: dict[str, Document]) -> None:
    order(found)
    for earlier, later in pairwise(ORDER):
        assert f"tidegate-{earlier}" in before(found, f"tidegate-{later}")
    # Without KEDA's definitions a ScaledObject can't be applied.
    assert "tidegate-keda" in before(found, "tidegate-services")
    for one in found.values():
        assert one["spec"]["prune"] and seconds(one["spec"]["retryInterval"]) <= 60
        assert one["spec"].get("wait") or one["spec"]["healthChecks"], "nothing would wait for it"
        # A dependency in another source could be ready in another version.
        assert one["spec"]["sourceRef"] == {"kind": "GitRepository", "name": "tidegate"}
        folder = DEPLOY.parent / one["spec"]["path"]
        assert (folder / "kustomization.yaml").exists() or one["metadata"]["name"] == "tidegate-secrets"


def test_flux_applies_one_part_after_another(tmp_path: Path) -> None:
    found = kustomizations(tmp_path)
    check_order(found)
    assert set(found) == {"tidegate-keda", *(f"tidegate-{name}" for name in ORDER)}
    for name in ORDER:
        assert found[f"tidegate-{name}"]["spec"]["path"] == f"./deploy/flux/parts/{name}"
    circle, nowhere, early, blind = (copy.deepcopy(found) for _ in range(4))
    circle["tidegate-namespace"]["spec"]["dependsOn"] = [{"name": "tidegate-services"}]
    with pytest.raises(CycleError):
        check_order(circle)
    nowhere["tidegate-nats"]["spec"]["dependsOn"].append({"name": "tidegate-secrets"})
    early["tidegate-services"]["spec"]["dependsOn"] = [{"name": "tidegate-keda"}]
    blind["tidegate-nats"]["spec"]["wait"] = False
    for broken in (nowhere, early, blind):
        with pytest.raises((AssertionError, KeyError)):
            check_order(broken)


def test_nats_waits_for_secrets_and_certificates(tmp_path: Path) -> None:
    found = kustomizations(tmp_path, "sops", "tls")
    check_order(found)
    assert {"tidegate-secrets", "tidegate-certificates"} <= before(found, "tidegate-nats")
    # The namespace is there before they are.
    for name in ("tidegate-secrets", "tidegate-certificates"):
        assert "tidegate-namespace" in before(found, name)


def test_a_job_of_the_same_name_can_be_recreated(tmp_path: Path) -> None:
    """Nothing else is recreated if a field is immutable: recreating NATS would delete its streams."""
    forced = {name for name, k in kustomizations(tmp_path).items() if k["spec"].get("force")}
    assert forced == {"tidegate-setup"} and [d["kind"] for d in parts()["setup"]] == ["Job"]


def check_health(services: Document, docs: list[Document]) -> None:
    """Waits for what always runs and for KEDA, and for nothing that comes and goes with the load."""
    request = {(c["kind"], c["namespace"], c["name"]) for c in services["spec"]["healthChecks"]}
    scaled = of(docs, "ScaledObject")
    changing = {s["spec"]["scaleTargetRef"]["name"] for s in scaled.values()} | {"tidegate-placeholder"}
    steady = {
        key(d) for d in docs if d["kind"] in ("Deployment", "StatefulSet") and d["metadata"]["name"] not in changing
    }
    assert request == steady | {key(s) for s in scaled.values()}
    assert not services["spec"].get("wait")


def test_flux_waits_for_steady_deployments(tmp_path: Path) -> None:
    services = kustomizations(tmp_path)["tidegate-services"]
    check_health(services, parts()["services"])
    services["spec"]["healthChecks"][0]["name"] = "tidegate-cv"
    with pytest.raises(AssertionError):
        check_health(services, parts()["services"])


EVALUATE = """
import { evaluate } from "@marcbachmann/cel-js";
import { readFileSync } from "node:fs";
const { expression, objects } = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(objects.map((o) => { try { return evaluate(expression, o); } catch { return null; } })));
"""


def test_a_scaled_object_is_healthy_when_keda_says_ready(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """The expression, by an interpreter of CEL. What can't be evaluated is waited for."""
    (given,) = kustomizations(tmp_path)["tidegate-services"]["spec"]["healthCheckExprs"]
    assert (given["apiVersion"], given["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    assert set(given) == {"apiVersion", "kind", "current"}
    active = {"type": "Active", "status": "True"}
    lists = [[active, {"type": "Ready", "status": s}] for s in ("True", "False", "Unknown")]
    objects = [{"status": {"conditions": conditions}} for conditions in (*lists, [active])] + [{"status": {}}, {}]
    folder = npm.installed(pytestconfig, "@marcbachmann/cel-js", CEL).parents[2]
    done = subprocess.run(
        ["node", "--input-type=module", "-e", EVALUATE],
        input=json.dumps({"expression": given["current"], "objects": objects}),
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, False, False, False, None, None]


def test_flux_decrypts_the_folder_of_secrets(tmp_path: Path) -> None:
    """The folder has all Secrets that NATS and the pods mount, and no second owner of the namespace."""
    init = [sys.executable, "-m", "tidegate", "cluster", "init", tmp_path / "secrets"]
    subprocess.run(init, check=True, capture_output=True, timeout=60)
    (tmp_path / "flux").mkdir()
    spec = kustomizations(tmp_path / "flux", "sops")["tidegate-secrets"]["spec"]
    assert spec["path"] == "./secrets" and spec["decryption"]["provider"] == "sops"
    (tmp_path / "applied").mkdir()
    content = {"resources": ["../secrets"], "patches": spec["patches"]}
    (tmp_path / "applied/kustomization.yaml").write_text(yaml.safe_dump(content))
    built = build(tmp_path / "applied")
    assert {d["kind"] for d in built} == {"Secret"} and {d["metadata"]["namespace"] for d in built} == {"tidegate"}
    assert {"nats-server", "tidegate-nats-admin"} <= set(of(built, "Secret"))


# ---- Argo CD


def check_waves(docs: list[Document]) -> None:
    """Argo CD has Flux's order."""
    waves: dict[str, set[int]] = {}
    for d in docs:
        annotations = d["metadata"]["annotations"]
        waves.setdefault(annotations[PART], set()).add(int(annotations[WAVE]))
    assert all(len(each) == 1 for each in waves.values())
    assert sorted(waves, key=lambda name: min(waves[name])) == list(ORDER)
    assert len({min(each) for each in waves.values()}) == len(ORDER)


def test_argo_cd_has_the_order_of_flux() -> None:
    docs = build(ARGO / "overlay")
    check_builtin_kinds(docs)
    check_waves(docs)
    broken = copy.deepcopy(docs)
    of(broken, "Job")[f"tidegate-setup-{VERSION.replace('.', '-')}"]["metadata"]["annotations"][WAVE] = "4"
    with pytest.raises(AssertionError):
        check_waves(broken)


def test_the_job_is_a_hook_of_argo_cd() -> None:
    hooks = [d for d in build(ARGO / "overlay") if "argocd.argoproj.io/hook" in d["metadata"]["annotations"]]
    assert [d["kind"] for d in hooks] == ["Job"]
    annotations = hooks[0]["metadata"]["annotations"]
    assert annotations["argocd.argoproj.io/hook"] == "Sync"
    assert annotations["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"


def check_project(project: Document, docs: list[Document]) -> None:
    """Assert that the project may create exactly the kinds of the overlay."""
    for allowed, wide in (("clusterResourceWhitelist", True), ("namespaceResourceWhitelist", False)):
        given = {(each["group"], each["kind"]) for each in project["spec"][allowed]}
        needed = {
            ("" if "/" not in d["apiVersion"] else d["apiVersion"].partition("/")[0], d["kind"])
            for d in docs
            if ("namespace" not in d["metadata"]) == wide
        }
        assert given == needed
    assert ("", "Secret") not in {(e["group"], e["kind"]) for e in project["spec"]["namespaceResourceWhitelist"]}


def test_the_project_of_argo_cd_may_create_exactly_its_resources() -> None:
    (project,) = of(build(ARGO), "AppProject").values()
    application = of(build(ARGO), "Application")["tidegate"]["spec"]
    docs = build(ARGO / "overlay")
    check_project(project, docs)
    assert project["spec"]["sourceRepos"] == [application["source"]["repoURL"]]
    assert project["spec"]["destinations"] == [application["destination"]]
    project["spec"]["clusterResourceWhitelist"].append({"group": "*", "kind": "*"})
    with pytest.raises(AssertionError):
        check_project(project, docs)


def check_ignored(application: Document, docs: list[Document]) -> None:
    """The counts that KEDA sets are neither a difference nor written, and every other field is."""
    scaled = {s["spec"]["scaleTargetRef"]["name"] for s in of(docs, "ScaledObject").values()}
    ignored = [e for e in application["spec"]["ignoreDifferences"] if e["kind"] == "Deployment"]
    assert {e["name"] for e in ignored} == scaled
    assert all(e["jsonPointers"] == ["/spec/replicas"] for e in ignored)
    assert {"RespectIgnoreDifferences=true", "ServerSideApply=true"} <= set(
        application["spec"]["syncPolicy"]["syncOptions"]
    )
    others = [e for e in application["spec"]["ignoreDifferences"] if e["group"] == "keda.sh"]
    assert {p.split("/")[1] for e in others for p in e["jsonPointers"]} == {"metadata"}


def test_argo_cd_ignores_fields_that_keda_sets() -> None:
    application = of(build(ARGO), "Application")["tidegate"]
    check_ignored(application, build(ARGO / "overlay"))
    application["spec"]["ignoreDifferences"].pop(0)
    with pytest.raises(AssertionError):
        check_ignored(application, build(ARGO / "overlay"))


# ---- both


def test_both_install_this_version_of_the_same_repository(tmp_path: Path) -> None:
    kustomizations(tmp_path)
    source = of(build(tmp_path), "GitRepository")["tidegate"]["spec"]
    application = of(build(ARGO), "Application")["tidegate"]["spec"]["source"]
    assert source["ref"] == {"tag": f"v{VERSION}"} and application["targetRevision"] == f"v{VERSION}"
    assert source["url"] == application["repoURL"]
    charts = [documents(p.read_text()) for p in (FLUX / "keda/keda.yaml", ARGO / "keda.yaml")]
    (release,) = (d for d in charts[0] if d["kind"] == "HelmRelease")
    assert release["spec"]["chart"]["spec"]["version"] == charts[1][0]["spec"]["source"]["targetRevision"] == "2.20.x"
    # The namespace that the scaler's policy lets in.
    assert release["metadata"]["namespace"] == charts[1][0]["spec"]["destination"]["namespace"] == "keda"


def test_neither_deletes_the_namespace_with_its_volumes() -> None:
    flux = of(build(FLUX / "overlay"), "Namespace")["tidegate"]["metadata"]["annotations"]
    argo = of(build(ARGO / "overlay"), "Namespace")["tidegate"]["metadata"]["annotations"]
    assert flux["kustomize.toolkit.fluxcd.io/prune"] == "disabled"
    assert argo["argocd.argoproj.io/sync-options"] == "Prune=false,Delete=false"
