"""The console's cameras in a real browser: sixteen of them live, and two hundred on the wall for ten minutes.

    python -m bench.bench_wall                       # twelve minutes
    python -m bench.bench_wall --only live --seconds 60

Live: 640x360 H.264 at 15 fps over RTSP (TCP) from a local server, through ingest, JetStream and the console into
Debian's Chromium, all on this machine. The browser counts the frames it dropped; a delay is from a frame's capture to
its display. The wall: two hundred cameras of a segment a second each; a window of 1920x1080 shows some of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import msgspec
import psutil
from nats.aio.client import Client
from playwright.async_api import Page
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench import record
from bench.processor import cpu_s, family
from bench.served import Served
from services.ingest.cutting.piece import Piece
from shared import bus
from shared.client import registry
from shared.contract import cameras, events, names, topology
from shared.contract.events import CameraStatus
from shared.contract.segment import to_headers
from shared.runtime import child
from tests.support.console.browser import becomes, browsing
from tidegate.demo import clips, footage
from tidegate.demo.bank import Bank
from tidegate.local.server import NatsServer

LIVE, WALL = 16, 200
SECONDS = {"live": 60.0, "wall": 600.0}
# Retention of some minutes of video is enough for the bench.
MEDIA_BYTES = 500_000_000

SHOWN = """() => [...document.querySelectorAll("td-player")].map((one) => {
  const {totalVideoFrames, droppedVideoFrames, corruptedVideoFrames} = one.video.getVideoPlaybackQuality();
  const delay = one.currentWallTime === null ? null : (Date.now() - one.currentWallTime) / 1000;
  return {frames: totalVideoFrames, dropped: droppedVideoFrames, broken: corruptedVideoFrames, delay,
          at: one.video.currentTime};
})"""
PICTURES = """() => {
  window.pictures = 0;
  const make = URL.createObjectURL;
  URL.createObjectURL = (blob) => { window.pictures += 1; return make.call(URL, blob); };
}"""


def small(folder: Path) -> list[Path]:
    """Return the demo's street scenes as videos of 640x360 and 15 fps, with a keyframe a second."""
    paths = []
    for source in footage.embedded():
        path = folder / source.name
        with av.open(str(source)) as container, av.open(str(path), "w") as out:
            if container.streams.video[0].width < 640:
                continue
            stream = out.add_stream("libx264", rate=15)
            stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
            stream.options = {"preset": "veryfast", "tune": "zerolatency", "g": "15", "x264-params": "scenecut=0"}
            shown = -1
            for frame in container.decode(video=0):
                if (n := int(frame.time * 15)) > shown:
                    picture = frame.reformat(640, 360, "yuv420p")
                    shown, picture.pts, picture.time_base = n, n, Fraction(1, 15)
                    out.mux(stream.encode(picture))
            out.mux(stream.encode(None))
        paths.append(path)
    return paths


def browsers() -> float:
    """Return the CPU seconds of all of Chromium's processes."""
    return sum(cpu_s(*family(p.pid)) for p in psutil.Process().children() if "node" in p.name())


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[NatsServer, Client, Served]]:
    async with NatsServer(folder) as server:
        admin = await bus.connect(server.settings("admin"), "admin")
        await topology.apply(admin.jetstream(), topology.TopologySettings(media_max_bytes=MEDIA_BYTES))
        console = Served(server, admin, folder)
        try:
            yield server, admin, console
        finally:
            await asyncio.to_thread(console.stop)
            await admin.close()


