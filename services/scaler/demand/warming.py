"""When the requested replicas will be ready. Pure.

    warming = Warming(cold_start_s=60)
    starts = warming.until_ready(now, ready=3, loading=1)      # [12.0, 55.0]: seconds until each is ready
    warming.ask(now, replicas=5, ready=3)

A pod that waits for its node sends no heartbeat. So requests are remembered: each counts once the HPA must have seen
it, and for one and a half cold starts.
"""

from __future__ import annotations

from collections import deque

# Values without another source were chosen by hand.

# The sync period of the HPA: Kubernetes' default.
HPA_SYNC_S = 15.0
# A request counts after one sync of the HPA and this margin.
SYNC_MARGIN_S = 1.0
# Drop a request after this many cold starts and a sync.
LATE_COLD_STARTS = 1.5
# The maximum of remembered requests: no fleet is larger.
MAX_REQUESTS = 1000


class Warming:
    """See the module. `now` is in seconds of a clock that does not step back."""

    def __init__(self, cold_start_s: float) -> None:
        self._cold_start_s = cold_start_s
        # The request time of each replica that is not ready, the earliest first.
        self._pending: deque[float] = deque()
        self._ready = self._loading = 0

    def until_ready(self, now: float, ready: int, loading: int) -> list[float]:
        """Return the seconds until each is ready, in ascending order. ready, loading: replicas by heartbeats now."""
        pending = self._pending
        came = max(0, ready - self._ready)
        # A replica that became ready is taken for the earliest request.
        for _ in range(min(len(pending), came)):
            pending.popleft()
        # A loading replica that left without becoming ready was scaled in: that withdraws the latest request.
        for _ in range(min(len(pending), max(0, self._loading - came - loading))):
            pending.pop()
        self._ready, self._loading = ready, loading
        # A request without a loading replica for this long has failed. The first is the oldest.
        while len(pending) > loading and pending[0] < now - LATE_COLD_STARTS * self._cold_start_s - HPA_SYNC_S:
            pending.popleft()
        # Loading replicas that were requested elsewhere count from now on.
        while len(pending) < loading:
            pending.append(now)
        return [
            max(0.0, at + self._cold_start_s - now)
            for i, at in enumerate(pending)
            if i < loading or at <= now - HPA_SYNC_S - SYNC_MARGIN_S
        ]

    def ask(self, now: float, replicas: int, ready: int) -> None:
        """Record the replicas requested now."""
        while ready + len(self._pending) < min(replicas, MAX_REQUESTS):
            self._pending.append(now)
        # A lower request withdraws the latest ones: the earliest are ready first. Loading replicas stay.
        while len(self._pending) > self._loading and ready + len(self._pending) > replicas:
            self._pending.pop()


def useful(starts: list[float], backlog: float, allowed: float, arrival: float, rate: float, ready: int) -> int:
    """Return how many warming replicas will still find a backlog. starts: seconds until each is ready.

    arrival: messages a second; rate: of one busy replica.
    """
    at = 0.0
    for i, start in enumerate(starts):
        backlog += (arrival - rate * (ready + i)) * max(0.0, start - at)
        at = max(at, start)
        if backlog <= allowed:
            return i
    return len(starts)
