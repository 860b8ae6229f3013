"""Three embedded nats-servers on loopback as one JetStream cluster, each stream on all of them.

    async with NatsCluster(data_dir) as cluster:
        admin = await bus.connect(cluster.settings("admin"), "admin")
        await cluster.set_up(admin)
        await cluster.servers[0].stop(signal.SIGKILL)      # two go on
        await cluster.servers[0].start()
        await cluster.ready()

Each server is a `NatsServer` with a store of its own; identities, passwords and the key are the cluster's.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from nats.aio.client import Client

from shared.runtime.errors import BusError
from shared.runtime.ports import free_port
from shared.runtime.settings import BusSettings
from tidegate.local import passwords
from tidegate.local.server import Member, NatsServer

SIZE = 3
# The file of secrets with which the servers know each other.
ROUTES = "routes"
# Each election took up to 9 s on two busy cores, and what a server has missed is copied after that.
READY_S = 120.0
POLL_S = 0.1
ASK_S = 5.0

T = TypeVar("T")


class NatsCluster:
    """See the module. `servers` may be stopped, killed, paused and started one by one; `store` is where each stores."""

    def __init__(self, data: Path) -> None:
        secrets = data / "secrets"
        secrets.mkdir(parents=True, exist_ok=True)
        password = passwords.kept(secrets, [ROUTES])[ROUTES]
        ports = [free_port(0) for _ in range(2 * SIZE)]
        routed, monitored = ports[:SIZE], ports[SIZE:]
        self._pages = [f"http://127.0.0.1:{port}" for port in monitored]
        self.servers = [
            NatsServer(data / str(n), member=Member(n, secrets, _configuration(n, routed, password, monitored[n])))
            for n in range(SIZE)
        ]
        self.url = ",".join(server.url for server in self.servers)

    def settings(self, identity: str) -> BusSettings:
        """How to connect as one of the identities, to whichever server is there."""
        one = self.servers[0].settings(identity)
        return BusSettings(nats_url=self.url, nats_user=one.nats_user, nats_password=one.nats_password)

    def environment(self, identity: str) -> dict[str, str]:
        """Variables that say the same to a child process."""
        return self.servers[0].environment(identity) | {"NATS_URL": self.url}

    async def __aenter__(self) -> NatsCluster:
        try:
            # One after the other: the first makes the key of the stores.
            for server in self.servers:
                await server.start()
            await self.ready()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        for server in self.servers:
            server.resume()
        await asyncio.gather(*(server.stop() for server in self.servers))

    async def set_up(self, admin: Client) -> list[str]:
        """Give it the streams, consumers and buckets, three copies of each. Raises BusError and SettingError."""
        changed = await self.servers[0].set_up(admin, copies=SIZE)
        await self.ready()
        return changed

    async def ready(self) -> None:
        """Wait until all has a leader, and each server that was not stopped has all that is stored. Raises BusError."""
        wrong: list[str] = []
        try:
            async with asyncio.timeout(READY_S):
                while wrong := await self._wrong():
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise BusError(f"the cluster is not ready after {READY_S:.0f} s: {'; '.join(wrong)}") from None

    async def _wrong(self) -> list[str]:
        """What is missing, by the servers that run."""
        running = {server.name: page for server, page in zip(self.servers, self._pages, strict=True) if server.pid}
        asked = (asyncio.to_thread(_missing, name, page, set(running)) for name, page in running.items())
        found = await asyncio.gather(*asked)
        return [f"{name}: {wrong}" for name, wrong in zip(running, found, strict=True) if wrong]


class _Health(msgspec.Struct, frozen=True):
    """error: what of JetStream is missing on this server: the leader, its own place in the cluster, a stream."""

    error: str = ""


class _Peer(msgspec.Struct, frozen=True):
    name: str
    current: bool = False


class _Group(msgspec.Struct, frozen=True):
    """replicas: the other servers; how far they are, the leader alone knows."""

    leader: str = ""
    replicas: tuple[_Peer, ...] = ()


class _Led(msgspec.Struct, frozen=True):
    """A stream or a consumer."""

    name: str
    cluster: _Group = _Group()
    consumer_detail: tuple[_Led, ...] = ()


class _Account(msgspec.Struct, frozen=True):
    stream_detail: tuple[_Led, ...] = ()


class _JetStream(msgspec.Struct, frozen=True):
    meta_cluster: _Group = _Group()
    account_details: tuple[_Account, ...] = ()

    @property
    def led(self) -> Iterator[_Led]:
        """Whatever needs a leader."""
        yield _Led("the cluster", self.meta_cluster)
        for stream in (stream for account in self.account_details for stream in account.stream_detail):
            yield stream
            yield from stream.consumer_detail


def _missing(name: str, page: str, running: set[str]) -> str:
    """What one server says is missing, "" if nothing is. page: its monitoring. running: the servers that count."""
    try:
        if error := _read(f"{page}/healthz", _Health).error:
            return error
        found = _read(f"{page}/jsz?consumers=true", _JetStream)
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as e:
        return f"no answer at {page}: {e!r}"
    # The others follow a leader that is gone until they notice.
    if lost := [led.name for led in found.led if led.cluster.leader not in running]:
        return f"no leader of {', '.join(lost)}"
    # One that has lost its store knows of no stream that it lacks: the leader does.
    meta = found.meta_cluster
    behind = {peer.name for peer in meta.replicas if not peer.current} & running if meta.leader == name else set()
    return f"{', '.join(sorted(behind))} not up to date" if behind else ""


def _read(url: str, kind: type[T]) -> T:
    try:
        with urllib.request.urlopen(url, timeout=ASK_S) as answer:  # noqa: S310 - our own, on loopback
            return msgspec.json.decode(answer.read(), type=kind)
    except urllib.error.HTTPError as e:  # /healthz where something is missing
        return msgspec.json.decode(e.read(), type=kind)


def _configuration(number: int, routed: list[int], password: str, monitored: int) -> str:
    """What makes a server one of the cluster. Its monitoring has no login: it says how things are, and no secret.

    It tells clients of no other address: they have all, and keep to the way that they were given.
    """
    login = f"authorization {{ user: {ROUTES}, password: {json.dumps(password)} }}"
    routes = json.dumps([f"nats-route://{ROUTES}:{password}@127.0.0.1:{port}" for port in routed])
    return (
        f"http: 127.0.0.1:{monitored}\n"
        f"cluster {{ name: tidegate, listen: 127.0.0.1:{routed[number]}, {login}, routes: {routes},"
        " no_advertise: true }\n"
    )
