"""What a segment costs at each level of quality: decoding and inference, as a share of full quality.

    python -m bench.bench_levels [rounds]

Segments of 1080p25 at 4 Mbit/s, a keyframe a second, and the embedded detector on one thread. Where torch is
installed ssdlite320_mobilenet_v3_large is measured too: untrained, which costs the same. All levels are measured in
turns, so that a noisy neighbour meets each alike; seconds are of the CPU, medians over the rounds. Decoding ends with
the last frame that is wanted, so it shrinks with the frames, but not below the keyframe.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time

from rich.console import Console
from rich.table import Table

from bench import record
from services.cv.detectors import Detector, load
from shared.video.decode import Image, decode
from tidegate.demo import full_hd

FPS = (5.0, 4.0, 3.0, 2.0, 1.0)
MODELS = ("openvino:ssd_mobilenet_v2_coco",)
TORCH_MODELS = ("torchvision:ssdlite320_mobilenet_v3_large@random",)


def main(rounds: int = 5) -> None:
    payloads = [piece.payload for piece in full_hd.segments()]
    models = MODELS + (TORCH_MODELS if importlib.util.find_spec("torchvision") else ())
    shares: dict[str, float] = {}
    for model in models:
        detector = load(model, threads=1, min_score=0.4, batch_size=8)
        seconds = _measure(detector, payloads, rounds)
        table = Table(title=f"{model}: CPU milliseconds of a segment, one second of 1080p25")
        for column in ("frames looked at", "decoding", "inference", "both", "of full quality"):
            table.add_column(column, justify="right")
        full = sum(seconds[FPS[0]])
        for fps, (decoding, inference) in seconds.items():
            both = decoding + inference
            figures = (f"{1000 * decoding:.1f}", f"{1000 * inference:.1f}", f"{1000 * both:.1f}", f"{both / full:.2f}")
            table.add_row(f"{fps:g} a second" + (": the keyframe" if fps == 1 else ""), *figures)
            shares[f"{fps:g} of {FPS[0]:g} fps / full, {model}"] = both / full
        Console(width=120).print(table)
    record.write("levels", lower=shares)


def _measure(detector: Detector, payloads: list[bytes], rounds: int) -> dict[float, tuple[float, float]]:
    """(decoding, inference) in seconds of the CPU a segment, by frames a second."""
    found: dict[float, list[tuple[float, float]]] = {fps: [] for fps in FPS}
    for fps in FPS:
        _cpu_seconds(detector, payloads[:1], fps)
    for _ in range(rounds):
        for fps in FPS:
            found[fps].append(_cpu_seconds(detector, payloads, fps))
    return {
        fps: (statistics.median(d for d, _ in times), statistics.median(i for _, i in times))
        for fps, times in found.items()
    }


def _cpu_seconds(detector: Detector, payloads: list[bytes], fps: float) -> tuple[float, float]:
    decoding = inference = 0.0
    for payload in payloads:
        began = time.process_time()
        images: list[Image] = [p.pixels for p in decode(payload, fps=fps, size=detector.size).pictures]
        decoded = time.process_time()
        detector.detect(images)
        decoding, inference = decoding + decoded - began, inference + time.process_time() - decoded
    return decoding / len(payloads), inference / len(payloads)


if __name__ == "__main__":
    main(*(int(value) for value in sys.argv[1:]))
