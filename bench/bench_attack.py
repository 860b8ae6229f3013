"""How late events are while the holder of one password attacks, and what memory the attack takes.

Twenty cameras with rules deliver detections as they film. Meanwhile `cv`'s password publishes detections of cameras
that do not exist, or segments behind gaps, or `viewer`'s opens connections that do not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import msgspec
import psutil
from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from bench import footage_vtest as footage
from bench import record, world
from bench.bench_analytics import of_camera, publish
from shared import bus
from shared.bus.log import Log
from shared.contract import events, memory, names, rules
from shared.contract.events import DetectedObject, Detections
from tidegate.local.replicas import Replicas
from tidegate.local.server import NatsServer

CAMERAS, SECONDS = 20, 40
# Messages a second of one attacker.
RATE, GAP_RATE = 1000, 20
WARM_S = 3.0

Attack = Callable[[NatsServer, Detections], Awaitable[None]]


async def nothing(server: NatsServer, template: Detections) -> None:
    """Nobody attacks."""
    await asyncio.Event().wait()


async def invented(server: NatsServer, template: Detections) -> None:
    """Each message is of another camera."""
    await _flood(server, RATE, lambda n: msgspec.structs.replace(template, camera=f"fake-{n}"))


async def gaps(server: NatsServer, template: Detections) -> None:
    """Segments of 100 cameras, each behind a gap, with as many objects as are looked at."""
    crowd = [msgspec.structs.replace(f, objects=(f.objects * 300)[:300]) for f in template.frames]

    def made(n: int) -> Detections:
        ref = msgspec.structs.replace(template.segment, n=1 + 2 * n)
        return msgspec.structs.replace(template, camera=f"fake-{n % 100}", segment=ref, frames=crowd)

    await _flood(server, GAP_RATE, made)


async def silent(server: NatsServer, template: Detections) -> None:
    """As many connections as one app may have hear all events, and read none."""
    while True:
        with contextlib.ExitStack() as opened:
            for _ in range(memory.CONNECTIONS):
                opened.enter_context(_deaf(server))
            await asyncio.sleep(10)


def _deaf(server: NatsServer) -> socket.socket:
    login = server.settings("viewer")
    at = urlsplit(login.nats_url)
    s = socket.create_connection((at.hostname or "", at.port or 0), timeout=10)
    s.recv(65536)
    who = json.dumps({"user": login.nats_user, "pass": login.nats_password, "verbose": False})
    s.sendall(f"CONNECT {who}\r\nSUB events.> 1\r\n".encode())
    return s


async def _flood(server: NatsServer, rate: int, made: Callable[[int], Detections]) -> None:
    client = await bus.connect(server.settings("cv"), "cv")
    try:
        began, n = time.monotonic(), 0
        while True:
            while n < (time.monotonic() - began) * rate:
                event = made(n)
                await client.publish(events.subject(event), events.encode(event))
                n += 1
            await client.flush(timeout=60)
            await asyncio.sleep(0.01)
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def _watched(*processes: psutil.Process) -> AsyncIterator[list[int]]:
    """The most bytes that each process had."""
    most = [0] * len(processes)

    async def watch() -> None:
        while True:
            most[:] = [max(a, p.memory_info().rss) for a, p in zip(most, processes, strict=True)]
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    try:
        yield most
    finally:
        watching.cancel()


async def measured(found: list[list[DetectedObject]], attack: Attack) -> tuple[float, float, float, float]:
    """(p50 and p99 ms from detections to tracks of honest cameras, MB of analytics, MB of nats-server)."""
    async with world.serving() as (server, admin, folder):
        bucket = await admin.jetstream().key_value(names.RULES)
        for n in range(CAMERAS):
            await bucket.put(f"cam-{n}", rules.encode(msgspec.convert(footage.RULES, rules.Rules)))
        environment = server.environment("analytics") | {"METRICS_PORT": "0", "LOG_LEVEL": "error"}
        pool = Replicas("analytics", [sys.executable, "-m", "services.analytics"], environment, folder)
        await pool.scale_to(1)
        await asyncio.sleep(WARM_S)
        (process,) = [p for p in psutil.Process().children() if "services.analytics" in p.cmdline()]
        assert server.pid
        start = dt.datetime.now(dt.UTC)
        segments = [of_camera(found, n, SECONDS, start) for n in range(CAMERAS)]
        async with _watched(process, psutil.Process(server.pid)) as most:
            attacking = asyncio.create_task(attack(server, segments[0][0]))
            began = time.monotonic()
            for k in range(SECONDS):
                await asyncio.sleep(max(0.0, began + k - time.monotonic()))
                await publish(admin, [camera[k] for camera in segments])
            attacking.cancel()
            await asyncio.wait({attacking})
            await asyncio.sleep(WARM_S)
        late = await _latencies(admin)
        await pool.close()
    return (*(late[int(len(late) * q)] * 1e3 for q in (0.5, 0.99)), *(m / 2**20 for m in most))  # type: ignore[return-value]


async def _latencies(client: Client) -> list[float]:
    """Seconds from an honest camera's detections to its tracks, as EVENTS stored both; ascending."""
    stored: dict[tuple[str, int], float] = {}
    found: list[float] = []
    async with Log(client, names.EVENTS) as log:
        for n in range(CAMERAS):
            for kind in ("detections", "tracks"):
                for message in await log.all(names.event(kind, f"cam-{n}")):
                    key = (f"cam-{n}", msgspec.json.decode(message.data)["segment"]["n"])
                    at = message.time.timestamp()
                    if kind == "detections":
                        stored[key] = at
                    else:
                        found.append(at - stored[key])
    return sorted(found)


async def main() -> None:
    out = Console(width=120)
    found = [[o for o in frame if o.label == "person"] for frame in footage.detected(0.3)]
    table = Table("attack", "p50 ms", "p99 ms", "p99 over quiet", "MB of analytics", "MB of nats-server")
    quiet, ratios = 0.0, {}
    for name, attack in (("none", nothing), ("invented cameras", invented), ("gaps", gaps), ("silent", silent)):
        p50, p99, analytics, server = await measured(found, attack)
        quiet = quiet or p99
        ratios[f"p99 beside {name} / quiet"] = p99 / quiet
        table.add_row(name, f"{p50:.0f}", f"{p99:.0f}", f"{p99 / quiet:.2f}", f"{analytics:.0f}", f"{server:.0f}")
    out.print(table)
    record.write("attack", lower=ratios)


if __name__ == "__main__":
    asyncio.run(main())
