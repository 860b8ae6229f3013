"""Thinning a minute of recordings to its keyframes: the share of bytes left, and the CPU cost.

    python -m bench.bench_thinning [rounds]

Real surveillance footage (Debian's opencv-doc), looped and encoded again: at constant rates, and at a constant quality,
which needs few bytes while little moves.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from bench import record
from bench.footage_vtest import is_available, video
from shared.recordings import files
from shared.recordings.files import SegmentWithVideo, VideoFile
from shared.recordings.thinning import keyframe_segments
from shared.recordings.windows import Head
from tidegate.demo import clips

ROUNDS = 5
SECONDS = 60
RATES = {
    "4 Mbit/s": ["-b:v", "4M", "-maxrate", "4M", "-bufsize", "4M"],
    "1 Mbit/s": ["-b:v", "1M", "-maxrate", "1M", "-bufsize", "1M"],
    "of one quality": ["-crf", "26"],
}
EVERY_S = (1, 2, 4)


def encode(folder: Path, rate: str, every_s: int) -> Path:
    path = folder / f"{rate.partition(' ')[0]}-{every_s}.mp4"
    command = [
        "ffmpeg", "-v", "error", "-stream_loop", "-1", "-i", str(video()), "-t", str(SECONDS), "-vf",
        "fps=25,scale=1920:1080", "-c:v", "libx264", "-preset", "ultrafast", "-g", str(25 * every_s),
        "-sc_threshold", "0", *RATES[rate], "-y", str(path),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return path


def video_file(path: Path) -> VideoFile:
    pieces = clips.pieces(path, "cam")
    read = [
        SegmentWithVideo(Head(n, replace(p.segment, n=n), len(p.payload)), p.payload) for n, p in enumerate(pieces, 1)
    ]
    (found,), _ = files.build_files(read, "a")
    return found


def main() -> bool:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    if not is_available():
        Console().print("the footage is not here: apt-get install opencv-doc")
        return False
    table = Table("1080p25", "a keyframe each", "MB a minute", "keyframes alone", "ms of CPU", box=None)
    shares: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for rate in RATES:
            for every_s in EVERY_S:
                whole = video_file(encode(Path(folder), rate, every_s))
                data, times = b"".join(whole.buffers), []
                for _ in range(rounds):
                    began = time.process_time()
                    (thin,), _ = files.build_files(keyframe_segments("cam", whole.record, data), "b")
                    times.append(1000 * (time.process_time() - began))
                share = thin.record.size / whole.record.size
                shares[f"{rate}, each {every_s} s, of all bytes"] = share
                table.add_row(
                    rate, f"{every_s} s", f"{len(data) / 1e6:.1f}", f"{share:.0%}", f"{statistics.median(times):.0f}"
                )
    Console().print(table)
    record.write("thinning", lower=shares)
    return True


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
