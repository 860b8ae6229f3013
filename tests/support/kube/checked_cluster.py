"""A cluster as `tidegate cluster check` finds it: a page of an API server, its NATS servers, and one check."""

from __future__ import annotations

import asyncio
import functools
import json
import os
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
from tests.support.kube.kube_controllers import act, set_condition
from tests.support.servers.own_server import OwnServer, accounts
from tidegate.commands import tidegate as command_line

NS = "tidegate"


class Cluster(NamedTuple):
    """Everything that a new user has after the first two commands, and the applied overlay."""

    api: KubeApi
    overlay: Path
    folder: Path


def run(api: KubeApi, *command: str) -> subprocess.CompletedProcess[str]:
    """Run it as a user with an empty home."""
    environment = os.environ | api.environment | {"HOME": str(Path(api.environment["KUBECONFIG"]).parent)}
    environment.pop("COLUMNS", None)
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def tidegate(api: KubeApi, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(api, sys.executable, "-m", "tidegate", *arguments)


def check(cluster: Cluster, *arguments: str) -> tuple[int, list[list[str]]]:
    """The exit status, and each line's fields: level, what, found, remedy. It runs in this process to save time."""
    environment = cluster.api.environment | {"HOME": str(cluster.folder)}
    done = CliRunner().invoke(command_line, ["cluster", "check", *arguments], env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, [line.split("\t") for line in done.stdout.splitlines()]


def schema(document: Document) -> str | None:
    """The validation error of Kubernetes for one of its own kinds; KEDA's are validated elsewhere."""
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
    """The report of a real server about the streams of `tidegate setup`."""
    folder = tmp_path_factory.mktemp("server")
    accounts(folder)
    page = asyncio.run(_streams(folder))
    for stream in page["account_details"][0]["stream_detail"]:
        stream["config"]["num_replicas"] = 3
    return page


def three_commands(api: KubeApi, folder: Path, jsz: Document, *components: str, tls: bool = False) -> Cluster:
    """Run `cluster init` and both `kubectl apply` of the README; then controllers act, and the cluster is sound."""
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
    """Change the streams in the report of every server of NATS."""

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
    """Change the report of every server of NATS about itself."""

    def everywhere(api: KubeApi) -> None:
        for page in (page for path, page in api.pages.items() if path.endswith("/varz")):
            page.update(settings)

    return everywhere


def no_nats(api: KubeApi) -> None:
    for path in [p for p in api.pages if p.endswith(("/jsz", "/varz"))]:
        api.pages[path] = "error trying to reach service: dial tcp 10.0.0.7:8222: i/o timeout"


def metrics_of(*left: int) -> Callable[[Document], None]:
    """An HPA that KEDA created while the other triggers did not answer."""

    def act(hpa: Document) -> None:
        hpa["spec"]["metrics"] = [hpa["spec"]["metrics"][i] for i in left]

    return act


def down(name: str) -> Callable[[KubeApi], None]:
    return lambda api: set_condition(api.get("Pod", name), "Ready", "False")


def several(*acts: Callable[[KubeApi], None]) -> Callable[[KubeApi], None]:
    return lambda api: [act(api) for act in acts] and None
