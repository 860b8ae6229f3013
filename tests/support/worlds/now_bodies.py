"""A time, and heartbeats of replicas, as the page Now reads them."""

from __future__ import annotations

import datetime as dt

from shared.contract.work.stats import WorkerStats

NOW = dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC)


def beat(
    working_s: float = 0.0, *, pid: int = 1, state: str = "ready", model: str = "m", **more: object
) -> WorkerStats:
    fields = {
        "service": "cv",
        "replica": "cv-0",
        "uptime_s": 1.0,
        "in_flight": 0,
        "processed": 0,
        "failed": 0,
        "items": 0,
    }
    return WorkerStats(**{**fields, **more}, pid=pid, state=state, model=model, busy_s=0.0, working_s=working_s)  # type: ignore[arg-type]
