"""The three commands, by a real kubectl against a page of an API server; each line of the check, failing and well."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from tests.support.kube.deploy_checks import schema_problem
from tests.support.kube.deploy_manifests import DEPLOY, PRODUCTS
from tests.support.kube.kube_api import Document, KubeApi
from tests.support.kube.kube_controllers import EXTERNAL, GPU, act, set_condition
from tests.support.servers.own_server import OwnServer, accounts
from tidegate.commands import tidegate as command_line

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(
        not shutil.which("kubectl"), reason="kubectl is not installed: apt-get install kubernetes-client"
    ),
    pytest.mark.xdist_group("cluster-check"),
]

NS = "tidegate"


class Cluster(NamedTuple):
    """All that a stranger has after the first two commands, and the overlay that was applied."""

    api: KubeApi
    overlay: Path
    folder: Path


def run(api: KubeApi, *command: str) -> subprocess.CompletedProcess[str]:
    """As a user runs it, whose home has nothing."""
    environment = os.environ | api.environment | {"HOME": str(Path(api.environment["KUBECONFIG"]).parent)}
    environment.pop("COLUMNS", None)
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def tidegate(api: KubeApi, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(api, sys.executable, "-m", "tidegate", *arguments)


def check(cluster: Cluster, *arguments: str) -> tuple[int, list[list[str]]]:
    """The exit status, and each line's fields: level, what, found, remedy. In this process, which has started."""
    environment = cluster.api.environment | {"HOME": str(cluster.folder)}
    done = CliRunner().invoke(command_line, ["cluster", "check", *arguments], env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, [line.split("\t") for line in done.stdout.splitlines()]


def schema(document: Document) -> str | None:
    """What Kubernetes says of one of its own kinds; KEDA's are validated elsewhere."""
    return None if "keda.sh" in document["apiVersion"] else schema_problem(json.dumps(document), "1.34")


async def _streams(folder: Path) -> Document:
    async with OwnServer(folder, monitored=True) as server:
        done = await server.tidegate("setup")
        assert done.returncode == 0, done.stderr
        query = "/jsz?acc=TIDEGATE&consumers=true&config=true"
        ask = functools.partial(urllib.request.urlopen, f"http://127.0.0.1:{server.monitoring}{query}")
        page: Document = json.loads((await asyncio.to_thread(ask)).read())
        return page


@pytest.fixture(scope="module")
def jsz(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """What a real server says of the streams that `tidegate setup` makes."""
    folder = tmp_path_factory.mktemp("server")
    accounts(folder)
    page = asyncio.run(_streams(folder))
    for stream in page["account_details"][0]["stream_detail"]:
        stream["config"]["num_replicas"] = 3
    return page


def three_commands(api: KubeApi, folder: Path, jsz: Document, *components: str, tls: bool = False) -> Cluster:
    """`cluster init` and both `kubectl apply`, as the README has them; then controllers have acted, and all is well."""
    overlay = folder / "overlay"
    overlay.mkdir()
    base, *used = (os.path.relpath(DEPLOY / p, overlay) for p in ("kubernetes/overlays/h100/demand", *components))
    (overlay / "kustomization.yaml").write_text(json.dumps({"resources": [base], "components": used}))
    for command in (
        (sys.executable, "-m", "tidegate", "cluster", "init", str(folder / "secrets"), *["--tls"] * tls),
        ("kubectl", "apply", "--server-side", "-k", str(folder / "secrets")),
        ("kubectl", "apply", "--server-side", "-k", str(overlay)),
    ):
        done = run(api, *command)
        assert done.returncode == 0, done.stderr
    act(api, PRODUCTS["h100"])
    for number in range(3):
        pod = f"{'https:' * tls}nats-{number}:8222"
        api.pages[f"/api/v1/namespaces/{NS}/pods/{pod}/proxy/jsz"] = json.loads(json.dumps(jsz))
        varz = {"server_name": f"nats-{number}", "max_pending": 16 * 2**20, "gomemlimit": 1840 * 2**20}
        api.pages[f"/api/v1/namespaces/{NS}/pods/{pod}/proxy/varz"] = varz
    return Cluster(api, overlay, folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, jsz: Document) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with KubeApi(folder, schema) as api:
        yield three_commands(api, folder, jsz, "kubernetes/nats")


@pytest.fixture
def cluster(whole: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """A copy, to break."""
    with KubeApi(tmp_path, schema) as api:
        api.clone(whole.api)
        yield Cluster(api, whole.overlay, tmp_path)


def test_a_cluster_in_which_all_is_well(whole: Cluster) -> None:
    status, lines = check(whole, str(whole.overlay))
    assert [line for line in lines if line[0] != "ok"] == [] and status == 0
    # Each line that fails below passes here, and none passes that nobody has seen fail.
    assert {line[1] for line in lines} >= {WELL.get(each.line, each.line) for each in FAULTS}
    assert {kind_of(line[1]) for line in lines} == {kind_of(WELL.get(each.line, each.line)) for each in FAULTS}
    # What Secrets hold was never asked for.
    assert whole.api.told == []


def test_a_cluster_with_tls_in_which_all_is_well_and_one_without_its_certificates(
    tmp_path: Path, jsz: Document
) -> None:
    with KubeApi(tmp_path, schema) as api:
        components = ("kubernetes/nats", "kubernetes/tls", "keda/demand/mtls")
        cluster = three_commands(api, tmp_path, jsz, *components, tls=True)
        status, lines = check(cluster, str(cluster.overlay))
        assert [line for line in lines if line[0] != "ok"] == [] and status == 0
        assert api.told == []
        for name in ("nats-tls", "tidegate-tls-cv", "tidegate-scaler-tls"):
            api.drop("Secret", name)
        found = {what: (level, remedy) for level, what, _, remedy in check(cluster)[1]}
        for name in ("nats-tls", "tidegate-tls-cv", "tidegate-scaler-tls"):
            level, remedy = found[f"Secret {name}"]
            assert level == "bad" and "tidegate cluster init DIR --tls" in remedy


def test_a_second_tenant_is_checked_in_its_namespace(cluster: Cluster) -> None:
    """Its streams are on the first one's servers."""
    tenant = DEPLOY / "kubernetes/overlays/tenant/demand"
    done = run(cluster.api, "kubectl", "apply", "--server-side", "-k", str(tenant))
    assert done.returncode == 0, done.stderr
    act(cluster.api, PRODUCTS["h100"], "acme")
    _, lines = check(cluster, "--namespace", "acme", str(tenant))
    bad = [line for line in lines if line[0] != "ok"]
    assert bad and all(line[1].startswith("Secret tidegate-nats-") for line in bad)
    for _, what, *_ in bad:
        meta = {"name": what.removeprefix("Secret "), "namespace": "acme"}
        cluster.api.put({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {}})
    status, lines = check(cluster, "--namespace", "acme", str(tenant))
    assert [line for line in lines if line[0] != "ok"] == [] and status == 0
    assert any(line[1] == "streams" and "24 streams" in line[2] for line in lines)
    no_nats(cluster.api)
    _, lines = check(cluster, "--namespace", "acme")
    assert ["kubectl -n tidegate port-forward" in line[3] for line in lines if line[1] == "streams"] == [True]


def change(kind: str, name: str, act: Callable[[Document], None]) -> Callable[[KubeApi], None]:
    return lambda api: act(api.get(kind, name, "keda" if name == "keda-operator" else NS))


def drop(kind: str, name: str) -> Callable[[KubeApi], None]:
    return lambda api: api.drop(kind, name)


def waits(name: str, reason: str, message: str = "", **more: object) -> Callable[[KubeApi], None]:
    """A Deployment's only pod waits for something."""

    def act(api: KubeApi) -> None:
        api.get("Deployment", name)["status"]["readyReplicas"] = 0
        pod = api.get("Pod", f"{name}-0")
        set_condition(pod, "Ready", "False")
        pod["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": reason, "message": message}}
        pod["status"]["containerStatuses"][0].update(more)

    return act


def unschedulable(api: KubeApi) -> None:
    api.get("Deployment", "tidegate-cv")["status"]["readyReplicas"] = 0
    pod = api.get("Pod", "tidegate-cv-0")
    pod["status"] = {"phase": "Pending"}
    set_condition(
        pod, "PodScheduled", "False", "Unschedulable", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    )


def nodes(act: Callable[[Document], object]) -> Callable[[KubeApi], None]:
    return lambda api: [act(node) for node in api.all("Node")] and None


def streams(act: Callable[[list[Document]], None]) -> Callable[[KubeApi], None]:
    """What every server of NATS says."""

    def everywhere(api: KubeApi) -> None:
        for path, page in api.pages.items():
            if path.endswith("/jsz"):
                act(page["account_details"][0]["stream_detail"])

    return everywhere


def without_consumer(found: list[Document]) -> None:
    media = next(s for s in found if s["name"] == "MEDIA")
    media["consumer_detail"] = [c for c in media["consumer_detail"] if c["name"] != "cv"]


def alone(found: list[Document]) -> None:
    found[0]["config"]["num_replicas"] = 1


def servers(**settings: int | None) -> Callable[[KubeApi], None]:
    """What every server of NATS says of itself, otherwise."""

    def everywhere(api: KubeApi) -> None:
        for page in (page for path, page in api.pages.items() if path.endswith("/varz")):
            page.update(settings)

    return everywhere


def no_nats(api: KubeApi) -> None:
    for path in [p for p in api.pages if p.endswith(("/jsz", "/varz"))]:
        api.pages[path] = "error trying to reach service: dial tcp 10.0.0.7:8222: i/o timeout"


def metrics_of(*left: int) -> Callable[[Document], None]:
    """An HPA that was made while the other triggers did not answer."""

    def act(hpa: Document) -> None:
        hpa["spec"]["metrics"] = [hpa["spec"]["metrics"][i] for i in left]

    return act


def no_answer(metric: str) -> Callable[[KubeApi], None]:
    def act(api: KubeApi) -> None:
        path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{NS}/{metric}"
        assert path in api.pages
        api.pages[path] = "rpc error: code = Unknown desc = error when getting metric values"

    return act


def policy(name: str, act: Callable[[Document], None]) -> Callable[[KubeApi], None]:
    return change("NetworkPolicy", name, lambda d: act(d["spec"]))


def down(name: str) -> Callable[[KubeApi], None]:
    return lambda api: set_condition(api.get("Pod", name), "Ready", "False")


def several(*acts: Callable[[KubeApi], None]) -> Callable[[KubeApi], None]:
    return lambda api: [act(api) for act in acts] and None


class Fault(NamedTuple):
    """line: whose. says, remedy: what its words have in them."""

    line: str
    level: str
    act: Callable[[KubeApi], None]
    says: str
    remedy: str


def lists(kind: str) -> Callable[[KubeApi], None]:
    return lambda api: api.refuses.add(kind)


def old(api: KubeApi) -> None:
    api.version = "v1.28.9"


def no_keda(api: KubeApi) -> None:
    api.lacks |= {"ScaledObject", "TriggerAuthentication"}
    api.drop("CustomResourceDefinition", "scaledobjects.keda.sh")


def elsewhere(api: KubeApi) -> None:
    operator = api.get("Deployment", "keda-operator", "keda")
    api.drop("Deployment", "keda-operator", "keda")
    operator["metadata"]["namespace"] = "autoscaling"
    api.put(operator)


def no_tolerance(definition: Document) -> None:
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    config = spec["advanced"]["properties"]["horizontalPodAutoscalerConfig"]["properties"]
    del config["behavior"]["properties"]["scaleUp"]["properties"]["tolerance"]


def failed_job(api: KubeApi) -> None:
    job = api.get("Job", "tidegate-setup-0-2-0")
    job["status"] = {}
    set_condition(job, "Failed", "True", "BackoffLimitExceeded", "Job has reached the specified backoff limit")


def no_pods(api: KubeApi) -> None:
    api.get("Deployment", "tidegate-scaler")["status"]["readyReplicas"] = 0
    for number in range(2):
        api.drop("Pod", f"tidegate-scaler-{number}")


def other_target(scaled: Document) -> None:
    asks = scaled["spec"]["triggers"][0]["metadata"]
    asks["url"] = asks["url"].replace("latencyTarget=2", "latencyTarget=5")


def pending_claim(api: KubeApi) -> None:
    api.get("PersistentVolumeClaim", "index-tidegate-search-0")["status"]["phase"] = "Pending"


CV, HPA = "tidegate-cv", "keda-hpa-tidegate-cv"
# The line that says so where all is well, if it is another.
WELL = {
    "objects": "network",
    "secrets": "Secrets",
    "Secret tidegate-nats-cv": "Secrets",
    "ConfigMap nats": "Secrets",
    "volume index-tidegate-search-0": "volumes",
    "ScaledObjects": f"ScaledObject {CV}",
    f"metric s0-metric-api-demand of {CV}": f"metrics of {CV}",
    "image tidegate:0.2.0": "images",
}


def kind_of(line: str) -> str:
    """A line for each of several objects counts once."""
    return re.sub(r"\b(keda-hpa-)?tidegate-.*|^nats$", "NAME", line)


FAULTS = (
    Fault("objects", "bad", lists("Pod"), 'cannot list resource "pods"', "may see"),
    Fault("KEDA's definitions", "bad", lists("CustomResourceDefinition"), "cannot list", "may see"),
    Fault("ScaledObjects", "bad", lists("ScaledObject"), "cannot list", "may see"),
    Fault("secrets", "note", lists("Secret"), 'cannot list resource "secrets"', "may see"),
    Fault("Kubernetes", "bad", old, "v1.28.9", "1.29"),
    Fault("KEDA's definitions", "bad", no_keda, "not found", "helm install keda"),
    Fault(
        "KEDA's definitions",
        "bad",
        change("CustomResourceDefinition", "scaledobjects.keda.sh", no_tolerance),
        "scaleUp.tolerance",
        "2.18",
    ),
    Fault("KEDA's operator", "bad", lambda api: api.drop("Deployment", "keda-operator", "keda"), "nowhere", "helm"),
    Fault("KEDA's operator", "bad", elsewhere, "namespace autoscaling", "policies nats and tidegate-scaler"),
    Fault(
        "KEDA's operator",
        "bad",
        change("Deployment", "keda-operator", lambda d: d["status"].update(readyReplicas=0)),
        "0 of 1 ready",
        "logs deployment/keda-operator",
    ),
    Fault("external metrics", "bad", drop("APIService", EXTERNAL), "no APIService", "install KEDA"),
    Fault(
        "external metrics",
        "bad",
        change("APIService", EXTERNAL, lambda d: d["spec"]["service"].update(name="datadog", namespace="dd")),
        "dd/datadog serves them",
        "take the other adapter's away",
    ),
    Fault(
        "external metrics",
        "bad",
        change(
            "APIService", EXTERNAL, lambda d: set_condition(d, "Available", "False", "MissingEndpoints", "no endpoints")
        ),
        "no endpoints",
        "kubectl -n keda get pods",
    ),
    Fault(
        "overlay", "bad", drop("Deployment", "tidegate-analytics"), "Deployment tidegate-analytics", "kubectl apply -k"
    ),
    Fault(
        "Secret tidegate-nats-cv",
        "bad",
        drop("Secret", "tidegate-nats-cv"),
        "tidegate-cv waits for it",
        "tidegate cluster init",
    ),
    Fault("ConfigMap nats", "bad", drop("ConfigMap", "nats"), "nats waits for it", "apply the overlay"),
    Fault("NATS memory", "bad", servers(max_pending=64 * 2**20), "nats-0 has 1.8 GB", "max_pending to 16MB"),
    Fault("NATS memory", "note", servers(gomemlimit=None), "nats-1 has no GOMEMLIMIT", "nine tenths"),
    Fault("volume index-tidegate-search-0", "bad", pending_claim, "Pending", "StorageClass"),
    Fault(
        "setup",
        "bad",
        change("Job", "tidegate-setup-0-2-0", lambda d: d["status"].update(conditions=[])),
        "has not ended",
        "logs job/tidegate-setup-0-2-0",
    ),
    Fault(
        "setup",
        "bad",
        failed_job,
        "backoff limit",
        "kubectl delete job",
    ),
    Fault("setup", "note", drop("Job", "tidegate-setup-0-2-0"), "no Job", "apply the overlay"),
    Fault("NATS", "note", down("nats-0"), "2 of 3 servers ready", "get pods"),
    Fault("NATS", "bad", several(down("nats-0"), down("nats-1")), "1 of 3 servers ready", "describe pods"),
    Fault("NATS", "bad", drop("Service", "nats"), "no Service nats", "component kubernetes/nats"),
    Fault("streams", "bad", streams(without_consumer), "consumer cv of MEDIA", "delete job"),
    Fault("streams", "bad", streams(lambda found: found.clear()), "stream MEDIA", "delete job"),
    Fault("streams", "note", streams(alone), "on one server alone", "STREAM_REPLICAS=3"),
    Fault("streams", "note", no_nats, "i/o timeout", "port-forward"),
    Fault("ScaledObjects", "bad", no_keda, "doesn't have a resource type", "install KEDA"),
    Fault(
        "ScaledObjects",
        "bad",
        lambda api: [api.drop("ScaledObject", d["metadata"]["name"]) for d in api.all("ScaledObject")] and None,
        "nothing scales",
        "overlay",
    ),
    Fault(
        f"ScaledObject {CV}",
        "bad",
        change(
            "ScaledObject", CV, lambda d: set_condition(d, "Ready", "False", "ScaledObjectCheckFailed", "no such host")
        ),
        "no such host",
        "describe scaledobject",
    ),
    Fault(
        f"ScaledObject {CV}",
        "bad",
        change("ScaledObject", CV, lambda d: d.pop("status")),
        "has not looked at it yet",
        "describe scaledobject",
    ),
    Fault(
        f"ScaledObject {CV}",
        "bad",
        change("ScaledObject", CV, lambda d: set_condition(d, "Fallback", "True", "FallbackExists")),
        "fallback",
        "describe scaledobject",
    ),
    Fault(
        f"ScaledObject {CV}",
        "note",
        change(
            "ScaledObject", CV, lambda d: d["metadata"].update(annotations={"autoscaling.keda.sh/paused-replicas": "0"})
        ),
        "paused",
        "annotate scaledobject tidegate-cv autoscaling.keda.sh/paused-replicas-",
    ),
    Fault(
        f"quality of {CV}",
        "bad",
        change("ScaledObject", CV, lambda d: d["spec"]["triggers"].pop(0)),
        "CV_LATENCY_TARGET_S is 2, and the pending count alone scales it",
        "form /demand",
    ),
    Fault(
        f"quality of {CV}",
        "note",
        change("ScaledObject", CV, other_target),
        "asks for latencyTarget=5",
        "give both the same",
    ),
    Fault(f"ScaledObject {CV}", "bad", drop("Deployment", CV), "scales tidegate-cv, which is not there", "apply"),
    Fault(
        f"HPA {HPA}",
        "bad",
        change("HorizontalPodAutoscaler", HPA, metrics_of(1)),
        "does not ask for trigger 0 (metrics-api)",
        f"delete hpa {HPA}",
    ),
    Fault(
        f"HPA {HPA}",
        "bad",
        change("HorizontalPodAutoscaler", HPA, metrics_of(0)),
        "trigger 1 (nats-jetstream)",
        "delete hpa",
    ),
    Fault(f"HPA {HPA}", "bad", drop("HorizontalPodAutoscaler", HPA), "not there", "describe scaledobject"),
    Fault(
        f"HPA {HPA}",
        "bad",
        change(
            "HorizontalPodAutoscaler",
            HPA,
            lambda d: set_condition(d, "ScalingActive", "False", "FailedGetExternalMetric", "unable to get it"),
        ),
        "FailedGetExternalMetric: unable to get it",
        "metrics",
    ),
    Fault(
        f"metric s0-metric-api-demand of {CV}",
        "bad",
        no_answer("s0-metric-api-demand"),
        "error when getting",
        "keda logs",
    ),
    Fault(
        "GPUs for tidegate-cv",
        "bad",
        nodes(lambda n: n["metadata"]["labels"].update({"nvidia.com/gpu.product": "NVIDIA-L4"})),
        "nodes have NVIDIA-L4",
        "overlay of your GPU",
    ),
    Fault(
        "GPUs for tidegate-cv",
        "bad",
        nodes(lambda n: n["spec"]["taints"].append({"key": "team", "value": "b", "effect": "NoSchedule"})),
        "no node fits",
        "taints",
    ),
    Fault(
        "GPUs for tidegate-cv",
        "bad",
        nodes(lambda n: n["status"]["allocatable"].pop(GPU)),
        "offers no nvidia.com/gpu",
        "device plugin",
    ),
    Fault(
        "GPUs for tidegate-cv",
        "note",
        lambda api: [api.drop("Node", n["metadata"]["name"]) for n in api.all("Node")] and None,
        "no node offers",
        "autoscaler of nodes",
    ),
    Fault(
        "image tidegate:0.2.0",
        "bad",
        waits(CV, "ImagePullBackOff", "pull access denied"),
        "pull access denied",
        "overlay's images",
    ),
    Fault(
        "images",
        "note",
        change(
            "Deployment",
            "tidegate-scaler",
            lambda d: d["spec"]["template"]["spec"]["containers"][0].update(image="r.example.org/tidegate-small:0.1.0"),
        ),
        "0.1.0, 0.2.0",
        "one tag",
    ),
    Fault(CV, "bad", unschedulable, "Insufficient nvidia.com/gpu", "add a node"),
    Fault(
        CV,
        "bad",
        waits(CV, "CreateContainerConfigError", 'secret "tidegate-nats-cv" not found'),
        'secret "tidegate-nats-cv" not found',
        "describe pod tidegate-cv-0",
    ),
    Fault(
        CV,
        "bad",
        waits(CV, "CrashLoopBackOff", lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
        "137 (OOMKilled)",
        "--previous",
    ),
    Fault(
        CV,
        "bad",
        change("Deployment", CV, lambda d: d["status"].update(readyReplicas=0)),
        "its pods start, or wait",
        "logs deployment/tidegate-cv",
    ),
    Fault(
        "tidegate-scaler",
        "bad",
        no_pods,
        "it has no pod",
        "quota",
    ),
    Fault(
        "network",
        "bad",
        lambda api: [api.drop("NetworkPolicy", d["metadata"]["name"]) for d in api.all("NetworkPolicy")] and None,
        "any pod of the cluster may ask",
        "apply the overlay",
    ),
    Fault(
        "network",
        "bad",
        drop("NetworkPolicy", "tidegate-scaler"),
        "closed by policies: KEDA to the scaler",
        "apply the overlay",
    ),
    Fault(
        "network",
        "bad",
        policy("nats", lambda spec: spec["ingress"].append({"ports": [{"port": 8222}]})),
        "any pod of default to NATS' monitoring port",
        "what patches its policies",
    ),
    Fault(
        "network",
        "bad",
        policy("tidegate", lambda spec: spec.update(egress=[])),
        "tidegate-cv to NATS",
        "apply the overlay",
    ),
)


@pytest.mark.slow
@pytest.mark.long  # all of them take more than a minute of a core
@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.line}: {f.says}"[:70])
def test_a_fault_has_its_line_and_its_remedy(cluster: Cluster, fault: Fault) -> None:
    fault.act(cluster.api)
    status, lines = check(cluster, str(cluster.overlay))
    found = [line for line in lines if line[1] == fault.line and line[0] == fault.level]
    assert any(fault.says in line[2] and fault.remedy in line[3] for line in found), lines
    assert status == (1 if any(line[0] == "bad" for line in lines) else 0)
    assert fault.level == "note" or status == 1


def test_monitoring_asked_directly(cluster: Cluster, whole: Cluster) -> None:
    """Where the API server reaches no pod: through a port that the user forwards, which is a page of the same."""
    pages = [page for path, page in whole.api.pages.items() if path.endswith("/jsz")]
    no_nats(cluster.api)
    cluster.api.pages["/jsz"] = pages[0]
    _, lines = check(cluster, "--monitor", cluster.api.url)
    assert [line[0] for line in lines if line[1] == "streams"] == ["ok"]
    _, lines = check(cluster, "--monitor", "http://127.0.0.1:1")
    assert [(line[0], "does not answer" in line[2]) for line in lines if line[1] == "streams"] == [("note", True)]


def test_no_cluster_at_all_is_said_in_a_sentence(tmp_path: Path) -> None:
    with KubeApi(tmp_path) as api:
        pass
    done = tidegate(api, "cluster", "check")
    assert done.returncode == 1 and done.stdout == ""
    assert "kubectl config current-context" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
