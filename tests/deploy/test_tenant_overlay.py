"""A second tenant's overlay of `deploy/`: its own namespace, users, account and scaling, on the first one's NATS."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import shutil
import subprocess
import textwrap
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared import bus
from shared.contract import names
from shared.contract.catalog import services
from shared.runtime.errors import BusError
from shared.runtime.settings import BusSettings
from tests.support.kube.deploy_checks import (
    check_builtin_kinds,
    check_pod,
    check_pod_speaks_tls,
    check_thresholds,
    check_triggers,
    keda_problems,
    our_own_reading,
)
from tests.support.kube.deploy_checks import keda_schema as keda_schema
from tests.support.kube.deploy_manifests import (
    DEPLOY,
    IMAGES,
    OVERLAYS,
    VERSION,
    build,
    component_of,
    container_of,
    of,
    secret_names,
    workloads,
)
from tests.support.kube.network_policies import NATS, check, peer
from tests.support.servers.own_server import OwnServer, accounts
from tests.support.waiting import patience_s
from tidegate.cluster.policies import Peer, Policies

Document = dict[str, Any]

pytestmark = [pytest.mark.foreign, pytest.mark.xdist_group("deploy")]

README = (DEPLOY / "README.md").read_text()
TENANT = OVERLAYS / "tenant"
FORMS = ["", "/demand"]
COMPONENTS = [
    "kubernetes/site",
    "kubernetes/webhook",
    "kubernetes/console",
    "kubernetes/recorder",
    "kubernetes/pictures",
    "kubernetes/camera-ca",
    "kubernetes/tls",
]


def rendered(form: str) -> list[Document]:
    return build(Path(f"{TENANT}{form}"))


def copied(folder: Path, form: str, *components: str) -> list[Document]:
    """A copy of the overlay for another tenant, with components before its own."""
    deploy = folder / "deploy"
    shutil.copytree(DEPLOY, deploy)
    mine = deploy / "kubernetes/overlays/globex"
    shutil.copytree(deploy / "kubernetes/overlays/tenant", mine)
    both = mine / "tenant/kustomization.yaml"
    both.write_text(both.read_text().replace("namespace: acme", "namespace: globex").replace("ACME", "GLOBEX"))
    file = Path(f"{mine}{form}/kustomization.yaml")
    content = yaml.safe_load(file.read_text())
    content["components"] = [os.path.relpath(deploy / c, file.parent) for c in components] + content["components"]
    content["images"] = IMAGES
    file.write_text(yaml.safe_dump(content))
    return build(file.parent)


def user_of(workload: Document) -> str:
    (user,) = (e["value"] for e in container_of(workload)["env"] if e["name"] == "NATS_USER")
    return str(user)


def check_tenant(docs: list[Document], namespace: str, account: str) -> None:
    """Assert that all is in its namespace, connects as its users, and counts in its account."""
    check_builtin_kinds(docs)
    assert list(of(docs, "Namespace")) == [namespace]
    assert of(docs, "Namespace")[namespace]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {d["metadata"]["namespace"] for d in docs if d["kind"] != "Namespace"} == {namespace}
    assert of(docs, "ConfigMap")["tidegate-nats"]["data"]["account"] == account
    for workload in workloads(docs).values():
        check_pod(workload)
        user = user_of(workload).removeprefix(f"{account}-")
        assert user_of(workload) != user
        assert f"tidegate-nats-{user}" in set(secret_names(workload))
    for scaled in of(docs, "ScaledObject").values():
        our_own_reading(scaled)
        check_thresholds(scaled)
        check_triggers(scaled, docs)
    # They reference only NATS in the first tenant's namespace: its address, and the route to it.
    existing = (of(docs, "ConfigMap")["tidegate-nats"], of(docs, "NetworkPolicy")["tidegate"])
    others = yaml.safe_dump([d for d in docs if d not in existing])
    assert "tidegate.svc" not in others and "metadata.name: tidegate" not in others


@pytest.mark.parametrize("form", FORMS)
def test_a_tenant_s_overlay_is_valid(form: str, keda_schema: Path) -> None:
    docs = rendered(form)
    check_tenant(docs, "acme", "ACME")
    assert set(keda_problems(keda_schema, docs)) == {None}
    first = build(OVERLAYS / f"h100{form}")
    assert set(of(docs, "ScaledObject")) == set(of(first, "ScaledObject"))
    # No cluster-wide object is in both overlays: deleting one overlay would delete the other's object.
    named = [
        {(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in each} for each in (docs, first)
    ]
    assert named[0] & named[1] == set()


@pytest.mark.parametrize("form", FORMS)
def test_a_copy_for_another_tenant_takes_all_components(form: str, tmp_path: Path, keda_schema: Path) -> None:
    docs = copied(tmp_path, form, *COMPONENTS, *["keda/demand/mtls"] * bool(form))
    check_tenant(docs, "globex", "GLOBEX")
    assert set(keda_problems(keda_schema, docs)) == {None}
    without = set() if form else {"scaler"}
    assert {component_of(w) for w in workloads(docs).values()} == {s.name for s in services()} - without
    for name, workload in workloads(docs).items():
        check_pod_speaks_tls(name, workload)
        assert container_of(workload)["image"] in (f"tidegate:{VERSION}", f"tidegate-small:{VERSION}")
    assert of(docs, "ConfigMap")["tidegate-nats"]["data"]["url"] == "tls://nats.tidegate.svc.cluster.local:4222"


@pytest.mark.parametrize("form", FORMS)
def test_pods_of_a_tenant_reach_nats_and_no_pods_of_others(form: str, tmp_path: Path) -> None:
    docs, first = copied(tmp_path, form, *COMPONENTS), build(OVERLAYS / f"h100{form}")
    check(docs, added=True, scaler=bool(form))
    policies = Policies([*docs, *first])
    labels = of(docs, "Namespace")["globex"]["metadata"]["labels"]
    ours = [dataclasses.replace(peer(w), namespace_labels=labels) for w in workloads(docs).values()]
    theirs = [peer(w) for name, w in workloads(first).items() if name != "tidegate-placeholder"]
    assert all(policies.sends(pod, NATS, 4222) and policies.takes(NATS, pod, 4222) for pod in ours)
    for port in (8222, 6222, 7777, 8080, 7422):
        assert [pod for pod in ours if policies.takes(NATS, pod, port)] == []
    for one, another in [(a, b) for a in ours for b in theirs] + [(b, a) for a in ours for b in theirs]:
        assert [p for p in (9102, 9090, 8000, 4222) if policies.sends(one, another, p)] == []
        assert [p for p in (9102, 9090, 8000, 4222) if policies.takes(another, one, p)] == []
    # A service called NATS in the tenant's namespace does not pass for it.
    assert not any(policies.sends(pod, Peer(namespace="globex", labels=NATS.labels), 4222) for pod in ours)


def secrets_by_the_readme(folder: Path) -> dict[str, str]:
    """Run the README's commands for the tenant's Secrets; the file that each is made of."""
    (block,) = re.findall(r"```\n([^`]*generic tidegate-nats-\$identity -[^`]*ACME[^`]*)```", README)
    reply = subprocess.run(
        ["bash", "-euc", 'kubectl() { printf "%s\\n" "$*"; }\n' + textwrap.dedent(block)],
        cwd=folder, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert set(re.findall(r"^-n (\S+) create secret", reply, re.MULTILINE)) == {"acme"}
    return dict(re.findall(r"generic (\S+) --from-file=password=(\S+)", reply))


async def test_a_tenant_s_pods_and_keda_find_their_streams_on_a_real_server(tmp_path: Path) -> None:
    accounts(tmp_path)
    accounts(tmp_path, "--tenant", "ACME", "--max-store", "100GB")
    docs = rendered("/demand")
    secrets = secrets_by_the_readme(tmp_path)
    async with OwnServer(tmp_path, monitored=True) as server:
        for admin in ("admin", "ACME-admin"):
            done = await server.tidegate("setup", user=admin)
            assert done.returncode == 0, done.stderr
        for workload in workloads(docs).values():
            (secret,) = (n for n in secret_names(workload) if n.startswith("tidegate-nats-"))
            password = (tmp_path / secrets[secret]).read_text()
            identity = user_of(workload).removeprefix("ACME-")
            at = BusSettings(nats_url=server.url, nats_user=user_of(workload), nats_password=password)
            await (await bus.connect(at, identity)).close()
            # The first tenant's user of that name has another password.
            with pytest.raises(BusError, match="refuses user"):
                at = BusSettings(nats_url=server.url, nats_user=identity, nats_password=password)
                await bus.connect(at, identity)
        ingest = await bus.connect(server.settings("ACME-ingest"), "ingest")
        head = {"Nats-Msg-Id": "lobby/e/1"}
        await bus.publish(ingest, ingest.jetstream(), names.media("lobby"), b"video", head)
        await ingest.close()
        counted = await keda_queries(server, docs)
        put_off = [(names.BACKFILL, names.backfilling(service)) for service in ("cv", "embed")]
        waiting = {("MEDIA", "cv"): 1, ("MEDIA", "embed"): 1}
        assert counted == {**waiting, **dict.fromkeys([*names.VLM_WORK, *put_off], 0)}
        first = await keda_queries(server, build(OVERLAYS / "h100/demand"))
        assert first == dict.fromkeys(counted, 0)


async def keda_queries(server: OwnServer, docs: list[Document]) -> dict[tuple[str, str], int]:
    """Return KEDA's count for each trigger on a consumer, by the account that its authentication names."""
    config = of(docs, "ConfigMap")["tidegate-nats"]["data"]
    given = of(docs, "TriggerAuthentication")["tidegate-nats"]["spec"]["configMapTargetRef"]
    account = {e["parameter"]: config[e["key"]] for e in given}["account"]
    url = f"http://127.0.0.1:{server.monitoring}/jsz?acc={account}&consumers=true&config=true"
    page = json.loads(await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=patience_s()).read()))
    (details,) = page["account_details"]
    assert details["name"] == account
    pending = {
        (stream["name"], consumer["name"]): consumer["num_pending"] + consumer["num_ack_pending"]
        for stream in details["stream_detail"]
        for consumer in stream.get("consumer_detail", [])
    }
    triggers = [t for s in of(docs, "ScaledObject").values() for t in s["spec"]["triggers"]]
    lag = [t["metadata"] for t in triggers if t["type"] == "nats-jetstream"]
    return {(m["stream"], m["consumer"]): pending[m["stream"], m["consumer"]] for m in lag}
