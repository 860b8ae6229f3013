"""`tidegate cluster init`: every Secret that the manifests mount, by kustomize, and passwords that stay."""

from __future__ import annotations

import asyncio
import base64
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from shared.contract.rights.identities import permissions
from shared.contract.topology import TopologySettings, apply
from tests.support.kube.deploy_manifests import DEPLOY, SHIPPED, documents, of, pod_of, secret_names, workloads
from tests.support.servers.nats_pods import NatsPods, are_one, connected
from tidegate.commands import tidegate

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(not shutil.which("kustomize"), reason="kustomize is not installed: apt-get install kustomize"),
]


def init(folder: Path) -> str:
    done = CliRunner().invoke(tidegate, ["cluster", "init", str(folder)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def applied(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what `kubectl apply -k` of the folder would create, with decoded Secrets."""
    built = subprocess.run(["kustomize", "build", folder], capture_output=True, text=True, check=True).stdout
    docs = list(yaml.safe_load_all(built))
    (namespace,) = (d for d in docs if d["kind"] == "Namespace")
    assert namespace == documents((DEPLOY / "kubernetes/base/namespace.yaml").read_text())[0]
    secrets = of(docs, "Secret")
    assert {d["metadata"]["namespace"] for d in secrets.values()} == {"tidegate"}
    return {n: {k: base64.b64decode(v).decode() for k, v in d["data"].items()} for n, d in secrets.items()}


def test_every_mounted_secret_is_created_once(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert "20 passwords made" in init(folder)
    built = applied(folder)
    others = of(SHIPPED, "Job", "StatefulSet")
    mounted = {
        name
        for workload in (*workloads(SHIPPED).values(), *others.values())
        for volume in pod_of(workload).get("volumes", [])
        if not volume.get("secret", {}).get("optional")
        for name in secret_names([volume])
    }
    # The other Secret is for the user's endpoint.
    assert mounted - {"tidegate-webhook"} == set(built)
    for name, data in built.items():
        identity = name.removeprefix("tidegate-nats-")
        assert name == "nats-server" or (
            identity in permissions() and data["password"] == (folder / identity).read_text()
        )
    assert "0 passwords made" in init(folder)
    again = applied(folder)
    assert {n: d for n, d in again.items() if n != "nats-server"} == {
        n: d for n, d in built.items() if n != "nats-server"
    }
    assert again["nats-server"]["routes.conf"] == built["nats-server"]["routes.conf"]
    # Only a missing one is created.
    (folder / "search").unlink()
    assert "1 passwords made (search)" in init(folder)


def test_the_servers_form_a_cluster_and_a_foreign_one_does_not_join(tmp_path: Path) -> None:
    init(tmp_path / "secrets")
    server = applied(tmp_path / "secrets")["nats-server"]
    stateful = of(SHIPPED, "StatefulSet")["nats"]
    hosts = re.findall(r"@([a-z0-9.-]+):6222", server["routes.conf"])
    service = stateful["spec"]["serviceName"]
    count = stateful["spec"]["replicas"]
    assert hosts == [f"nats-{n}.{service}.tidegate.svc.cluster.local" for n in range(count)]
    assert service in of(SHIPPED, "Service")
    password = (tmp_path / "secrets/routes").read_text()
    assert f'password: "{password}"' in server["routes.conf"] and password not in server["accounts.conf"]


@pytest.mark.slow
async def test_three_servers_of_the_component_form_a_cluster(tmp_path: Path) -> None:
    init(tmp_path / "secrets")
    config = of(SHIPPED, "ConfigMap")["nats"]["data"]
    assert next(iter(config)) == "nats.conf"
    servers = NatsPods(tmp_path, tmp_path / "secrets", {f"nats/{name}": text for name, text in config.items()})
    try:
        await are_one(servers)
    finally:
        servers.stop()


@pytest.mark.slow
async def test_setup_waits_for_servers_without_a_leader(tmp_path: Path) -> None:
    """Servers without a leader drop requests."""
    init(tmp_path / "secrets")
    config = of(SHIPPED, "ConfigMap")["nats"]["data"]
    servers = NatsPods(tmp_path, tmp_path / "secrets", {f"nats/{name}": text for name, text in config.items()})
    try:
        servers.start(0)
        async with connected(servers.settings("admin", ""), "admin") as admin:
            built = asyncio.create_task(apply(admin.jetstream(), TopologySettings(stream_replicas=3)))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(built), 6)
            servers.start(1)
            servers.start(2)
            assert "stream MEDIA created" in await built
    finally:
        servers.stop()


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("dear")
    done = CliRunner().invoke(tidegate, ["cluster", "init", str(tmp_path)])
    assert done.exit_code == 1 and "name a folder of its own" in done.output
    assert [p.name for p in tmp_path.iterdir()] == ["letters"]
