"""What a worker loop exports, labelled by service. Counters and histograms: rates are the reader's to make."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from shared.runtime.telemetry import LATENCY_BUCKETS

if TYPE_CHECKING:
    from shared.worker.service import Message

IN = Counter("tidegate_segments_in_total", "messages taken from the stream", ["service"])
OUT = Counter("tidegate_segments_out_total", "messages processed: result stored, message acknowledged", ["service"])
BYTES_IN = Counter("tidegate_bytes_in_total", "bytes of messages taken", ["service"])
ITEMS = Counter("tidegate_items_total", "frames, images or jobs computed", ["service"])
REDELIVERED = Counter("tidegate_redelivered_total", "messages that came again", ["service"])
DUPLICATES = Counter("tidegate_duplicate_results_total", "results that JetStream already had", ["service"])
FAILED = Counter("tidegate_failed_total", "tries that failed, by cause", ["service", "cause"])
DEAD = Counter("tidegate_dead_lettered_total", "messages dead-lettered, by cause", ["service", "cause"])
UNREADABLE_SKIPPED = Counter(
    "tidegate_unreadable_skipped_total",
    "unreadable segments without a dead letter, as the camera's earlier ones had the same cause",
    ["service"],
)
HANDED_BACK = Counter("tidegate_handed_back_total", "messages given back unprocessed at shutdown", ["service"])
BACKFILL = Counter(
    "tidegate_backfill_jobs_total",
    "degraded segments, by the result of their backfill: done, duplicate, or why it is lost",
    ["service", "result"],
)
REANALYSIS = Counter(
    "tidegate_reanalysis_segments_total",
    "recorded segments analysed again, by result: done, failed, no_time, unwanted, error",
    ["service", "result"],
)
BUSY = Counter("tidegate_busy_seconds_total", "seconds the device computed", ["service"])
WORKING = Counter("tidegate_working_seconds_total", "seconds with at least one message in flight", ["service"])
WORK_WANTED = Counter(
    "tidegate_work_wanted_seconds_total", "seconds of a replica that processed segments take in full", ["service"]
)
WORK = Counter("tidegate_work_seconds_total", "seconds of a replica that they took as analysed", ["service"])
FRAMES_WANTED = Counter("tidegate_frames_wanted_total", "frames wanted", ["service"])
FRAMES_ANALYSED = Counter("tidegate_frames_analysed_total", "frames analysed before any backfill", ["service"])
FRAMES_DEFERRED = Counter(
    "tidegate_frames_deferred_total", "frames deferred, by cause; of vlm never backfilled", ["service", "cause"]
)
FRAMES_NEVER = Counter(
    "tidegate_frames_never_analysed_total", "deferred frames that no replica will analyse any more", ["service"]
)
HELD = Gauge("tidegate_messages_in_flight", "messages in flight", ["service"])
BATCH = Histogram("tidegate_batch_size", "items in a batch", ["service"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256))
STAGE = Histogram(
    "tidegate_stage_seconds",
    "time of a message queued in JetStream, in prepare, in infer, in publish",
    ["service", "stage"],
    buckets=LATENCY_BUCKETS,
)
LATENCY = Histogram(
    "tidegate_latency_seconds",
    "from a frame's wall clock to its stored result",
    ["service"],
    buckets=LATENCY_BUCKETS,
)


def record_received(service: str, message: Message) -> None:
    """Count a message that was taken."""
    IN.labels(service).inc()
    BYTES_IN.labels(service).inc(len(message.raw.data))
    if message.deliveries > 1:
        REDELIVERED.labels(service).inc()
    STAGE.labels(service, "queued").observe(message.queued_s)


def record_stored(service: str, frame_times: Iterable[float], *, is_duplicate: bool) -> None:
    """Count a stored result. frame_times: wall clock of its frames, seconds."""
    OUT.labels(service).inc()
    if is_duplicate:
        DUPLICATES.labels(service).inc()
    now = time.time()
    for at in frame_times:
        LATENCY.labels(service).observe(max(0.0, now - at))
