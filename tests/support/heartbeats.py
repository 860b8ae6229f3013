"""Heartbeats of workers."""

from __future__ import annotations

from services.scaler.live.heartbeats import Beat


def beat(
    replica: str = "cv-0",
    pid: int = 1,
    state: str = "ready",
    processed: float = 0,
    working_s: float = 0,
    **counters: float,
) -> Beat:
    return Beat(replica=replica, pid=pid, state=state, processed=processed, working_s=working_s, **counters)  # type: ignore[arg-type]
