"""Three embedded nats-servers on loopback as one JetStream cluster, with each stream on all of them.

    async with NatsCluster(data_dir) as cluster:
        admin = await bus.connect(cluster.settings("admin"), "admin")
        await cluster.set_up(admin)
        await cluster.servers[0].stop(signal.SIGKILL)      # two continue
        await cluster.servers[0].start()
        await cluster.ready()

Each server is a `NatsServer` with its own store; identities, passwords and the key are the cluster's.
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
# The file of the servers' mutual password.
ROUTES = "routes"
# Each election took up to 9 s on two busy cores; afterwards a server copies what it missed.
READY_S = 120.0
POLL_S = 0.1
ASK_S = 5.0

T = TypeVar("T")


class NatsCluster:
    """See the module. `servers` may be stopped, killed, paused and started one by one; `store` is the store of each."""

    def __init__(self, data: Path) -> None:
        secrets = data / "secrets"
        secrets.mkdir(parents=True, exist_ok=True)
        password = passwords.ensure(secrets, [ROUTES])[ROUTES]
        ports = [free_port(0) for _ in range(2 * SIZE)]
        routed, monitored = ports[:SIZE], ports[SIZE:]
        self._pages = [f"http://127.0.0.1:{port}" for port in monitored]
        self.servers = [
            NatsServer(data / str(n), member=Member(n, secrets, _configuration(n, routed, password, monitored[n])))
            for n in range(SIZE)
        ]
        self.url = ",".join(server.url for server in self.servers)

    def settings(self, identity: str) -> BusSettings:
        """Return how to connect as one of the identities, to any running server."""
        one = self.servers[0].settings(identity)
        return BusSettings(nats_url=self.url, nats_user=one.nats_user, nats_password=one.nats_password)

    def environment(self, identity: str) -> dict[str, str]:
        """Return the same as variables for a child process."""
        return self.servers[0].environment(identity) | {"NATS_URL": self.url}

    async def __aenter__(self) -> NatsCluster:
        try:
            # One by one: the first creates the key of the stores.
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
        """Create the streams, consumers and buckets, three copies of each. Raises BusError and SettingError."""
        changed = await self.servers[0].set_up(admin, copies=SIZE)
        await self.ready()
        return changed

    async def ready(self) -> None:
        """Wait until everything has a leader, and each running server is up to date. Raises BusError."""
        wrong: list[str] = []
        try:
            async with asyncio.timeout(READY_S):
                while wrong := await self._wrong():
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise BusError(f"the cluster is not ready after {READY_S:.0f} s: {'; '.join(wrong)}") from None

    async def _wrong(self) -> list[str]:
        """Return the faults of the running servers."""
        running = {server.name: page for server, page in zip(self.servers, self._pages, strict=True) if server.pid}
        checks = (asyncio.to_thread(_missing, name, page, set(running)) for name, page in running.items())
        found = await asyncio.gather(*checks)
        return [f"{name}: {wrong}" for name, wrong in zip(running, found, strict=True) if wrong]


class _Health(msgspec.Struct, frozen=True):
    """error: what JetStream lacks on this server: the leader, its own place in the cluster, a stream."""

    error: str = ""


class _Peer(msgspec.Struct, frozen=True):
    name: str
    current: bool = False


class _Group(msgspec.Struct, frozen=True):
    """replicas: the other servers; only the leader knows their progress."""

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
        """Yield everything that needs a leader."""
        yield _Led("the cluster", self.meta_cluster)
        for stream in (stream for account in self.account_details for stream in account.stream_detail):
            yield stream
            yield from stream.consumer_detail


def _missing(name: str, page: str, running: set[str]) -> str:
    """Return what one server reports missing, "" if nothing. page: its monitoring. running: the expected servers."""
    try:
        if error := _read(f"{page}/healthz", _Health).error:
            return error
        found = _read(f"{page}/jsz?consumers=true", _JetStream)
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as e:
        return f"no answer at {page}: {e!r}"
    # Followers report a dead leader until they notice.
    if lost := [led.name for led in found.led if led.cluster.leader not in running]:
        return f"no leader of {', '.join(lost)}"
    # A server that lost its store does not know which streams it lacks: the leader does.
    meta = found.meta_cluster
    behind = {peer.name for peer in meta.replicas if not peer.current} & running if meta.leader == name else set()
    return f"{', '.join(sorted(behind))} not up to date" if behind else ""


def _read(url: str, kind: type[T]) -> T:
    try:
        with urllib.request.urlopen(url, timeout=ASK_S) as answer:  # noqa: S310 - our own, on loopback
            return msgspec.json.decode(answer.read(), type=kind)
    except urllib.error.HTTPError as e:  # /healthz if something is missing
        return msgspec.json.decode(e.read(), type=kind)


def _configuration(number: int, routed: list[int], password: str, monitored: int) -> str:
    """Return the configuration of a cluster member. Its monitoring has no login: it reports state, and no secret.

    It advertises no other address: clients know all, and stay on their configured path.
    """
    login = f"authorization {{ user: {ROUTES}, password: {json.dumps(password)} }}"
    routes = json.dumps([f"nats-route://{ROUTES}:{password}@127.0.0.1:{port}" for port in routed])
    return (
        f"http: 127.0.0.1:{monitored}\n"
        f"cluster {{ name: tidegate, listen: 127.0.0.1:{routed[number]}, {login}, routes: {routes},"
        " no_advertise: true }\n"
    )