async def live(folder: Path, seconds: float) -> dict[str, float]:
    """Measure sixteen live cameras side by side."""
    files = small(folder)
    links = []
    for n in range(LIVE):
        links.append(folder / f"gate-{n:02}.mp4")
        links[-1].hardlink_to(files[n % len(files)])
    async with Bank(links, folder / "bank") as bank, served(folder / "nats") as (server, admin, console):
        for path, url in zip(links, bank.urls, strict=True):
            camera, secret = cameras.new_camera(url, always=True)
            await registry.put(admin.jetstream(), path.stem, camera, secret)
        env = {"PATH": "/usr/bin:/bin", **server.environment("ingest")}
        ingest = child.spawn(child.python("services.ingest"), log=folder / "ingest.log", env=env)
        try:
            async with browsing(console, "root", "admin", width=1920, height=1080, allowed=_is_early) as page:
                await page.goto(f"{console.url}#/cameras?live=1")
                await becomes(page, f"document.querySelectorAll('td-player').length === {LIVE}")
                await becomes(page, "[...document.querySelectorAll('td-player video')].every((v) => v.currentTime > 3)")
                return await _watched(page, console, ingest.pid, seconds)
        finally:
            ingest.terminate()
            await asyncio.to_thread(ingest.wait)


def _is_early(text: str) -> bool:
    """Return whether a browser's error is due to a camera without video yet."""
    return "404" in text or "503" in text


async def _watched(page: Page, console: Served, ingest: int, seconds: float) -> dict[str, float]:
    first: list[dict[str, Any]] = await page.evaluate(SHOWN)
    began, before = time.monotonic(), (browsers(), console.cpu_s(), cpu_s(*family(ingest)))
    delays: list[float] = []
    for _ in track(range(int(seconds)), "live"):
        await asyncio.sleep(max(0.0, began + len(delays) / LIVE + 1 - time.monotonic()))
        last: list[dict[str, Any]] = await page.evaluate(SHOWN)
        delays += [one["delay"] for one in last]
    took = time.monotonic() - began
    after = (browsers(), console.cpu_s(), cpu_s(*family(ingest)))
    frames, dropped, broken = (
        sum(b[key] - a[key] for a, b in zip(first, last, strict=True)) for key in ("frames", "dropped", "broken")
    )
    played = [(b["at"] - a["at"]) / took for a, b in zip(first, last, strict=True)]
    cores = [(b - a) / took for a, b in zip(before, after, strict=True)]
    return {
        "frames a second and camera": frames / took / LIVE,
        "dropped, of all frames": dropped / frames,
        "broken": float(broken),
        "slowest camera, of real time": min(played),
        "delay p50, s": statistics.median(delays),
        "delay p99, s": statistics.quantiles(delays, n=100)[98],
        "cores: browser": cores[0],
        "cores: console": cores[1],
        "cores: ingest": cores[2],
        "console resident, MB": console.resident_mb(),
    }


async def wall(folder: Path, seconds: float) -> list[dict[str, float]]:
    """Measure two hundred cameras. Return the figures of each part."""
    files = small(folder)
    async with served(folder / "nats") as (_, admin, console):
        bucket = await admin.jetstream().key_value(names.CAMERAS)
        ids = [f"gate-{n:03}" for n in range(WALL)]
        for id in ids:
            await bucket.put(id, cameras.encode(cameras.new_camera("rtsp://10.0.0.1/x")[0]))
        scenes = [clips.pieces(path, "x") for path in files]
        filming = [asyncio.create_task(_film(admin, id, scenes[n % len(scenes)], n)) for n, id in enumerate(ids)]
        try:
            async with browsing(console, "root", "admin", width=1920, height=1080, allowed=_is_early) as page:
                await page.evaluate(PICTURES)
                await page.goto(f"{console.url}#/cameras")
                await becomes(page, f"document.querySelectorAll('.tile').length === {WALL}")
                await becomes(page, "document.querySelectorAll('.tile img:not([hidden])').length > 10")
                return [await _minute(page, console, admin, seconds / 10) for _ in track(range(10), "wall")]
        finally:
            for task in filming:
                task.cancel()
            await asyncio.gather(*filming, return_exceptions=True)


