"""Metrics of analytics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shared.runtime.telemetry import LATENCY_BUCKETS

OWNED = Gauge("tidegate_analytics_partitions", "Partitions that this process has")
CAMERAS = Gauge("tidegate_analytics_cameras", "Cameras whose state this process has")
READ = Counter("tidegate_analytics_segments_total", "Segments whose detections were read, by outcome", ["outcome"])
GAPS = Counter("tidegate_analytics_gaps_total", "Segments that did not come within ANALYTICS_REORDER_S")
EVENTS = Counter("tidegate_analytics_events_total", "Events published, by kind", ["kind"])
UNSTORABLE = Counter("tidegate_analytics_unstorable_total", "Events that the server will never take, by kind", ["kind"])
OBJECTS = Counter("tidegate_analytics_objects_total", "Tracks that have begun")
SUPPRESSED = Counter(
    "tidegate_analytics_suppressed_total", "Incidents that were kept back by a cooldown, or as 100 others last"
)
BEHIND = Gauge("tidegate_analytics_behind_seconds", "Age of the detections that were read last; 0 once all are read")
LATENCY = Histogram(
    "tidegate_analytics_latency_seconds",
    "Time from the storage of detections to the events that follow from them",
    buckets=LATENCY_BUCKETS,
)
MOVES = Counter("tidegate_analytics_moves_total", "Partitions taken, released and lost", ["what"])
STATE_BYTES = Gauge("tidegate_analytics_state_bytes", "Bytes of cameras' states, as of the last checkpoints")
DROPPED = Counter(
    "tidegate_analytics_dropped_total",
    "Cameras whose state, second passes or waiting segments were dropped, as they had no room",
    ["what"],
)
UNSTORED = Counter("tidegate_analytics_unstored_checkpoints_total", "Checkpoints for which the bucket had no room")
CHECKPOINT_BYTES = Counter("tidegate_analytics_checkpoint_bytes_total", "Bytes of checkpoints written")
VERIFICATIONS = Counter(
    "tidegate_analytics_verifications_total", "Incidents that vlm was asked to verify, by outcome", ["outcome"]
)
RULES = Counter("tidegate_analytics_bad_rules_total", "Entries in bucket rules that can't be used")

DEFERRED = Counter(
    "tidegate_analytics_deferred_total",
    "Segments of which frames were left out, in the second pass, by outcome",
    ["outcome"],
)
WAITING = Gauge(
    "tidegate_analytics_deferred_waiting", "Segments of which frames were left out, for which the second pass waits"
)
PASSES = Counter("tidegate_analytics_second_passes_total", "Second passes of a camera, by outcome", ["outcome"])
AMENDED = Counter(
    "tidegate_analytics_amended_total",
    "What the second pass has found late, not found, and counted otherwise",
    ["what"],
)

# Each series exists from the start, at 0, rather than from its first event.
for counter, values in (
    (READ, ("taken", "late", "repeated", "unreadable", "failed", "unlisted")),
    (DROPPED, ("state", "passes", "waiting")),
    (VERIFICATIONS, ("asked", "refused")),
    (MOVES, ("taken", "released", "lost")),
    (DEFERRED, ("revised", "lost", "overdue")),
    (PASSES, ("begun", "ended", "failed", "refused")),
    (AMENDED, ("late_incident", "false_alarm", "minute")),
):
    for value in values:
        counter.labels(value)
