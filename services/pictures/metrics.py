"""The metrics of pictures."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from shared.runtime.telemetry import LATENCY_BUCKETS

PICTURES = Counter(
    "tidegate_pictures_total",
    "alerts by what became of their picture: stored, expired, excluded, unreadable, or again for another try",
    ["outcome"],
)
LATENCY = Histogram(
    "tidegate_pictures_latency_seconds", "from an alert in EVENTS to its stored picture", buckets=LATENCY_BUCKETS
)
