"""What search exports."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shared.runtime.telemetry import LATENCY_BUCKETS

ROWS = Counter("tidegate_search_rows_total", "rows given to the index, by kind", ["kind"])
REFUSED = Counter("tidegate_search_refused_total", "events that were none, buried in DLQ")
FAILED = Counter("tidegate_search_write_failures_total", "writes of the index that failed, and were tried again")
PENDING = Gauge("tidegate_search_pending", "events that the index has not yet seen")
BYTES = Gauge("tidegate_search_bytes", "bytes that the index takes")
DROPPED = Counter("tidegate_search_dropped_total", "rows that were dropped, by what asked for it", ["cause"])
WRITE = Histogram("tidegate_search_write_seconds", "time of one write of a batch", buckets=LATENCY_BUCKETS)
QUERY = Histogram(
    "tidegate_search_query_seconds", "time of a query, by what it asks by", ["by"], buckets=LATENCY_BUCKETS
)
REFUSALS = Counter("tidegate_search_refusals_total", "queries that were answered with an error, by its code", ["code"])
