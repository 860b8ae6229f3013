"""The recorder next to ffmpeg: the cost of recording a camera, 1080p25 at 4 Mbit/s.

    python -m bench.bench_recorder                     # 20 cameras for three minutes
    python -m bench.bench_recorder --cameras 60 --seconds 300

Both record the same video in real time, in files of a minute, on the same disk. The recorder reads JetStream; one
ffmpeg per camera reads a file (`-re -c copy -f segment`), so that neither figure includes a camera's network. The table
also shows nats-server's own share: it stores and delivers the video.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import os
import shutil
import subprocess
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import msgspec
import numpy as np
import psutil
from nats.aio.client import Client
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench import record
from bench.processor import cpu_s
from services.ingest.cutting.piece import Piece
from shared import bus
from shared.contract import names, topology
from shared.contract.segment import to_headers
from shared.runtime import child
from tidegate.demo import clips
from tidegate.local.server import NatsServer

FPS, SIZE, RATE = 25, (1920, 1080), 4_000_000
LENGTH_S = 8


def footage(folder: Path) -> Path:
    """Write eight seconds at exactly RATE: moving noise, in groups of pictures of a second."""
    path = folder / "camera.mp4"
    random = np.random.default_rng(1)
    ground = random.integers(0, 255, (SIZE[1] // 8, SIZE[0] // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *SIZE, "yuv420p", RATE
        stream.options = {
            "preset": "ultrafast", "g": str(FPS), "x264-params": "scenecut=0:nal-hrd=cbr:force-cfr=1",
            "maxrate": str(RATE), "minrate": str(RATE), "bufsize": str(RATE),
        }  # fmt: skip
        for n in range(FPS * LENGTH_S):
            picture = av.VideoFrame.from_ndarray(np.roll(ground, 6 * n, 1), format="rgb24").reformat(format="yuv420p")
            picture.pts, picture.time_base = n, Fraction(1, FPS)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


async def feed(client: Client, pieces: list[Piece], camera: str, late_s: float) -> None:
    """Publish like ingest, in an endless loop."""
    js = client.jetstream()
    begin, n = time.time() + late_s, 0
    while True:
        piece = pieces[n % len(pieces)]
        await asyncio.sleep(max(0.0, begin + n + 1 - time.time()))
        segment = msgspec.structs.replace(
            piece.segment,
            camera=camera,
            epoch="e",
            n=n,
            start=dt.datetime.fromtimestamp(begin + n, dt.UTC),
            duration=1.0,
        )
        await js.publish(names.media(camera), piece.payload, headers=to_headers(segment), timeout=30)
        n += 1


async def recorder(folder: Path, video: Path, cameras: int, seconds: float) -> dict[str, float]:
    pieces = clips.pieces(video, "cam")
    async with NatsServer(folder / "nats") as server:
        admin = await bus.connect(server.settings("admin"), "admin")
        await topology.apply(admin.jetstream(), topology.TopologySettings())
        env = {
            "PATH": "/usr/bin:/bin", **server.environment("recorder"), "RECORDER_STORE": str(folder / "kept"),
            "RECORDER_FREE": "0.01", "METRICS_PORT": "0",
        }  # fmt: skip
        process = child.spawn(child.python("services.recorder"), log=folder / "recorder.log", env=env)
        feeding = [asyncio.create_task(feed(admin, pieces, f"cam-{n}", n / cameras)) for n in range(cameras)]
        try:
            one, nats = psutil.Process(process.pid), psutil.Process(server.pid)
            # By then the first files are complete.
            await _peak_memory(90)
            began, before, stored = time.monotonic(), (cpu_s(one), cpu_s(nats)), _bytes(folder / "kept")
            most = await _peak_memory(seconds, one)
            took = time.monotonic() - began
            after = cpu_s(one), cpu_s(nats)
            grown = _bytes(folder / "kept") - stored
        finally:
            for task in feeding:
                task.cancel()
            await asyncio.gather(*feeding, return_exceptions=True)
            process.terminate()
            await asyncio.to_thread(process.wait)
            await admin.close()
    return {
        "percent of a core a camera": 100 * (after[0] - before[0]) / took / cameras,
        "of nats-server": 100 * (after[1] - before[1]) / took / cameras,
        "Mbit/s a camera": grown * 8 / 1e6 / took / cameras,
        "most MB": most,
    }


async def _peak_memory(seconds: float, process: psutil.Process | None = None) -> float:
    """Wait. Return the maximum resident MB of the process meanwhile."""
    most = 0.0
    for _ in track(range(int(seconds)), "recorder"):
        await asyncio.sleep(1)
        most = max(most, process.memory_info().rss / 2**20 if process else 0.0)
    return most


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.mp4"))


def ffmpeg(folder: Path, video: Path, cameras: int, seconds: float) -> dict[str, float]:
    folder.mkdir()
    keep = ["-c", "copy", "-f", "segment", "-segment_time", "60", "-reset_timestamps", "1"]
    source = ["ffmpeg", "-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(video)]
    running = [subprocess.Popen([*source, *keep, str(folder / f"{n}-%03d.mp4")]) for n in range(cameras)]
    try:
        processes = [psutil.Process(one.pid) for one in running]
        time.sleep(5)
        began, before, stored = time.monotonic(), cpu_s(*processes), _bytes(folder)
        for _ in track(range(int(seconds)), "ffmpeg"):
            time.sleep(1)
        took, after = time.monotonic() - began, cpu_s(*processes)
        most = sum(process.memory_info().rss for process in processes) / 2**20
    finally:
        for one in running:
            one.terminate()
        for one in running:
            one.wait()
    return {
        "percent of a core a camera": 100 * (after - before) / took / cameras,
        "of nats-server": 0.0,
        "Mbit/s a camera": (_bytes(folder) - stored) * 8 / 1e6 / took / cameras,
        "most MB": most,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=180.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        video = footage(folder)
        found = {"recorder": asyncio.run(recorder(folder, video, arguments.cameras, arguments.seconds))}
        if shutil.which("ffmpeg"):
            found["ffmpeg"] = ffmpeg(folder / "segments", video, arguments.cameras, arguments.seconds)
    table = Table(
        title=f"{arguments.cameras} cameras, 1080p25 4 Mbit/s, {arguments.seconds:.0f} s", title_justify="left"
    )
    table.add_column("")
    for column in next(iter(found.values())):
        table.add_column(column, justify="right")
    for name, row in found.items():
        table.add_row(name, *(f"{value:.2f}" for value in row.values()))
    Console().print(table)
    cost = "percent of a core a camera"
    record.write(
        "recorder",
        lower={"recorder / ffmpeg": found["recorder"][cost] / found["ffmpeg"][cost]} if "ffmpeg" in found else {},
        figures={f"{name}, {key}": value for name, row in found.items() for key, value in row.items()},
    )


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
