"""The metrics that search exports."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shared.runtime.telemetry import LATENCY_BUCKETS

ROWS = Counter("tidegate_search_rows_total", "rows given to the index, by kind", ["kind"])
REFUSED = Counter("tidegate_search_refused_total", "messages that are no events to be indexed, and went to DLQ")
FAILED = Counter("tidegate_search_write_failures_total", "writes to the index that failed and were tried again")
PENDING = Gauge("tidegate_search_pending", "events that are not yet in the index")
BYTES = Gauge("tidegate_search_bytes", "bytes that the index takes")
CACHED = Gauge("tidegate_search_cached_bytes", "bytes of the index that are kept in memory")
DROPPED = Counter("tidegate_search_dropped_total", "rows that were dropped, by cause", ["cause"])
WRITE = Histogram("tidegate_search_write_seconds", "time of one write to the index", buckets=LATENCY_BUCKETS)
QUERY = Histogram(
    "tidegate_search_query_seconds", "time of a query, by what it was asked by", ["by"], buckets=LATENCY_BUCKETS
)
REFUSALS = Counter("tidegate_search_refusals_total", "queries that were answered with an error, by code", ["code"])
