"""The resources of `deploy/nodes`: nodes that fit pods and drain in time, warm headroom, parts of GPUs, weights."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from services.cv.settings import CvSettings
from shared.runtime import settings
from tests.support import npm
from tests.support.kube.custom_resources import seconds, unknown_fields
from tests.support.kube.deploy_checks import (
    check_builtin_kinds,
    check_confined,
    check_placeholder,
    check_pod,
    check_thresholds,
    problems,
)
from tests.support.kube.deploy_manifests import (
    DEPLOY,
    GPU,
    IMAGES,
    LATENCY,
    OVERLAYS,
    RATE,
    VERSION,
    build,
    container_of,
    of,
    overlay,
    pod_of,
    variables,
    workloads,
)
from tidegate.cluster.policies import Peer, Policies
from tidegate.keda.threshold import lag_threshold

Document = dict[str, Any]

# The packages of npm are installed once, and an overlay is built once.
pytestmark = [pytest.mark.foreign, pytest.mark.xdist_group("deploy")]

NODES = DEPLOY / "nodes"
GUIDE = DEPLOY.parent / "docs/how-to/nodes.md"
KARPENTER_MODELS = "2.0.0"
FORMS = ["h100", "h100/demand"]
PRODUCT = "nvidia.com/gpu.product"


def longest_cold_start_s() -> int:
    """Return the cold start of a pod on a new GPU node, as docs/how-to/scale.md states it."""
    ((longest,),) = [re.findall(r"new GPU node \| \d+ to (\d+) ", (DEPLOY.parent / "docs/how-to/scale.md").read_text())]
    return int(longest)


def on_gpus(docs: list[Document]) -> dict[str, Document]:
    """The workloads that have to be on a GPU's node."""
    return {name: w for name, w in workloads(docs).items() if "tidegate.dev/gpu" in w["metadata"]["labels"]}


def requests_of(deployment: Document) -> dict[str, str]:
    """Return the requests of all containers of a pod for NVIDIA's resources."""
    pod = pod_of(deployment)
    given = [c["resources"]["requests"] for c in (*pod.get("initContainers", []), *pod["containers"])]
    return {name: amount for each in given for name, amount in each.items() if "nvidia.com/" in name}


# ---- NodePools


def test_karpenter_s_kinds_are_valid(pytestconfig: pytest.Config) -> None:
    package = npm.installed(pytestconfig, "@kubernetes-models/karpenter", KARPENTER_MODELS)

    def found(d: Document) -> list[str]:
        unknown = [f"unknown field {name}" for name in unknown_fields(package, d)]
        return unknown + [p for p in problems(package.parents[2], f"karpenter/{d['apiVersion']}", [d]) if p]

    docs = build(NODES / "karpenter")
    assert sorted({d["apiVersion"] for d in docs}) == ["karpenter.k8s.aws/v1", "karpenter.sh/v1"]
    assert [problem for d in docs for problem in found(d)] == []
    pool = copy.deepcopy(of(docs, "NodePool")["tidegate-h100"])
    pool["spec"]["disruption"]["consolidationPolicy"] = "WhenUnderutilized"
    assert found(pool) != []
    pool = copy.deepcopy(of(docs, "NodePool")["tidegate-h100"])
    pool["spec"]["template"]["spec"]["ttlSecondsUntilExpired"] = 60
    assert found(pool) == ["unknown field ttlSecondsUntilExpired"]


def check_fits(pool: Document, docs: list[Document]) -> None:
    """Karpenter finds that a node of the pool would do for each GPU pod of the overlay, and for no other."""
    template = pool["spec"]["template"]
    for name, workload in workloads(docs).items():
        tolerated = {
            (t["key"], t["effect"]) for t in pod_of(workload).get("tolerations", []) if t["operator"] == "Exists"
        }
        tainted = {(t["key"], t["effect"]) for t in template["spec"]["taints"]}
        assert tainted and (tainted <= tolerated) == (name in on_gpus(docs))
    for workload in on_gpus(docs).values():
        # Karpenter assumes that nodes have no labels beyond those of the template.
        assert pod_of(workload)["nodeSelector"].items() <= template["metadata"]["labels"].items()


