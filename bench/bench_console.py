"""The console under load: fifty browsers that receive 200 events a second, and the list of two hundred cameras.

Usage:
    python -m bench.bench_console            # half a minute
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

import httpx
from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from bench.served import Served
from shared import bus
from shared.contract import cameras, names, topology
from tidegate.local.server import NatsServer

BROWSERS, RATE, SECONDS = 50, 200, 10
CAMERAS = 200


async def sign_in(served: Served) -> httpx.AsyncClient:
    secret = await served.link("root")
    client = httpx.AsyncClient(
        base_url=f"{served.url}api/v1/",
        timeout=60,
        limits=httpx.Limits(max_connections=2 * BROWSERS, max_keepalive_connections=10),
    )
    while True:
        try:
            answer = await client.post("session/link", json={"token": secret})
            if answer.status_code == 200:
                return client
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)


async def hear(client: httpx.AsyncClient, ready: asyncio.Semaphore, late: list[float], missed: list[int]) -> None:
    kind = ""
    async with client.stream("GET", "events", params={"kinds": "alerts"}) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kind = line[7:]
                if kind == "ready":
                    ready.release()
            elif line.startswith("data: ") and kind == "alerts":
                late.append(time.time() - json.loads(line[6:])["at"])
            elif line.startswith("data: ") and kind == "missed":
                missed.append(json.loads(line[6:])["missed"]["alerts"])


async def events(served: Served, admin: Client, client: httpx.AsyncClient) -> dict[str, float]:
    """Return the latency of events, and the CPU that the console uses."""
    ready, late, missed = asyncio.Semaphore(0), [], []  # type: ignore[var-annotated]
    tasks = [asyncio.create_task(hear(client, ready, late, missed)) for _ in range(BROWSERS)]
    for _ in tasks:
        await ready.acquire()
    before, began = served.cpu_s(), time.monotonic()
    for n in range(RATE * SECONDS):
        body = json.dumps({"camera": "cam-0", "at": time.time()}).encode()
        await admin.publish("events.alerts.cam-0", body, headers={"ce-id": f"b/{n}", "Nats-Msg-Id": f"b/{n}"})
        await asyncio.sleep(max(0.0, began + (n + 1) / RATE - time.monotonic()))
    while len(late) + sum(missed) < BROWSERS * RATE * SECONDS:
        await asyncio.sleep(0.05)
    took = time.monotonic() - began
    used = served.cpu_s() - before
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    quantiles = statistics.quantiles(late, n=100)
    return {
        "events_s": len(late) / took,
        "p50_ms": quantiles[49] * 1000,
        "p99_ms": quantiles[98] * 1000,
        "missed": float(sum(missed)),
        "cores": used / took,
    }


async def lists(served: Served, client: httpx.AsyncClient) -> dict[str, float]:
    """Return the time and CPU of the list of two hundred cameras, for sequential requests."""
    before, began, count = served.cpu_s(), time.monotonic(), 100
    for _ in range(count):
        (await client.get("cameras")).raise_for_status()
    return {
        "ms": (time.monotonic() - began) / count * 1000,
        "cpu_ms": (served.cpu_s() - before) / count * 1000,
        "resident_mb": served.resident_mb(),
    }


async def main() -> None:
    with tempfile.TemporaryDirectory() as data:
        async with NatsServer(Path(data)) as server:
            admin = await bus.connect(server.settings("admin"), "admin")
            await topology.apply(admin.jetstream(), topology.TopologySettings())
            bucket = await admin.jetstream().key_value(names.CAMERAS)
            for n in range(CAMERAS):
                await bucket.put(f"cam-{n}", cameras.encode(cameras.new_camera(f"rtsp://10.0.0.{n}/x")[0]))
            served = Served(server, admin, Path(data))
            client = await sign_in(served)
            feed, listing = await events(served, admin, client), await lists(served, client)
            await client.aclose()
            await asyncio.to_thread(served.stop)
            await admin.close()
    table = Table("what", "figure")
    table.add_row(f"events to {BROWSERS} browsers, {RATE} a second: delivered a second", f"{feed['events_s']:.0f}")
    table.add_row("the same: half, 99 % are there after", f"{feed['p50_ms']:.0f} ms, {feed['p99_ms']:.0f} ms")
    table.add_row("the same: missed; cores that the console took", f"{feed['missed']:.0f}; {feed['cores']:.2f}")
    table.add_row(f"list of {CAMERAS} cameras", f"{listing['ms']:.1f} ms, of the processor {listing['cpu_ms']:.1f} ms")
    table.add_row("resident after that", f"{listing['resident_mb']:.0f} MB")
    Console(width=110).print(table)


if __name__ == "__main__":
    asyncio.run(main())
