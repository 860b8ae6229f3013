"""A pod of the component `tls`, as its manifests set it up, against a NATS that asks every client for a certificate."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared import bus
from shared.contract.topology import TopologySettings, apply
from shared.runtime.settings import BusSettings
from tests.support.kube.deploy_manifests import variables, with_tls, workloads
from tests.support.kube.keda_calls import KedaClient, Refused, generate
from tests.support.servers.certificates import Authority, Pair, answer
from tests.support.waiting import until
from tidegate.local.server import NatsServer

pytestmark = [pytest.mark.foreign, pytest.mark.xdist_group("deploy")]

QUERY = {"service": "cv", "stream": "MEDIA", "consumer": "cv"}


class Secured(NatsServer):
    """The embedded server, which asks its clients for a certificate."""

    def secure(self, pair: Pair, ca: str) -> None:
        self.block = {"cert_file": pair.cert, "key_file": pair.key, "ca_file": ca, "verify": True}
        self.url = self.url.replace("nats://127.0.0.1", "tls://localhost")

    def _config(self, *args: Any) -> str:
        return f"{super()._config(*args)}\ntls: {json.dumps(self.block)}\n"


def secret(folder: Path, pair: Pair, ca: str) -> None:
    """Files as a kubelet mounts a Secret that cert-manager has made."""
    folder.mkdir()
    for source, name in ((pair.cert, "tls.crt"), (pair.key, "tls.key"), (ca, "ca.crt")):
        shutil.copy(source, folder / name)


def environment(folder: Path, server: NatsServer) -> dict[str, str]:
    """The environment of the scaler's container, with its mounts below `folder`, and free ports of this machine."""
    (folder / "overlay").mkdir()
    given = variables(workloads(with_tls(folder / "overlay", "h100/demand"))["tidegate-scaler"], folder / "password")
    given = {name: value.replace("/run/secrets/", f"{folder}/") for name, value in given.items()}
    here = {"NATS_URL": server.url, "METRICS_HOST": "127.0.0.1", "METRICS_PORT": "0", "LOG_FORMAT": "text"}
    return os.environ | given | here | {"SCALER_HOST": "127.0.0.1", "SCALER_PORT": "0", "SCALER_HTTP_PORT": "0"}


async def test_the_scaler_s_pod_speaks_tls_with_all(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "stranger")
    secret(tmp_path / "certificates", authority.issue("localhost"), authority.ca)
    secret(tmp_path / "tls", authority.issue("localhost"), authority.ca)
    keda, prometheus, admin = authority.issue("keda"), authority.issue("prometheus"), authority.issue("admin")
    server = Secured(tmp_path / "nats")
    server.secure(authority.issue("localhost"), authority.ca)
    async with server:
        settings = server.settings("admin")
        by_tls = {"nats_ca": authority.ca, "nats_cert": admin.cert, "nats_key": admin.key}
        client = await bus.connect(
            BusSettings(nats_url=server.url, nats_user="admin", nats_password=settings.nats_password, **by_tls), "admin"
        )
        await apply(client.jetstream(), TopologySettings())
        await client.close()
        (tmp_path / "password").write_text(server.settings("scaler").nats_password)
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.scaler"], env=environment(tmp_path, server), stderr=log
            )
        try:
            text = (tmp_path / "log").read_text
            await until(lambda: re.search(r"address=\S+:\d+", text()) or process.poll() is not None)
            (metrics,) = re.findall(r"url=https://127.0.0.1:(\d+)/metrics", text())
            (grpc,) = re.findall(r"address=\S+:(\d+)", text())
            (page,) = re.findall(r"url=https://127.0.0.1:(\d+)/demand", text())
            request = f"https://localhost:{page}/demand?service=cv"
            assert await asyncio.to_thread(answer, request, authority.ca) == 403
            assert await asyncio.to_thread(answer, request, authority.ca, keda) == 200
            await check_grpc(f"localhost:{grpc}", generate(tmp_path / "generated"), authority, keda, stranger)
            root = f"https://localhost:{metrics}"
            await until(lambda: answer(f"{root}/readyz", authority.ca) == 200)
            assert await asyncio.to_thread(answer, f"{root}/metrics", authority.ca) == 403
            assert await asyncio.to_thread(answer, f"{root}/metrics", authority.ca, prometheus) == 200
        finally:
            process.kill()
            process.wait()


async def check_grpc(address: str, generated: Path, authority: Authority, keda: Pair, stranger: Authority) -> None:
    """KEDA gets an answer, and a client with no certificate or one of another CA does not."""
    async with KedaClient(address, generated, Path(authority.ca), *map(Path, keda)) as client:
        assert await client.metric(QUERY) == (0.0, False)
    for own in ((), stranger.issue("keda")):
        async with KedaClient(address, generated, Path(authority.ca), *map(Path, own)) as client:
            with pytest.raises(Refused):
                await client.call("IsActive", QUERY)
