"""One live metric for each distinct query, however many ScaledObjects send it.

    async with LiveMetrics(client) as live_metrics:
        live = live_metrics.get(parse(metadata))
        answer = await live.answer()

Once a second it gets the consumer's state, and the sums of the workers' heartbeats. The gRPC service and the local
autoscaler both use it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from services.scaler.consumers.readers import EVERY_S
from services.scaler.consumers.registry import Consumers
from services.scaler.live.answers import LiveMetric
from services.scaler.live.camera_count import LiveCameras
from services.scaler.live.collector import DEMAND
from services.scaler.live.consumer_demand import LiveDemand
from services.scaler.live.heartbeats import Heartbeats, beat_of
from services.scaler.live.metadata import DemandQuery, Query
from services.scaler.live.metrics_page import MetricsPage
from services.scaler.live.monitor import ConsumerMonitor, HistoryStore
from services.scaler.live.shortage import Fleet
from shared.bus.client import Connection
from shared.bus.infos import Unavailable
from shared.contract import catalog
from shared.contract.work import stats
from shared.runtime.errors import SettingError
from shared.runtime.redact import redact
from shared.runtime.tasks import end

# Drop a metric after this long without a request: KEDA may poll every few minutes only.
FORGET_S = 600.0
SWEEP_S = 30.0
# Drop a query for a missing consumer sooner.
MISSING_S = 60.0
# Each query takes some 30 kB, and any client may send any.
MOST_QUERIES = 200
# The maximum consumers with a stored history: each takes a megabyte.
MOST_HISTORIES = 50
# The maximum services with heartbeats. A server without logins accepts any name.
MOST_SERVICES = 100


class LiveMetrics:
    """See the module. every_s: poll interval of one consumer, in seconds. has_history: whether observations are stored
    for a scaler that takes over. speed: the policies' seconds in one real second. pages: URLs without queries that a
    query may name.
    """

    def __init__(
        self,
        client: Connection,
        every_s: float = EVERY_S,
        *,
        has_history: bool = False,
        speed: float = 1.0,
        pages: Sequence[str] = (),
    ) -> None:
        self.consumers = Consumers(client, every_s)
        self._client = client
        self._has_history = has_history
        self._speed = speed
        self._allowed = frozenset(pages)
        self._lives: dict[Query, LiveMetric] = {}
        self._monitors: dict[tuple[str, str, str, str], ConsumerMonitor] = {}
        self._heartbeats: dict[str, Heartbeats] = {}
        self._pools: dict[tuple[str, str], Heartbeats] = {}
        self._pages: dict[str, MetricsPage] = {}
        # What the local autoscaler knows of its replicas, by service.
        self.fleets: dict[str, Callable[[], Fleet]] = {}
        self._subscription: Subscription | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> LiveMetrics:
        self._subscription = await self._client.subscribe("scale.>", cb=self._beat)
        self._sweeping = asyncio.create_task(self._sweep_loop(), name="sweep")
        DEMAND.watch(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        DEMAND.forget(self)
        await end(self._sweeping)
        for live in self._lives.values():
            live.listeners.clear()
        await self.sweep(forget_s=-1.0)
        await self.consumers.close()
        if self._subscription:
            with suppress(nats.errors.Error, OSError):
                await self._subscription.unsubscribe()

    def get(self, query: Query) -> LiveMetric:
        """Return the live metric of a query. A new one starts if there is none, and ends minutes after the last query.

        Raises SettingError for a forbidden page, and Unavailable at the maximum of queries.
        """
        if query not in self._lives:
            if len(self._lives) >= MOST_QUERIES:
                raise Unavailable(
                    f"the scaler answers {MOST_QUERIES} queries, and takes another once one has not come for "
                    f"{FORGET_S / 60:.0f} minutes: find the client that sends them"
                )
            if isinstance(query, DemandQuery):
                self._lives[query] = self._demand(query)
            else:
                self._lives[query] = LiveCameras(self._client, query)
        live = self._lives[query]
        live.requested_at = time.monotonic()
        return live

    def lives(self) -> list[LiveMetric]:
        """Return all live metrics."""
        return list(self._lives.values())

    def heartbeats(self) -> dict[str, Heartbeats]:
        """Return the heartbeats of each service, from its workers or from the page that a query names."""
        pages = {live.query.service: live.heartbeats for live in self._lives.values() if isinstance(live, LiveDemand)}
        return pages | self._heartbeats

    def heartbeats_of(self, service: str) -> Heartbeats:
        """Return the heartbeats of a service; they are updated later."""
        if service not in self._heartbeats:
            self._heartbeats[service] = Heartbeats()
        return self._heartbeats[service]

    def heartbeats_of_pool(self, service: str, prefix: str) -> Heartbeats:
        """Return the heartbeats of the service's replicas whose names have this prefix; they are updated later."""
        return self._pools.setdefault((service, prefix), Heartbeats())

    async def sweep(self, forget_s: float = FORGET_S, missing_s: float = MISSING_S) -> None:
        """Drop queries without a request for `forget_s` seconds, and the readers that only these needed.

        missing_s: the same for queries whose stream, consumer or bucket does not exist.
        """
        now = time.monotonic()
        for query, live in list(self._lives.items()):
            if not live.listeners and now - live.requested_at > (
                min(forget_s, missing_s) if live.missing else forget_s
            ):
                del self._lives[query]
                await live.close()
        ended = [key for key, monitor in self._monitors.items() if not monitor.listeners]
        await asyncio.gather(*(self._monitors.pop(key).close() for key in ended))
        for url, page in list(self._pages.items()):
            if not page.users:
                del self._pages[url]
                await page.close()
        await self.consumers.sweep()

    def _demand(self, query: DemandQuery) -> LiveDemand:
        page = self._page(query.metrics_url) if query.metrics_url else None
        key = (query.service, query.stream, query.consumer, query.metrics_url)
        monitor = self._monitors.get(key)
        if monitor is None:
            heartbeats = page.heartbeats(query.service) if page else self.heartbeats_of(query.service)
            reader = self.consumers.get(query.stream, query.consumer, query.service)
            has_history = self._has_history and len(self._monitors) < MOST_HISTORIES
            store = HistoryStore(self._client, *key) if has_history else None
            monitor = self._monitors[key] = ConsumerMonitor(reader, heartbeats, store)
        if backfill := catalog.backfill_consumer(query.service):
            monitor.follow(self.consumers.deferred(query.service, backfill))
        return LiveDemand(query, monitor, page, self._speed, lambda: self._fleet(query.service))

    def _fleet(self, service: str) -> Fleet | None:
        known = self.fleets.get(service)
        return known() if known else None

    def _page(self, url: str) -> MetricsPage:
        page = url.partition("?")[0]
        if page not in self._allowed:
            raise SettingError(
                f"metadata key metricsUrl names a page that the scaler may not read: add {redact(page)} to its "
                "SCALER_METRICS_PAGES"
            )
        if url not in self._pages:
            self._pages[url] = MetricsPage(url)
        return self._pages[url]

    async def _beat(self, message: Msg) -> None:
        # The subject names the service, regardless of the payload: a worker may publish under its own service alone.
        service = message.subject.split(".")[1]
        if service not in self._heartbeats and len(self._heartbeats) >= MOST_SERVICES:
            return
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            beat, now = beat_of(stats.decode(message.data)), time.monotonic()
            self.heartbeats_of(service).beat(beat, now)
            for (of, prefix), pool in self._pools.items():
                if of == service and beat.replica.startswith(prefix):
                    pool.beat(beat, now)

    async def _sweep_loop(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            await self.sweep()
