"""The running versions of the console, of its server, and of services that report theirs."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import time
from collections.abc import Iterable
from importlib.metadata import version

import msgspec
import nats.errors
from nats.aio.client import Client

from services.console.now.services import OneService
from shared.bus.requests import semantic
from shared.contract import catalog, names
from shared.runtime.plain import plain

# A service that is there answers immediately.
_TIMEOUT_S = 0.5
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


def workers(services: Iterable[OneService]) -> list[RunningService]:
    """Return the workers that send heartbeats, which carry no version."""
    now = time.monotonic()
    return [
        RunningService(
            service=service.record.name,
            replica=plain(one.replica),
            model=plain(one.model) or None,
            state=one.state,
            uptime_s=one.uptime_s,
        )
        for service in sorted(services, key=lambda service: service.record.name)
        for one in service.fleet.replicas(now)
    ]


async def versions(client: Client, workers: list[RunningService]) -> Versions:
    """Return all versions. client: a viewer's."""
    discovered = await asyncio.gather(*(_discover(client, s) for s in _discoverable()))
    found = {(one.service, one.replica): one for answers in discovered for one in answers}
    return Versions(
        # As services report theirs, so that equal versions read equal.
        console=semantic(version("tidegate")),
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