async def _film(admin: Client, id: str, pieces: list[Piece], n: int) -> None:
    """Publish video in a loop in real time, and periodically the camera's status."""
    await asyncio.sleep(n / WALL)
    seq, at = 0, dt.datetime.now(dt.UTC)
    while True:
        for piece in pieces:
            if not seq % 10:
                await _say(
                    admin,
                    CameraStatus(
                        camera=id, time=at, state="online", reason="video arrives", url="rtsp://10.0.0.1/x", ingest="i"
                    ),
                    f"{id}/{seq}",
                )
            head = msgspec.structs.replace(piece.segment, camera=id, epoch="e", n=seq, start=at)
            await admin.publish(names.media(id), piece.payload, headers=to_headers(head))
            at += dt.timedelta(seconds=piece.segment.duration)
            seq += 1
            await asyncio.sleep(max(0.0, (at - dt.datetime.now(dt.UTC)).total_seconds()))


async def _say(admin: Client, event: CameraStatus, id: str) -> None:
    await admin.publish(
        events.subject(event), events.encode(event), headers=events.headers(event, id=id, source="bench")
    )


async def _minute(page: Page, console: Served, admin: Client, seconds: float) -> dict[str, float]:
    """Measure one part: the CPU used, and the browser's memory after garbage collection."""
    before, began = (console.cpu_s(), browsers(), await page.evaluate("window.pictures")), time.monotonic()
    stored = (await admin.jetstream().stream_info(names.MEDIA)).state.last_seq
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    after = (console.cpu_s(), browsers(), await page.evaluate("window.pictures"))
    segments = (await admin.jetstream().stream_info(names.MEDIA)).state.last_seq - stored
    session = await page.context.new_cdp_session(page)
    await session.send("Performance.enable")
    await session.send("HeapProfiler.collectGarbage")
    metrics = {one["name"]: one["value"] for one in (await session.send("Performance.getMetrics"))["metrics"]}
    await session.detach()
    cores = [(b - a) / took for a, b in zip(before, after, strict=True)]
    return {
        "console, cores": cores[0],
        "console, MB": console.resident_mb(),
        "browser, cores": cores[1],
        "heap, MB": metrics["JSHeapUsedSize"] / 1e6,
        "DOM nodes": metrics["Nodes"],
        "listeners": metrics["JSEventListeners"],
        "pictures/s": cores[2],
        "segments/s": segments / took,
    }


def show_live(found: dict[str, float]) -> None:
    table = Table(f"{LIVE} cameras live, 640x360, 15 fps", "measured")
    for name, value in found.items():
        table.add_row(name, f"{value:.2%}" if "of all" in name else f"{value:.2f}")
    Console(width=110).print(table)


def show_wall(minutes: list[dict[str, float]]) -> None:
    table = Table(f"{WALL} cameras on the wall", *minutes[0])
    for n, one in enumerate(minutes, 1):
        table.add_row(
            f"part {n} of 10", *(f"{value:.0f}" if value > 1000 else f"{value:.2f}" for value in one.values())
        )
    Console(width=120).print(table)


async def main(only: str, seconds: float | None) -> None:
    figures: dict[str, float] = {}
    lower: dict[str, float] = {}
    for name in ("live", "wall") if not only else (only,):
        with tempfile.TemporaryDirectory(prefix="tidegate-wall-") as data:
            (Path(data) / "nats").mkdir()
            if name == "live":
                found = await live(Path(data), seconds or SECONDS[name])
                show_live(found)
                figures |= {f"live: {key}": value for key, value in found.items()}
            else:
                minutes = await wall(Path(data), seconds or SECONDS[name])
                show_wall(minutes)
                figures |= {f"wall, last: {key}": value for key, value in minutes[-1].items()}
                lower = {
                    f"{key}: last / second": minutes[-1][key] / minutes[1][key]
                    for key in ("heap, MB", "console, cores", "console, MB")
                }
    record.write("wall", lower=lower, figures=figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=("live", "wall"), default="", help="one of both")
    parser.add_argument("--seconds", type=float, help="how long (60 live, 600 on the wall)")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.only, arguments.seconds))
