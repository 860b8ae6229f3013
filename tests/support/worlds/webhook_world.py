"""An endpoint of webhooks, and incidents as analytics publishes them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from nats.aio.client import Client

from shared import bus
from shared.contract import events
from shared.contract.events import Alert, Incident, SegmentRef, Snapshot

NOW = dt.datetime(2026, 11, 24, 13, 0, tzinfo=dt.UTC)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Posted(msgspec.Struct, frozen=True):
    """A received request. headers: by their names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


def answers(status: int, **headers: str) -> Reply:
    async def reply(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return reply


class Receiver:
    """replies: for the next requests, one after the other; then `then`. It keeps its port over restarts."""

    def __init__(self, *replies: Reply, then: Reply | None = None) -> None:
        self.replies = list(replies)
        self.then = then or answers(204)
        self.requests: list[Posted] = []
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    @property
    def ids(self) -> list[str]:
        return [r.id for r in self.requests]

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._receive)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        headers = {k.lower(): v for k, v in request.headers.items()}
        self.requests.append(Posted(request.path_qs, headers, await request.read()))
        return await (self.replies.pop(0) if self.replies else self.then)(request)


def incident(kind: type[Incident], n: int, camera: str = "lobby") -> Incident:
    return kind(
        camera=camera,
        incident=f"i-{n}",
        state="start",
        rule="fence",
        condition="intrusion",
        severity="warning",
        start=NOW,
        time=NOW,
        objects=[],
        segments=[SegmentRef(stream="MEDIA", seq=7, epoch="e", n=7)],
        snapshot=Snapshot(stream="MEDIA", seq=7, time=NOW),
        reason="Über den Zaun",
    )


async def say(client: Client, n: int, kind: type[Incident] = Alert) -> str:
    """Publish as analytics does; return the event's id."""
    event = incident(kind, n)
    id = f"analytics/{kind.kind}/lobby/i-{n}"
    headers = events.headers(event, id=id, source="/tidegate/analytics", traceparent=TRACE)
    await bus.publish(client, client.jetstream(), events.subject(event), events.encode(event), headers)
    return id
