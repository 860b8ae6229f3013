"""The rate of a replica: its threads decode segments while its detector takes their pictures, as in a worker.

Example:
    rate = measure(detector, footage, fps=5, batch=8, threads=1, seconds=5)
    rate.segments_s, rate.cores
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from services.cv.detectors import Detector
from services.cv.settings import CvSettings
from shared.models.measured import Rate
from shared.models.runtimes import batches
from shared.video.decode import Image
from tidegate.models.footage import Footage, Part, pictures


def hold(batch: int, threads: int) -> int:
    """Return the segments that a worker of these settings has in flight."""
    return CvSettings(cv_batch_size=batch, cv_threads=threads).worker().hold


def measure(
    detector: Detector,
    footage: Footage,
    *,
    fps: float,
    batch: int,
    threads: int,
    seconds: float,
    tell: Callable[[str], None] = lambda _: None,
) -> Rate:
    """Measure a replica. threads: that decode. Raises BadSegment and OverBudget."""
    spent: list[float] = []

    def decode(part: Part) -> list[Image]:
        began = time.thread_time()
        images = pictures(part, detector, fps)
        spent.append(time.thread_time() - began)
        return images

    turns = itertools.cycle(footage.parts)
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(decode, next(turns)) for _ in range(hold(batch, threads)))
        _next(waiting, detector, batch)
        began, cpu, done, busy = time.perf_counter(), time.process_time(), 0, 0.0
        while not done or time.perf_counter() - began < seconds:
            while len(waiting) < hold(batch, threads):
                waiting.append(pool.submit(decode, next(turns)))
            count, detecting = _next(waiting, detector, batch)
            done, busy = done + count, busy + detecting
            tell(f"{done} segments decoded and analysed")
        took = time.perf_counter() - began
        cores = (time.process_time() - cpu) / took
        pool.shutdown(cancel_futures=True)
    return Rate(
        segments_s=done / took,
        segment_s=footage.segment_s,
        cores=cores,
        busy=busy / took,
        decode_s=sum(spent) / len(spent),
    )


def _next(waiting: deque[Future[list[Image]]], detector: Detector, batch: int) -> tuple[int, float]:
    """Detect in the next segment, and in further decoded ones up to a batch. Return (segments, seconds)."""
    images, count = list(waiting.popleft().result()), 1
    while waiting and waiting[0].done() and len(images) < batch:
        images += waiting.popleft().result()
        count += 1
    began = time.perf_counter()
    for part in batches.of(images, batch):
        detector.detect(part)
    return count, time.perf_counter() - began
