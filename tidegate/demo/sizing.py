"""The demo's load for this machine, from the measured rate of one worker.

    python -m tidegate.demo.sizing crossing.mp4      # frames a second of one worker on one core: 34.2

The measurement runs in a separate process, which can be killed at any time and then frees the model's memory.
"""

from __future__ import annotations

import math
import os
import sys
import time
from itertools import cycle
from pathlib import Path

import msgspec

from shared.runtime.errors import TidegateError
from tidegate.keda.scaledobject import ScaledObject
from tidegate.local.scaling import scaled_objects

MEASURE_S = 1.0
# Cores for server, ingest, cameras and view.
OVERHEAD_CORES = 0.4
MAX_WORKERS = 4
# Above this rate a camera's frames hardly differ, and more cameras show the surge better.
MAX_FPS = 25.0
MOST_CAMERAS = 24
CALM_CAMERAS = 2
# Share of time that two cameras keep one worker busy: about half, and six of them two cores for 1.6.
CALM_SHARE = 0.53
# Seconds from a segment's arrival to its event; workers defer frames to meet it. Until the rate is measured, the lag
# that one worker clears in this time triggers another one.
LATENCY_TARGET_S = 2.0


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """rate: frames per second of a worker. fps: analysed frames per second of each camera. cameras: during the surge,
    with the two permanent ones. workers: maximum.

    lag_threshold: pending and in-flight segments per replica. surge: workers that the surge keeps busy.
    """

    rate: float
    fps: float
    cameras: int
    workers: int
    lag_threshold: int
    surge: float


def fit(rate: float, cores: int) -> Load:
    """Return a load for a machine of `cores` whose worker analyses `rate` frames per second on one core.

    Two cameras take about half a worker. The surge takes all cores except the overhead, so that the added workers clear
    the backlog. On a single core two workers share it and clear the backlog after the surge.
    """
    workers = max(2, min(MAX_WORKERS, cores))
    surge = max(1.3, workers - OVERHEAD_CORES)
    # Rounded down, so that six cameras fit even if they only just do.
    fps = math.floor(10 * min(MAX_FPS, max(0.5, CALM_SHARE * rate / CALM_CAMERAS))) / 10
    cameras = max(CALM_CAMERAS + 2, min(MOST_CAMERAS, math.floor(surge * rate / fps)))
    per_second = rate / fps
    return Load(
        rate=rate,
        fps=fps,
        cameras=cameras,
        workers=workers,
        lag_threshold=max(4, math.ceil(LATENCY_TARGET_S * per_second)),
        surge=cameras * fps / rate,
    )


def fit_scaled_object(scaled: ScaledObject, load: Load, clock: float) -> ScaledObject:
    """Return the ScaledObject with the settings that depend on the hardware: threshold, maximum and cold start.

    clock: the autoscaler's seconds in one real second; it scales the time settings.
    """
    times = {"latencyTarget": LATENCY_TARGET_S * clock, "coldStart": scaled_objects.COLD_START_S * clock}
    cores = os.cpu_count() or 1
    scaled = scaled.with_maximum(
        load.workers, scaled_objects.cores_limit(cores, "CV_DEVICE") if load.workers >= cores else None
    )
    return scaled_objects.with_query(scaled, lagThreshold=load.lag_threshold, **times)


def measure(video: Path, seconds: float = MEASURE_S) -> float:
    """Return frames per second of one worker on one core: decode, scale and detect in sequence.

    It counts CPU time, because other load in this second may be gone in the next. Other load lowers the result by half
    at most.
    """
    from services.cv import detectors
    from services.cv.settings import CvSettings
    from shared.video.decode import decode

    detector = detectors.load(CvSettings().cv_model, threads=1)
    cpu = time.process_time()
    pictures = decode(video.read_bytes(), fps=8, size=detector.size).pictures[:64]
    decoding = (time.process_time() - cpu) / len(pictures)
    count = 0
    wall, cpu = time.perf_counter(), time.process_time()
    for picture in cycle(pictures):
        detector.detect([picture.pixels])
        count += 1
        if time.perf_counter() - wall >= seconds:
            break
    spent = time.process_time() - cpu
    share = spent / (time.perf_counter() - wall)
    return min(1.0, max(0.5, share)) / (decoding + spent / count)


if __name__ == "__main__":
    try:
        print(f"{measure(Path(sys.argv[1])):.2f}")
    except TidegateError as e:
        print(e, file=sys.stderr)
        sys.exit(1)