def check_drains(pool: Document, docs: list[Document]) -> None:
    """A node that has to go lets every worker finish and be replaced, one after another."""
    spec = pool["spec"]["template"]["spec"]
    (counts,) = (r["values"] for r in spec["requirements"] if r["key"] == "karpenter.k8s.aws/instance-gpu-count")
    longest = max(pod_of(w)["terminationGracePeriodSeconds"] for w in on_gpus(docs).values())
    one = longest + longest_cold_start_s()
    assert seconds(spec["terminationGracePeriod"]) >= max(map(int, counts)) * one
    assert seconds(spec["expireAfter"]) >= 24 * 3600


def check_disruption(pool: Document) -> None:
    """Empty nodes go, but not while an image is on its way; only a new machine image moves a worker, at night."""
    disruption = pool["spec"]["disruption"]
    assert disruption["consolidationPolicy"] == "WhenEmpty"
    assert seconds(disruption["consolidateAfter"]) > longest_cold_start_s()
    budgets = {reason: [b for b in disruption["budgets"] if reason in b["reasons"]] for reason in ("Empty", "Drifted")}
    assert [(b["nodes"], "schedule" in b) for b in budgets["Empty"]] == [("100%", False)]
    always, busy = budgets["Drifted"]
    assert always["nodes"] == "1" and "schedule" not in always
    hour = int(re.fullmatch(r"0 (\d+) \* \* \*", busy["schedule"]).group(1))  # type: ignore[union-attr]
    # Some hours allow drift: otherwise a node would get patches by expiry only, which ignores budgets.
    assert busy["nodes"] == "0" and hour <= 8 and 8 <= seconds(busy["duration"]) / 3600 <= 20


def check_budget(pool: Document, docs: list[Document]) -> None:
    """Assert the limit of GPUs: what KEDA may request, so that a mistake in a trigger can't cost more than planned."""
    scaled = [s for s in of(docs, "ScaledObject").values() if s["spec"]["scaleTargetRef"]["name"] in on_gpus(docs)]
    most = sum(
        s["spec"]["maxReplicaCount"] * int(requests_of(on_gpus(docs)[s["spec"]["scaleTargetRef"]["name"]])[GPU])
        for s in scaled
    )
    assert int(pool["spec"]["limits"][GPU]) == most + on_gpus(docs)["tidegate-placeholder"]["spec"]["replicas"]


POOLS = sorted(
    p.stem for p in (NODES / "karpenter").glob("*.yaml") if "NodePool" in p.read_text() and p.stem != "kustomization"
)


@pytest.mark.parametrize("profile", POOLS)
def test_a_pool_of_nodes_is_for_the_overlay_of_its_name(profile: str) -> None:
    docs = build(NODES / "karpenter")
    pool = of(docs, "NodePool")[f"tidegate-{profile}"]
    reference = pool["spec"]["template"]["spec"]["nodeClassRef"]
    assert reference["name"] in of(docs, reference["kind"])
    for form in ("", "/demand"):
        needed = build(OVERLAYS / f"{profile}{form}")
        check_fits(pool, needed)
        check_drains(pool, needed)
        check_budget(pool, needed)
    check_disruption(pool)


def changed(pool: Document, change: Callable[[Document], None]) -> Document:
    broken = copy.deepcopy(pool)
    change(broken["spec"])
    return broken


