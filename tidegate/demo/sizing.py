"""How much video fits this machine: what one worker does is measured, and the demo's load made of it.

    python -m tidegate.demo.sizing crossing.mp4      # frames a second of one worker on one core: 34.2

A process of its own, so that it can be ended at any moment and takes the model's memory with it.
"""

from __future__ import annotations

import math
import sys
import time
from itertools import cycle
from pathlib import Path

import msgspec

from shared.runtime.errors import TidegateError
from tidegate.keda.scaledobject import ScaledObject
from tidegate.local import elastic

MEASURE_S = 1.0
# What server, ingest, cameras and view need of the machine, in cores.
OVERHEAD_CORES = 0.4
MOST_WORKERS = 4
# Above this a camera's frames hardly differ, and more cameras tell the story better.
MOST_FPS = 25.0
MOST_CAMERAS = 24
CALM_CAMERAS = 2
# Two cameras keep one worker busy for this share of its time: about half, and six of them two cores for 1.6.
CALM_SHARE = 0.53
# From a segment's arrival to its event: what workers defend by looking at fewer frames. What one of them clears in
# that time is the lag that calls for another one, until its rate is known.
LATENCY_TARGET_S = 2.0
# A surge is a quarter of all that the scaler ever sees here. A small budget would hold workers for the next one.
DEFER_BUDGET = 0.15


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """fps: analysed of each camera. cameras: in the surge, the two of the calm included. workers: at most.

    lag_threshold: segments waiting or in work, per replica. surge: workers that the surge keeps busy.
    """

    rate: float
    fps: float
    cameras: int
    workers: int
    lag_threshold: int
    surge: float


def fit(rate: float, cores: int) -> Load:
    """A load for a machine of `cores` whose worker does `rate` frames a second on one core.

    Two cameras take about half a worker. The surge takes all cores but what the rest needs, so that the workers that
    follow do clear the backlog. On a single core two workers share it, and the backlog is cleared after the surge.
    """
    workers = max(2, min(MOST_WORKERS, cores))
    surge = max(1.3, workers - OVERHEAD_CORES)
    # Rounded down: six cameras must fit where they would just so.
    fps = math.floor(10 * min(MOST_FPS, max(0.5, CALM_SHARE * rate / CALM_CAMERAS))) / 10
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


def fitted(scaled: ScaledObject, load: Load, clock: float) -> ScaledObject:
    """The ScaledObject with what depends on the hardware: what a replica clears, how many fit, how soon they are there.

    clock: the autoscaler's seconds in one real second, by which its times are counted.
    """
    spec = msgspec.structs.replace(scaled.spec, max_replica_count=max(load.workers, scaled.spec.min_replica_count))
    times = {"latencyTarget": LATENCY_TARGET_S * clock, "coldStart": elastic.COLD_START_S * clock}
    fitting = elastic.with_query(scaled, lagThreshold=load.lag_threshold, deferBudget=DEFER_BUDGET, **times)
    return msgspec.structs.replace(fitting, spec=spec)


def alone(scaled: ScaledObject) -> ScaledObject:
    """The ScaledObject with one replica at most: what goes on beside the story must not take its cores."""
    spec = msgspec.structs.replace(scaled.spec, max_replica_count=max(1, scaled.spec.min_replica_count))
    return msgspec.structs.replace(scaled, spec=spec)


def measure(video: Path, seconds: float = MEASURE_S) -> float:
    """Frames a second of one worker on one core: decode, scale and detect, one after the other.

    Counted in the processor's time, as what else runs in this second may be gone in the next; what it takes now is
    believed by half at most.
    """
    from services.cv import detectors
    from services.cv.settings import CvSettings
    from shared.video.decode import decode

    detector = detectors.load(CvSettings().cv_model, threads=1)
    cpu = time.process_time()
    pictures = decode(video.read_bytes(), fps=8, size=detector.size).pictures[:64]
    decoding = (time.process_time() - cpu) / len(pictures)
    done = 0
    wall, cpu = time.perf_counter(), time.process_time()
    for picture in cycle(pictures):
        detector.detect([picture.pixels])
        done += 1
        if time.perf_counter() - wall >= seconds:
            break
    spent = time.process_time() - cpu
    share = spent / (time.perf_counter() - wall)
    return min(1.0, max(0.5, share)) / (decoding + spent / done)


if __name__ == "__main__":
    try:
        print(f"{measure(Path(sys.argv[1])):.2f}")
    except TidegateError as e:
        print(e, file=sys.stderr)
        sys.exit(1)
