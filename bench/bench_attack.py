"""The latency of events while the holder of one password attacks, and the memory that the attack costs.

Twenty cameras with rules publish detections in real time. Meanwhile a client with `cv`'s password publishes detections
of invented cameras, or segments after gaps; or a client with `viewer`'s opens connections that do not read.
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
from bench.bench_analytics import camera_detections, publish
from shared import bus
from shared.bus.log import Log
from shared.contract import events, memory, names, rules
from shared.contract.events import DetectedObject, Detections
from tidegate.local.scaling.replicas import Replicas
from tidegate.local.server import NatsServer

CAMERAS, SECONDS = 20, 40
# Messages per second of one attacker.
RATE, GAP_RATE = 1000, 20
WARM_S = 3.0

Attack = Callable[[NatsServer, Detections], Awaitable[None]]


async def no_attack(server: NatsServer, template: Detections) -> None:
    """The baseline: no attack."""
    await asyncio.Event().wait()


async def invented_cameras(server: NatsServer, template: Detections) -> None:
    """Publish each message for another camera."""
    await _flood(server, RATE, lambda n: msgspec.structs.replace(template, camera=f"fake-{n}"))


async def gaps(server: NatsServer, template: Detections) -> None:
    """Publish segments of 100 cameras, each after a gap, with the maximum number of objects."""
    crowd = [msgspec.structs.replace(f, objects=(f.objects * 300)[:300]) for f in template.frames]

    def make_event(n: int) -> Detections:
        ref = msgspec.structs.replace(template.segment, n=1 + 2 * n)
        return msgspec.structs.replace(template, camera=f"fake-{n % 100}", segment=ref, frames=crowd)

    await _flood(server, GAP_RATE, make_event)


async def silent_readers(server: NatsServer, template: Detections) -> None:
    """Open the maximum number of connections of one app; they subscribe to all events and read none."""
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


async def _flood(server: NatsServer, rate: int, make_event: Callable[[int], Detections]) -> None:
    client = await bus.connect(server.settings("cv"), "cv")
    try:
        began, n = time.monotonic(), 0
        while True:
            while n < (time.monotonic() - began) * rate:
                event = make_event(n)
                await client.publish(events.subject(event), events.encode(event))
                n += 1
            await client.flush(timeout=60)
            await asyncio.sleep(0.01)
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def _peak_memory(*processes: psutil.Process) -> AsyncIterator[list[int]]:
    """Yield the maximum resident bytes of each process."""
    peaks = [0] * len(processes)

    async def sample() -> None:
        while True:
            peaks[:] = [max(a, p.memory_info().rss) for a, p in zip(peaks, processes, strict=True)]
            await asyncio.sleep(0.1)

    sampler = asyncio.create_task(sample())
    try:
        yield peaks
    finally:
        sampler.cancel()


async def measure(found: list[list[DetectedObject]], attack: Attack) -> tuple[float, float, float, float]:
    """Return (p50 and p99 ms from detections to tracks of honest cameras, MB of analytics, MB of nats-server)."""
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
        segments = [camera_detections(found, n, SECONDS, start) for n in range(CAMERAS)]
        async with _peak_memory(process, psutil.Process(server.pid)) as peaks:
            attacker = asyncio.create_task(attack(server, segments[0][0]))
            began = time.monotonic()
            for k in range(SECONDS):
                await asyncio.sleep(max(0.0, began + k - time.monotonic()))
                await publish(admin, [camera[k] for camera in segments])
            attacker.cancel()
            await asyncio.wait({attacker})
            await asyncio.sleep(WARM_S)
        latencies = await _latencies(admin)
        await pool.close()
    return (*(latencies[int(len(latencies) * q)] * 1e3 for q in (0.5, 0.99)), *(m / 2**20 for m in peaks))  # type: ignore[return-value]


async def _latencies(client: Client) -> list[float]:
    """Return the seconds from an honest camera's detections to its tracks, as stored in EVENTS; ascending."""
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
    found = [[o for o in frame if o.label == "person"] for frame in footage.detect(0.3)]
    table = Table("attack", "p50 ms", "p99 ms", "p99 over none", "MB of analytics", "MB of nats-server")
    baseline, ratios = 0.0, {}
    for name, attack in (
        ("none", no_attack),
        ("invented cameras", invented_cameras),
        ("gaps", gaps),
        ("silent", silent_readers),
    ):
        p50, p99, analytics, server = await measure(found, attack)
        baseline = baseline or p99
        ratios[f"p99 beside {name} / quiet"] = p99 / baseline
        table.add_row(name, f"{p50:.0f}", f"{p99:.0f}", f"{p99 / baseline:.2f}", f"{analytics:.0f}", f"{server:.0f}")
    out.print(table)
    record.write("attack", lower=ratios)


if __name__ == "__main__":
    asyncio.run(main())