def test_a_pool_that_breaks_a_rule_is_found() -> None:
    pool, docs = of(build(NODES / "karpenter"), "NodePool")["tidegate-h100"], build(OVERLAYS / "h100/demand")
    taint = {"key": "dedicated", "effect": "NoSchedule"}
    wrong: list[tuple[Callable[[Document], None], Callable[[Document], None]]] = [
        (lambda s: s["template"]["metadata"]["labels"].update({PRODUCT: "NVIDIA-L40S"}), lambda p: check_fits(p, docs)),
        (lambda s: s["template"]["spec"]["taints"].append(taint), lambda p: check_fits(p, docs)),
        (lambda s: s["template"]["spec"].update(taints=[]), lambda p: check_fits(p, docs)),
        (lambda s: s["template"]["spec"].update(terminationGracePeriod="3m"), lambda p: check_drains(p, docs)),
        (lambda s: s["template"]["spec"].update(expireAfter="1h"), lambda p: check_drains(p, docs)),
        (lambda s: s["limits"].update({GPU: "250"}), lambda p: check_budget(p, docs)),
        (lambda s: s["disruption"].update(consolidateAfter="1m"), check_disruption),
        (lambda s: s["disruption"].update(consolidationPolicy="WhenEmptyOrUnderutilized"), check_disruption),
        (lambda s: s["disruption"]["budgets"][2].update(duration="1h"), check_disruption),
        (lambda s: s["disruption"]["budgets"][0].update(nodes="0"), check_disruption),
    ]
    for change, check in wrong:
        check(pool)
        with pytest.raises(AssertionError):
            check(changed(pool, change))


def test_no_pod_blocks_the_removal_of_its_node() -> None:
    """A drain loses nothing, and a node that may never go gets no patches."""
    for form in FORMS:
        assert "do-not-disrupt" not in json.dumps(build(OVERLAYS / form))


# ---- warm headroom


# The fields of CapacityBuffer v1beta1 in the sources of cluster-autoscaler.
BUFFER_FIELDS = {"provisioningStrategy", "podTemplateRef", "scalableRef", "replicas", "percentage", "limits"}


@pytest.mark.parametrize("form", FORMS)
def test_a_capacity_buffer_replaces_the_placeholder(form: str, tmp_path: Path) -> None:
    docs = overlay(tmp_path, form, "nodes/capacity-buffer")
    check_builtin_kinds(docs)
    before = build(OVERLAYS / form)
    (buffer,) = [d for d in docs if d["kind"] == "CapacityBuffer"]
    assert [d for d in docs if d is not buffer] == [
        d for d in before if d["metadata"]["name"] != "tidegate-placeholder"
    ]
    assert buffer["metadata"]["namespace"] == "tidegate" and set(buffer["spec"]) <= BUFFER_FIELDS
    reference = buffer["spec"]["scalableRef"]
    assert (reference["apiGroup"], reference["kind"]) == ("apps", "Deployment")
    # The buffer reserves as much as the placeholder: the same replicas of the requests of a cv worker.
    assert reference["name"] in of(docs, "Deployment")
    placeholder = of(before, "Deployment")["tidegate-placeholder"]
    assert buffer["spec"]["replicas"] == placeholder["spec"]["replicas"]


# ---- parts of GPUs


def check_share(docs: list[Document], resource: str) -> None:
    """cv, embed and the placeholder take one part each, and vlm a whole GPU."""
    deployments = of(docs, "Deployment")
    for name in ("cv", "embed", "placeholder"):
        assert requests_of(deployments[f"tidegate-{name}"]) == {resource: "1"}
        limits = container_of(deployments[f"tidegate-{name}"])["resources"]["limits"]
        assert limits[resource] == "1" and GPU not in limits
    assert requests_of(deployments["tidegate-vlm"]) == {GPU: "1"}
    check_placeholder(docs)
    for workload in on_gpus(docs).values():
        check_pod(workload)


@pytest.mark.parametrize("form", FORMS)
def test_a_seventh_of_a_gpu_is_a_component_of_either_form(form: str, tmp_path: Path) -> None:
    docs = overlay(tmp_path, form, "nodes/mig")
    check_builtin_kinds(docs)
    check_share(docs, "nvidia.com/mig-1g.10gb")
    (tmp_path / "password").write_text("p")
    cv = of(docs, "Deployment")["tidegate-cv"]
    given = settings.load(CvSettings, variables(cv, tmp_path / "password"))
    assert given.num_gpus == 1 and given.cv_threads == int(container_of(cv)["resources"]["requests"]["cpu"])
    broken = copy.deepcopy(docs)
    container_of(of(broken, "Deployment")["tidegate-vlm"])["resources"]["requests"]["nvidia.com/mig-1g.10gb"] = "1"
    with pytest.raises(AssertionError):
        check_share(broken, "nvidia.com/mig-1g.10gb")


