"""What the recorder exports."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shared.runtime.telemetry import LATENCY_BUCKETS

OWNED = Gauge("tidegate_recorder_partitions", "Partitions that this process has")
CAMERAS = Gauge("tidegate_recorder_cameras", "Cameras that this process records")
UNLISTED = Gauge(
    "tidegate_recorder_unrecorded_cameras",
    "Cameras without an entry that RECORDER_UNLISTED_CAMERAS leaves no place for",
)
SEGMENTS = Counter("tidegate_recorder_segments_total", "Segments by what became of them", ["outcome"])
FILES = Counter("tidegate_recorder_files_total", "Files written")
BYTES = Counter("tidegate_recorder_bytes_total", "Bytes of files written")
BEHIND = Gauge("tidegate_recorder_behind_seconds", "Age of the oldest segment that is not recorded yet")
WRITE = Histogram("tidegate_recorder_write_seconds", "Time to bring one file to the store", buckets=LATENCY_BUCKETS)
FAILED = Counter("tidegate_recorder_store_failures_total", "Writes and reads of the store that failed")
REMOVED = Counter("tidegate_recorder_removed_files_total", "Files removed, by cause", ["cause"])
THINNED = Counter("tidegate_recorder_thinned_bytes_total", "Bytes less, as of files that nobody wanted keyframes stay")

# Each series exists from the start, at 0, rather than from its first event.
for counter, values in (
    (SEGMENTS, ("recorded", "expired", "dropped", "damaged", "policy", "unmasked", "unreadable")),
    (REMOVED, ("age", "size", "room", "policy", "unknown", "erased")),
):
    for value in values:
        counter.labels(value)
