"""The running versions of the console, of its server, and of services that report theirs."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import time
from importlib.metadata import version

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.contract import catalog, names, stats
from shared.runtime.plain import plain

# A service that is there answers immediately.
_TIMEOUT_S = 0.5
# Workers send a heartbeat each second; one that is silent for this long has stopped.
_EXPIRY_S = 10.0
_MOST = 1000


class RunningService(msgspec.Struct, frozen=True, kw_only=True):
    """One process. replica: its name. version, model: None if not reported. uptime_s: since its start."""

    service: str
    replica: str
    version: str | None = None
    model: str | None = None
    state: str | None = None
    uptime_s: float | None = None


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """server: None while there is no connection. services: those that report themselves."""

    console: str
    python: str
    server: str | None
    server_name: str | None
    services: list[RunningService]


class _Answer(msgspec.Struct, frozen=True):
    """The ping answer of a NATS micro service."""

    name: str = ""
    id: str = ""
    version: str = ""


class Replicas:
    """Replicas by their heartbeats. client: a viewer's."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._beats: dict[tuple[str, str], tuple[float, stats.WorkerStats]] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        subscription = await self._client.subscribe(names.stats("*", "*"), cb=self._on_beat)
        try:
            await asyncio.Event().wait()
        finally:
            if not self._client.is_closed:
                await subscription.unsubscribe()

    def now(self) -> list[RunningService]:
        self._forget()
        return [
            RunningService(
                service=plain(beat.service),
                replica=plain(beat.replica),
                model=plain(beat.model) or None,
                state=beat.state,
                uptime_s=beat.uptime_s,
            )
            for _, (_, beat) in sorted(self._beats.items())
        ]

    def _forget(self) -> None:
        oldest = time.monotonic() - _EXPIRY_S
        self._beats = {key: found for key, found in self._beats.items() if found[0] > oldest}

    async def _on_beat(self, message: Msg) -> None:
        try:
            beat = stats.decode(message.data)
        except msgspec.DecodeError:
            return
        if message.subject != names.stats(beat.service, beat.replica):
            return
        if len(self._beats) >= _MOST:
            self._forget()
        if len(self._beats) < _MOST:
            self._beats[beat.service, beat.replica] = (time.monotonic(), beat)


async def versions(client: Client, workers: list[RunningService]) -> Versions:
    """Return all versions. workers: from heartbeats, which carry no version. client: a viewer's."""
    discovered = await asyncio.gather(*(_discover(client, s) for s in _discoverable()))
    found = {(one.service, one.replica): one for answers in discovered for one in answers}
    return Versions(
        console=version("tidegate"),
        python=platform.python_version(),
        server=_server(client, "version"),
        server_name=_server(client, "server_name"),
        services=[*workers, *found.values()],
    )


def _server(client: Client, field: str) -> str | None:
    """Return a field of the server's INFO."""
    return plain(str(client._server_info.get(field, ""))) or None if client.is_connected else None


def _discoverable() -> list[catalog.Service]:
    """Return the micro services that a viewer may discover."""
    asks = {subject for role in catalog.find("console").roles for subject in role.asks}
    return [s for s in catalog.services() if s.discovered_as and names.discovery(s.discovered_as)[0] in asks]


async def _discover(client: Client, service: catalog.Service) -> list[RunningService]:
    """Return the replicas of a micro service."""
    ping = names.discovery(service.discovered_as)[0]
    answers: list[_Answer] = []
    with contextlib.suppress(TimeoutError, nats.errors.Error):
        inbox = await client.subscribe(client.new_inbox())
        try:
            await client.publish(ping, reply=inbox.subject)
            async with asyncio.timeout(_TIMEOUT_S):
                while len(answers) < _MOST and (message := await inbox.next_msg(timeout=_TIMEOUT_S)).data:
                    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                        answers.append(msgspec.json.decode(message.data, type=_Answer))
        finally:
            await inbox.unsubscribe()
    return [
        RunningService(service=service.name, replica=plain(a.id)[:64], version=plain(a.version)[:64] or None)
        for a in answers
    ]