def patches_of_the_guide(form: str) -> list[Document]:
    """Those that it shows for the rate of a seventh."""
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    found = [yaml.safe_load(b) for b in blocks if "segments-per-second" in b]
    (patches,) = (p for p in found if ("/spec/triggers/0/metadata/url" in p[0]["patch"]) == form.endswith("/demand"))
    assert isinstance(patches, list)
    return patches


@pytest.mark.parametrize("form", FORMS)
def test_the_guide_s_thresholds_for_a_seventh_are_those_of_its_rate(form: str, tmp_path: Path) -> None:
    docs = overlay(tmp_path, form, "nodes/mig", patches=patches_of_the_guide(form))
    scaled = of(docs, "ScaledObject")["tidegate-cv"]
    check_thresholds(scaled)
    given = scaled["metadata"]["annotations"]
    (tmp_path / "password").write_text("p")
    cv = settings.load(CvSettings, variables(of(docs, "Deployment")["tidegate-cv"], tmp_path / "password"))
    assert float(given[RATE]) == 300 // 7
    assert not lag_threshold(
        float(given[RATE]), float(given[LATENCY]), max_in_flight=cv.worker().hold
    ).is_bounded_by_in_flight
    # Decoding 1080p25 took 0.078 of a core a segment.
    assert cv.cv_threads >= float(given[RATE]) * 0.078


def check_sharing(config: Document, docs: list[Document]) -> None:
    """A shared GPU is another resource, so a pod that requests a whole GPU never gets a share."""
    (text,) = config["data"].values()
    sharing = yaml.safe_load(text)["sharing"]["timeSlicing"]
    assert sharing["renameByDefault"] and sharing["failRequestsGreaterThanOne"]
    (shared,) = sharing["resources"]
    assert shared == {"name": GPU, "replicas": 2}
    check_share(docs, f"{shared['name']}.shared")


@pytest.mark.parametrize("form", FORMS)
def test_time_slicing_of_a_gpu_is_a_component_of_either_form(form: str, tmp_path: Path) -> None:
    docs = overlay(tmp_path, form, "nodes/time-slicing")
    plugin = build(NODES / "time-slicing/plugin")
    check_builtin_kinds([*docs, *plugin])
    check_sharing(plugin[0], docs)
    broken = copy.deepcopy(plugin[0])
    broken["data"]["shared"] = broken["data"]["shared"].replace("renameByDefault: true", "renameByDefault: false")
    with pytest.raises(AssertionError):
        check_sharing(broken, docs)


# ---- images and weights


def images_of(docs: list[Document]) -> set[str]:
    pods = [pod_of(w) for name, w in on_gpus(docs).items() if name != "tidegate-placeholder"]
    return {c["image"] for pod in pods for c in (*pod.get("initContainers", []), *pod["containers"])}


