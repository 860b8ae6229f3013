"""Which versions run: of the console, of its server, and of the services that say so."""

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

# Whoever answers at all does so at once.
_PATIENCE_S = 0.5
# A worker says how it does once a second; one that has said nothing for so long is gone.
_GONE_S = 10.0
_MOST = 1000


class RunningService(msgspec.Struct, frozen=True, kw_only=True):
    """One process. replica: its name. version, model: None where it does not say. uptime_s: since it began."""

    service: str
    replica: str
    version: str | None = None
    model: str | None = None
    state: str | None = None
    uptime_s: float | None = None


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """server: None while there is no connection. services: those that tell of themselves."""

    console: str
    python: str
    server: str | None
    server_name: str | None
    services: list[RunningService]


class _Answer(msgspec.Struct, frozen=True):
    """Of a NATS micro service."""

    name: str = ""
    id: str = ""
    version: str = ""


class Replicas:
    """Who says that it works, by its heartbeats. client: a viewer's."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._heard: dict[tuple[str, str], tuple[float, stats.WorkerStats]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        subscription = await self._client.subscribe(names.stats("*", "*"), cb=self._on)
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
            for _, (_, beat) in sorted(self._heard.items())
        ]

    def _forget(self) -> None:
        gone = time.monotonic() - _GONE_S
        self._heard = {key: found for key, found in self._heard.items() if found[0] > gone}

    async def _on(self, message: Msg) -> None:
        try:
            beat = stats.decode(message.data)
        except msgspec.DecodeError:
            return
        if message.subject != names.stats(beat.service, beat.replica):
            return
        if len(self._heard) >= _MOST:
            self._forget()
        if len(self._heard) < _MOST:
            self._heard[beat.service, beat.replica] = (time.monotonic(), beat)


async def versions(client: Client, workers: list[RunningService]) -> Versions:
    """workers: those that say so by heartbeats, which don't tell of their version. client: a viewer's."""
    answering = await asyncio.gather(*(_answering(client, s) for s in _asked()))
    found = {(one.service, one.replica): one for answers in answering for one in answers}
    return Versions(
        console=version("tidegate"),
        python=platform.python_version(),
        server=_server(client, "version"),
        server_name=_server(client, "server_name"),
        services=[*workers, *found.values()],
    )


def _server(client: Client, field: str) -> str | None:
    """What the server has said of itself."""
    return plain(str(client._server_info.get(field, ""))) or None if client.is_connected else None


def _asked() -> list[catalog.Service]:
    """Those that answer requests and that a viewer may ask."""
    asks = {subject for role in catalog.find("console").roles for subject in role.asks}
    return [s for s in catalog.services() if s.discovered_as and names.discovery(s.discovered_as)[0] in asks]


async def _answering(client: Client, service: catalog.Service) -> list[RunningService]:
    """The replicas of one of these."""
    ping = names.discovery(service.discovered_as)[0]
    answers: list[_Answer] = []
    with contextlib.suppress(TimeoutError, nats.errors.Error):
        inbox = await client.subscribe(client.new_inbox())
        try:
            await client.publish(ping, reply=inbox.subject)
            async with asyncio.timeout(_PATIENCE_S):
                while len(answers) < _MOST and (message := await inbox.next_msg(timeout=_PATIENCE_S)).data:
                    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                        answers.append(msgspec.json.decode(message.data, type=_Answer))
        finally:
            await inbox.unsubscribe()
    return [
        RunningService(service=service.name, replica=plain(a.id)[:64], version=plain(a.version)[:64] or None)
        for a in answers
    ]
