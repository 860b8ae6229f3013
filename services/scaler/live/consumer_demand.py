"""The demand of a consumer's service as a live metric: the policy's latest estimate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from services.scaler.consumers.readers import STALE_S
from services.scaler.demand.estimate import Estimate
from services.scaler.demand.observation import faster
from services.scaler.demand.policy import Demand
from services.scaler.live.answers import FIRST_S, LiveAnswer, LiveMetric
from services.scaler.live.heartbeats import Heartbeats
from services.scaler.live.metadata import DemandQuery
from services.scaler.live.metrics_page import MetricsPage
from services.scaler.live.monitor import LISTEN_S, ConsumerMonitor
from services.scaler.live.shortage import Fleet, ShortageClock, Situation, shortage
from shared.bus.infos import Missing, Unavailable
from shared.contract.questions.explain import Explanation, Shortage
from shared.runtime.redact import redact


class LiveDemand(LiveMetric):
    """A live metric. page: the source of the workers' counters; None for their heartbeats.

    speed: the policy's seconds in one real second. fleet: returns what the local autoscaler knows; None in a cluster.
    """

    metric = "demand"
    query: DemandQuery

    def __init__(
        self,
        query: DemandQuery,
        monitor: ConsumerMonitor,
        page: MetricsPage | None,
        speed: float = 1.0,
        fleet: Callable[[], Fleet | None] = lambda: None,
    ) -> None:
        super().__init__()
        self.query = query
        self.estimate: Estimate | None = None
        self.monitor = monitor
        self._page = page
        self._demand = Demand(query.settings)
        self._speed = speed
        self._fleet = fleet
        self._clock = ShortageClock()
        self._at = float("-inf")
        self._began = time.monotonic()
        self._estimated = asyncio.Event()
        # Read first: a failure on the present state must raise before the listener is added.
        self._read()
        monitor.listeners.add(self._read)
        if page:
            page.users += 1

    @property
    def heartbeats(self) -> Heartbeats:
        return self.monitor.heartbeats

    async def answer(self) -> LiveAnswer:
        if self.estimate is None or time.monotonic() < self._began + LISTEN_S:
            await self._first()
        estimate = self._now()
        return LiveAnswer(estimate.replicas, estimate.active or self.monitor.reader.woken)

    async def _first(self) -> None:
        """Wait for the first estimate, or an error."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_S):
                await self.monitor.reader.first_answer.wait()
                with suppress(Missing, Unavailable):
                    self.monitor.reader.state()
                    await self._estimated.wait()
                # Before the workers' first heartbeats, the estimate would be 0 replicas.
                await asyncio.sleep(self._began + LISTEN_S - time.monotonic())

    @property
    def active(self) -> bool | None:
        try:
            return self._now().active or self.monitor.reader.woken
        except (Missing, Unavailable):
            return None

    @property
    def missing(self) -> bool:
        try:
            self.monitor.reader.state()
        except Missing:
            return True
        except Unavailable:
            pass
        return False

    def explanation(self) -> Explanation:
        now = time.monotonic()
        error = ""
        try:
            self._now()
        except (Missing, Unavailable) as e:
            error = str(e)
        lines = self.estimate.explain() if self.estimate else []
        if self.monitor.problem:
            lines.append(f"deferred segments are unknown and not counted: {self.monitor.problem}")
        return Explanation(
            service=self.query.service,
            of=f"consumer {self.query.consumer} of stream {self.query.stream}",
            terms=msgspec.to_builtins(self.estimate) if self.estimate else {},
            settings=msgspec.to_builtins(self.query.settings),
            lines=lines,
            replicas=self.heartbeats.replicas(now),
            replicas_from=redact(self.query.metrics_url) or "heartbeats",
            age_s=round(now - self._at, 3) if self.estimate else None,
            error=error,
            asked_s=self.unused_s,
            shortage=None if error else self.shortage(now),
        )

    def shortage(self, now: float) -> Shortage | None:
        """Return why fewer replicas are ready than needed. None if enough are, or nothing was estimated."""
        if self.estimate is None:
            return None
        ready, loading = self._replicas(now)
        cold_start_s = self.query.settings.cold_start_s / self._speed
        situation = Situation(
            needed=self.estimate.replicas,
            ready=ready,
            loading=loading,
            short_s=self._clock.short_s(now),
            loading_s=self._clock.loading_s(now),
            cold_start_s=cold_start_s,
            lost=tuple(self.heartbeats.lost(now, 2 * cold_start_s)),
        )
        return shortage(situation, self._fleet())

    async def close(self) -> None:
        self.monitor.listeners.discard(self._read)
        if self._page:
            self._page.users -= 1

    def _replicas(self, now: float) -> tuple[int, int]:
        """Return the replicas that are ready, and those that load."""
        fleet = self.heartbeats.fleet(now)
        return (fleet.ready, fleet.loading) if fleet else (0, 0)

    def _now(self) -> Estimate:
        """Return the estimate of the reader's last state. Raises Missing or Unavailable."""
        self.monitor.reader.state()
        if self.estimate is None or time.monotonic() - self._at > STALE_S:
            raise Unavailable(
                f"consumer {self.query.consumer} of stream {self.query.stream}: there is no recent estimate"
            )
        return self.estimate

    def _read(self) -> None:
        latest = self.monitor.latest
        if latest and latest.time > self._at:
            # A new policy replays the earlier observations.
            for o in self.monitor.observations if self.estimate is None else [latest]:
                self.estimate = self._demand.observe(faster(o, self._speed))
            self._at = latest.time
            assert self.estimate
            now = time.monotonic()
            ready, loading = self._replicas(now)
            self._clock.observe(now, needed=self.estimate.replicas, ready=ready, loading=loading)
            self._estimated.set()
        self.notify(self.active)
