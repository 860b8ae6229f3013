"""The console's metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

REQUESTS = Counter("tidegate_console_requests_total", "requests answered, by status", ["status"])
SIGN_INS = Counter("tidegate_console_sign_ins_total", "attempts to sign in, by result", ["result"])
VIEWERS = Gauge("tidegate_console_viewers", "browsers that hear events or see live video")
DROPPED = Counter("tidegate_console_dropped_total", "what slow browsers did not get, by what it was", ["what"])
