"""What analytics counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shared.runtime.telemetry import LATENCY_BUCKETS

OWNED = Gauge("tidegate_analytics_partitions", "Partitions that this process has")
CAMERAS = Gauge("tidegate_analytics_cameras", "Cameras whose state this process has")
READ = Counter("tidegate_analytics_segments_total", "Segments' detections read", ["outcome"])
OUTCOMES = ("taken", "late", "repeated", "unreadable", "failed")
GAPS = Counter("tidegate_analytics_gaps_total", "Segments that did not come within ANALYTICS_REORDER_S")
EVENTS = Counter("tidegate_analytics_events_total", "Events published", ["kind"])
UNSTORABLE = Counter("tidegate_analytics_unstorable_total", "Events that the server will never take", ["kind"])
OBJECTS = Counter("tidegate_analytics_objects_total", "Tracks begun")
SUPPRESSED = Counter("tidegate_analytics_suppressed_total", "Incidents that a cooldown, or 100 others, kept back")
BEHIND = Gauge("tidegate_analytics_behind_seconds", "How old what was read last is; 0 once all is read")
LATENCY = Histogram(
    "tidegate_analytics_latency_seconds",
    "From the storage of detections to what is said of them",
    buckets=LATENCY_BUCKETS,
)
MOVES = Counter("tidegate_analytics_moves_total", "Partitions taken, released and lost", ["what"])
CHECKPOINT_BYTES = Counter("tidegate_analytics_checkpoint_bytes_total", "Bytes of checkpoints written")
ASKED = Counter("tidegate_analytics_verifications_total", "Incidents that vlm was asked about", ["outcome"])
RULES = Counter("tidegate_analytics_bad_rules_total", "Entries in bucket rules that can't be used")

for outcome in OUTCOMES:
    READ.labels(outcome)
for outcome in ("asked", "refused"):
    ASKED.labels(outcome)
for what in ("taken", "released", "lost"):
    MOVES.labels(what)
