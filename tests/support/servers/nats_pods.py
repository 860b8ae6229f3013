"""The servers of a StatefulSet as processes: its own configuration, the kubelet's mounts, and local ports.

    servers = NatsPods(tmp_path, secrets, {"nats/nats.conf": text}, mounts=["nats-tls"])
    servers.start(0)
    servers.settings("cv", "tidegate-tls-cv")       # how a pod with this Secret connects to the first
    servers.stop()

secrets: a folder of `tidegate cluster init`. Routes lead to localhost, which the certificate nats-tls is for too.
"""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from nats.aio.client import Client

from shared import bus
from shared.contract.topology import TopologySettings, apply
from shared.runtime import child
from shared.runtime.ports import free_port
from shared.runtime.settings import BusSettings
from tests.support.servers.certificates import Pair
from tests.support.waiting import patience_s, until
from tidegate.local.cluster import SIZE
from tidegate.local.server import find_executable


class NatsPods:
    """files: a pod's files below /etc, the configuration first. mounts: those of the Secret nats-tls; none: no TLS."""

    def __init__(self, root: Path, secrets: Path, files: Mapping[str, str], mounts: Sequence[str] = ()) -> None:
        self.secrets, self._root, self._files, self._mounts = secrets, root, files, mounts
        self.clients, self._routes, self._pages = ([free_port(0) for _ in range(SIZE)] for _ in range(3))
        self.ca = secrets / "tls/ca.crt"
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, n: int, pair: Pair | None = None) -> None:
        """pair: the certificate in place of its own."""
        own = self.secrets / "tls/nats-tls"
        etc = self._root / f"nats-{n}"
        for mount in self._mounts:
            mounted(etc / mount, pair or Pair(str(own / "tls.crt"), str(own / "tls.key")), self.ca)
        for name in ("accounts.conf", "routes.conf"):
            self._write(n, etc / "nats-server" / name, (self.secrets / name).read_text())
        for name, text in self._files.items():
            self._write(n, etc / name, text)
        names = {"POD_NAME": f"nats-{n}", "SERVER_NAME": f"nats-{n}"}
        command = [find_executable(), "--config", str(etc / next(iter(self._files)))]
        self._running.append(child.spawn(command, log=self._root / f"nats-{n}.log", env=os.environ | names))

    def _write(self, n: int, path: Path, text: str) -> None:
        for m, port in enumerate(self._routes):
            text = text.replace(f"nats-{m}.nats-headless.tidegate.svc.cluster.local:6222", f"localhost:{port}")
        at = self._root / f"nats-{n}"
        here = {
            "/etc/": f"{at}/",
            "/var/lib/nats": f"{at}/store",
            '"/data"': f'"{at}/store"',
            "/var/run/nats/": f"{at}/",
        }
        ports = (("port", 4222, "listen", self.clients), ("port", 6222, "listen", self._routes))
        pages = (("http", 8222, "http", self._pages), ("https", 8222, "https", self._pages))
        for key, port, reply, chosen in (*ports, *pages):
            listens = f'{reply}: "127.0.0.1:{chosen[n]}"'
            here |= {f"{key}: {port}": listens, f'"{key}": {port}': listens, f'"{key}_port": {port}': listens}
        for there, replaced in here.items():
            text = text.replace(there, replaced)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def stop(self) -> None:
        for process in self._running:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def log(self, n: int) -> str:
        return (self._root / f"nats-{n}.log").read_text()

    def settings(self, identity: str, secret: str, **more: str) -> BusSettings:
        """The settings of a pod that has this identity and mounts this Secret."""
        url = f"localhost:{self.clients[0]}"
        given = {"nats_user": identity, "nats_password": (self.secrets / identity).read_text()}
        if not self._mounts:
            return BusSettings(**given | {"nats_url": f"nats://{url}"} | more)
        at = self.secrets / "tls" / secret
        given |= {"nats_url": f"tls://{url}", "nats_ca": str(self.ca)}
        return BusSettings(**given | {"nats_cert": str(at / "tls.crt"), "nats_key": str(at / "tls.key")} | more)

    def page(self, path: str, n: int = 0, scheme: str = "") -> bytes:
        """A page of the monitoring port. Raises OSError."""
        scheme = scheme or ("https" if self._mounts else "http")
        context = ssl.create_default_context(cafile=str(self.ca)) if scheme == "https" else None
        url = f"{scheme}://localhost:{self._pages[n]}{path}"
        with urllib.request.urlopen(url, timeout=10, context=context) as answer:
            return bytes(answer.read())

    def is_ready(self, n: int = 0, probe: str = "/healthz?js-server-only=true") -> bool:
        """Whether its readiness probe, or another one, succeeds."""
        try:
            return bool(self.page(probe, n))
        except OSError:
            return False


def mounted(at: Path, pair: Pair, ca: Path) -> None:
    """A Secret of these values as a volume."""
    at.mkdir(parents=True, exist_ok=True)
    for source, name in ((pair.cert, "tls.crt"), (pair.key, "tls.key"), (ca, "ca.crt")):
        shutil.copy(source, at / name)


@asynccontextmanager
async def connected(settings: BusSettings, identity: str) -> AsyncIterator[Client]:
    client = await bus.connect(settings, identity, timeout_s=patience_s())
    try:
        yield client
    finally:
        await client.close()


async def are_one(servers: NatsPods) -> None:
    """Start them, and set them up: they find each other, and each stream is on all of them."""
    for n in range(SIZE):
        servers.start(n)
    await until(servers.is_ready)
    async with connected(servers.settings("admin", "tidegate-tls-admin"), "admin") as admin:
        await apply(admin.jetstream(), TopologySettings(stream_replicas=SIZE))
        assert {i.config.num_replicas for i in await admin.jetstream().streams_info()} == {SIZE}