def check_preload(docs: list[Document]) -> None:
    """Assert that it pulls exactly the images of workers, on every node, and takes none of their resources."""
    daemons = of(docs, "DaemonSet")["tidegate-images"]
    pod = pod_of(daemons)
    assert {c["image"] for c in pod["initContainers"]} == images_of(docs)
    assert all(c["command"] == ["true"] for c in pod["initContainers"])
    assert requests_of(daemons) == {}
    check_pod(daemons)
    check_confined(pod)
    for workload in on_gpus(docs).values():
        assert pod["tolerations"] == pod_of(workload)["tolerations"]
        (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert {e["key"] for e in term["matchExpressions"]} <= set(pod_of(workload)["nodeSelector"])
    us = Peer(labels=daemons["spec"]["template"]["metadata"]["labels"])
    policies = Policies(docs)
    assert policies.isolates(us, "Egress") and policies.isolates(us, "Ingress")
    assert not policies.sends(us, Peer(address="203.0.113.5"), 443)
    assert not policies.sends(us, Peer(labels={"app.kubernetes.io/name": "nats"}), 4222)


@pytest.mark.parametrize("form", FORMS)
def test_the_workers_images_are_pulled_ahead(form: str, tmp_path: Path) -> None:
    vllm = {"name": "vllm/vllm-openai", "newTag": "v0.32.0"}
    docs = overlay(tmp_path, form, "nodes/preload", images=[*IMAGES, vllm])
    check_builtin_kinds(docs)
    check_preload(docs)
    stale, greedy = copy.deepcopy(docs), copy.deepcopy(docs)
    pod_of(of(stale, "DaemonSet")["tidegate-images"])["initContainers"][0]["image"] = "tidegate:0.1.0"
    pod_of(of(greedy, "DaemonSet")["tidegate-images"])["containers"][0]["resources"]["requests"][GPU] = "1"
    for broken in (stale, greedy):
        with pytest.raises(AssertionError):
            check_preload(broken)


def check_weights(docs: list[Document], reference: str) -> None:
    """Each pod with a model finds it in the image, requests nothing from the hub, and could not reach it."""
    policies = Policies(docs)
    models = 0
    for workload in workloads(docs).values():
        pod = pod_of(workload)
        labels = workload["spec"]["template"]["metadata"]["labels"]
        if labels["app.kubernetes.io/component"] != "ingest":
            assert not policies.sends(Peer(labels=labels), Peer(address="203.0.113.5"), 443)
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            if "models" in {m["name"] for m in container.get("volumeMounts", [])}:
                (volume,) = (v for v in pod["volumes"] if v["name"] == "models")
                assert volume == {"name": "models", "image": {"reference": reference, "pullPolicy": "IfNotPresent"}}
                assert {"name": "HF_HUB_OFFLINE", "value": "1"} in container["env"]
                models += 1
    assert models == 4


@pytest.mark.parametrize("form", FORMS)
def test_weights_from_an_image_are_a_component_of_either_form(form: str, tmp_path: Path) -> None:
    docs = overlay(tmp_path, form, "nodes/weights")
    newest = kubernetes_validate.latest_version()
    ours = [d for d in docs if not d["apiVersion"].startswith("keda.sh/")]
    for d in ours:
        kubernetes_validate.validate(d, newest, strict=True)
    # An older API server knows no such volume: a strict one refuses it.
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(of(docs, "Deployment")["tidegate-cv"], "1.29", strict=True)
    check_weights(docs, f"tidegate-weights:{VERSION}")
    online = copy.deepcopy(docs)
    container_of(of(online, "Deployment")["tidegate-cv"])["env"].pop()
    fetched = copy.deepcopy(docs)
    pod_of(of(fetched, "Deployment")["tidegate-vlm"])["volumes"] = [{"name": "models", "emptyDir": {}}]
    for broken in (online, fetched, [*docs, of(build(OVERLAYS / form), "NetworkPolicy")["tidegate-models"]]):
        with pytest.raises(AssertionError):
            check_weights(broken, f"tidegate-weights:{VERSION}")


def test_the_guide_shows_a_custom_image_of_weights(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n([^`]*volumes: \[[^`]*)```", GUIDE.read_text())
    docs = overlay(tmp_path, "h100/demand", "nodes/weights", patches=yaml.safe_load(block))
    check_weights(docs, "registry.example.org/weights:1")


def test_the_components_for_nodes_work_together(tmp_path: Path) -> None:
    components = ["nodes/mig", "nodes/capacity-buffer", "nodes/preload", "nodes/weights", "kubernetes/parts"]
    docs = overlay(tmp_path, "h100/demand", *components)
    for kind, name in (
        ("Deployment", "tidegate-cv"),
        ("CapacityBuffer", "tidegate-cv"),
        ("DaemonSet", "tidegate-images"),
    ):
        assert of(docs, kind)[name]["metadata"]["annotations"]["tidegate.dev/part"] == "services"
