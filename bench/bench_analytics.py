"""The cost of analytics: CPU of one process per camera-second, from 1 camera to 200.

Each camera has a zone, a line and two rules. Detections are of people in real surveillance footage at 5 frames a
second, 6 in a frame; each camera begins at another place. First, EVENTS already has all detections; then 200 cameras
publish in real time.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import sys
import time
from collections.abc import Sequence

import msgspec
import psutil
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from rich.console import Console
from rich.table import Table

from bench import footage_vtest as footage
from bench import record, world
from shared.contract import events, names, rules
from shared.contract.events import DetectedObject, Detections
from tidegate.local.scaling.replicas import Replicas

FPS, LEAST = 5, 0.3
CAMERAS = (1, 10, 50, 100, 200)
# Camera-seconds of each row, divided among its cameras.
CAMERA_SECONDS = 4000
LIVE_CAMERAS, LIVE_S = 200, 30
WARM_S = 3.0
CONCURRENCY = 64


def camera_detections(found: list[list[DetectedObject]], n: int, seconds: int, start: dt.datetime) -> list[Detections]:
    """Return the detections of camera `n`, which begins at its own place in the footage and repeats it."""
    once = list(footage.events(found, FPS, LEAST))[:-1]
    out = []
    for k in range(seconds):
        event = once[(7 * n + k) % len(once)]
        begin = start + dt.timedelta(seconds=k)
        out.append(
            msgspec.structs.replace(
                event,
                camera=f"cam-{n}",
                segment=msgspec.structs.replace(event.segment, n=k, seq=k + 1),
                start=begin,
                frames=[msgspec.structs.replace(f, time=begin + (f.time - event.start)) for f in event.frames],
            )
        )
    return out


async def publish(client: Client, detections: Sequence[Detections]) -> None:
    js = client.jetstream()
    for i in range(0, len(detections), CONCURRENCY):
        await asyncio.gather(
            *(
                js.publish(
                    events.subject(e),
                    events.encode(e),
                    headers=events.headers(e, id=f"{e.camera}/{e.segment.n}", source="bench"),
                )
                for e in detections[i : i + CONCURRENCY]
            )
        )


async def measure(found: list[list[DetectedObject]], cameras: int, seconds: int, *, live: bool) -> tuple[float, ...]:
    """Return (CPU ms per camera-second, camera-seconds per second, events per camera-second, MB, p50 and p99 ms)."""
    async with world.serving() as (server, admin, folder):
        js = admin.jetstream()
        bucket = await js.key_value(names.RULES)
        for n in range(cameras):
            await bucket.put(f"cam-{n}", rules.encode(msgspec.convert(footage.RULES, rules.Rules)))
        start = dt.datetime.now(dt.UTC)
        detections = [camera_detections(found, n, seconds, start) for n in range(cameras)]
        interleaved = [second for row in zip(*detections, strict=True) for second in row]
        if not live:
            await publish(admin, interleaved)
        environment = server.environment("analytics") | {"METRICS_PORT": "0", "LOG_LEVEL": "error"}
        pool = Replicas("analytics", [sys.executable, "-m", "services.analytics"], environment, folder)
        began = time.monotonic()
        await pool.scale_to(1)
        await asyncio.sleep(WARM_S if live else 0.5)
        (process,) = [p for p in psutil.Process().children() if "services.analytics" in p.cmdline()]
        idle = sum(process.cpu_times()[:2])
        if live:
            for k in range(seconds):
                await asyncio.sleep(max(0.0, began + WARM_S + k - time.monotonic()))
                await publish(admin, interleaved[k * cameras : (k + 1) * cameras])
        wanted = f"events.tracks.cam-{cameras - 1}"
        finished = await _all_read(admin, wanted, seconds)
        cpu_s = sum(process.cpu_times()[:2]) - (idle if live else 0.0)
        memory = process.memory_info().rss / 2**20
        latencies = await _latencies(admin) if live else []
        count = (await js.stream_info(names.EVENTS, subjects_filter="events.tracks.>")).state.subjects or {}
        await pool.close()
    total = cameras * seconds
    at = [latencies[int(len(latencies) * q)] * 1e3 for q in (0.5, 0.99)] if latencies else [0.0, 0.0]
    return cpu_s / total * 1e3, total / (finished - began), sum(count.values()) / total, memory, *at


async def _all_read(client: Client, subject: str, seconds: int) -> float:
    """Wait until analytics has published the last camera's last segments. Return the time."""
    js = client.jetstream()
    while True:
        with contextlib.suppress(NotFoundError):
            raw = await js.get_msg(names.EVENTS, subject=subject, direct=True)
            if msgspec.json.decode(raw.data or b"")["segment"]["n"] >= seconds - 3:
                return time.monotonic()
        await asyncio.sleep(0.1)


async def _latencies(client: Client) -> list[float]:
    """Return the seconds from a segment's detections to its tracks, as stored in EVENTS; ascending."""
    from shared.bus.log import Log

    stored: dict[tuple[str, int], float] = {}
    found: list[float] = []
    async with Log(client, names.EVENTS) as log:
        for subject in ("events.detections.*", "events.tracks.*"):
            seq = 1
            while part := await log.read(subject, seq):
                for message in part:
                    event = msgspec.json.decode(message.data)
                    key = (event["camera"], event["segment"]["n"])
                    if subject == "events.detections.*":
                        stored[key] = message.time.timestamp()
                    else:
                        found.append(message.time.timestamp() - stored[key])
                seq = part[-1].seq + 1
    return sorted(found)


async def main() -> None:
    out = Console(width=120)
    found = [[o for o in frame if o.label == "person"] for frame in footage.detect(LEAST)]
    table = Table("cameras", "ms of CPU a camera-second", "over 1 camera", "camera-seconds a second", "events", "MB")
    costs = []
    for cameras in CAMERAS:
        cpu, rate, detections, memory, *_ = await measure(
            found, cameras, max(20, CAMERA_SECONDS // cameras), live=False
        )
        costs.append(cpu)
        table.add_row(
            str(cameras), f"{cpu:.2f}", f"{cpu / costs[0]:.2f}", f"{rate:.0f}", f"{detections:.2f}", f"{memory:.0f}"
        )
    out.print(table)
    cpu, _, _, memory, p50, p99 = await measure(found, LIVE_CAMERAS, LIVE_S, live=True)
    out.print(
        f"{LIVE_CAMERAS} cameras live: {cpu:.2f} ms of CPU a camera-second, {cpu * LIVE_CAMERAS / 10:.0f} % of a core; "
        f"from detections to tracks {p50:.0f} ms p50, {p99:.0f} ms p99; {memory:.0f} MB"
    )
    record.write(
        "analytics",
        lower={f"a camera-second of {CAMERAS[-1]} cameras / of one": costs[-1] / costs[0]},
        figures={"live, ms of CPU a camera-second": cpu, "live, p50 ms": p50, "live, p99 ms": p99, "live, MB": memory},
    )


if __name__ == "__main__":
    asyncio.run(main())
