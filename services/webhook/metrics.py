"""The metrics of webhook."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from shared.runtime.telemetry import LATENCY_BUCKETS

REQUESTS = Counter("tidegate_webhook_requests_total", "requests to the endpoint, by how they ended", ["outcome"])
LATENCY = Histogram(
    "tidegate_webhook_latency_seconds", "from when an event was said to its delivery", buckets=LATENCY_BUCKETS
)
DEAD = Counter("tidegate_webhook_dead_letters_total", "events not delivered, and dead-lettered")
UNUSABLE = Counter(
    "tidegate_webhook_unusable_endpoints_total", "stored endpoints that can't be used: the last usable one stays"
)
