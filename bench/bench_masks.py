"""The cost of recording a camera with masks: 1080p25 at 4 Mbit/s is decoded, partially blackened and encoded.

    python -m bench.bench_masks [rounds]

The footage is moving noise, the worst case for an encoder. ffmpeg does the same with its own filter, on one core.
"""

from __future__ import annotations

import asyncio
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from bench import record
from bench.bench_recorder import LENGTH_S, footage
from services.recorder.masking import masker
from shared.recordings.files import SegmentWithVideo
from shared.recordings.windows import Head
from tidegate.demo import clips

ROUNDS = 3
MASKS = (((0.0, 0.0), (0.4, 0.0), (0.4, 0.4), (0.0, 0.4)),)
_BLACK = "drawbox=x=0:y=0:w=iw*0.4:h=ih*0.4:color=black:t=fill"
_ENCODED = ("-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-crf", "23", "-threads", "1")


def cores(work: Callable[[], object]) -> float:
    """Return the cores that the children of `work` use, per second of video."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / LENGTH_S


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as name:
        video = footage(Path(name))
        pieces = clips.pieces(video, "cam")
        read = [
            SegmentWithVideo(Head(n + 1, one.segment, len(one.payload)), one.payload) for n, one in enumerate(pieces)
        ]
        command = ["ffmpeg", "-v", "error", "-y", "-threads", "1", "-i", str(video), "-vf", _BLACK, *_ENCODED]
        found: dict[str, list[float]] = {"masks": [], "ffmpeg": []}
        for _ in range(rounds):
            found["masks"].append(cores(lambda: asyncio.run(masker.mask_window(read, MASKS))))
            if shutil.which("ffmpeg"):
                out = str(Path(name) / "out.mp4")
                found["ffmpeg"].append(cores(lambda: subprocess.run([*command, out], check=True)))  # noqa: B023
    medians = {name: statistics.median(row) for name, row in found.items() if row}
    for name, value in medians.items():
        Console().print(f"{name}: {value:.2f} cores a camera")
    ratio = {"masks / ffmpeg": medians["masks"] / medians["ffmpeg"]} if "ffmpeg" in medians else {}
    record.write("masks", lower=ratio, figures={f"{name}, cores a camera": value for name, value in medians.items()})


if __name__ == "__main__":
    main()
