"""The local autoscaler reads metrics like KEDA, decides like KEDA and the HPA, and scales a pool of processes.

    async with observing(client, speed=10) as live_metrics:
        autoscaler = Autoscaler(live_metrics, load(Path("deploy/keda/cv.yaml")), pool, speed=10)
        task = asyncio.create_task(autoscaler.run())    # until cancelled
        autoscaler.state                                # for the live view

A trigger of type `nats-jetstream` is read by the JetStream API, rather than by the monitoring port. A trigger for our
scaler is answered here, by the same live metrics. Its first message on an empty pool wakes the autoscaler: an
`external-push` trigger is pushed, as to KEDA, and any other is polled before its interval ends. An unreachable server
is an error of the metric, as in KEDA, and never ends the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import msgspec
from prometheus_client import Counter, Gauge

from services.scaler.consumers.combined import Reader
from services.scaler.consumers.counts import ConsumerState
from services.scaler.consumers.listeners import nothing
from services.scaler.consumers.readers import ConsumerReader
from services.scaler.cost import Account, Spent
from services.scaler.live import metadata
from services.scaler.live.answers import FIRST_S, LiveMetric
from services.scaler.live.consumer_demand import LiveDemand
from services.scaler.live.explainer import explaining
from services.scaler.live.heartbeats import Heartbeats
from services.scaler.live.live_metrics import LiveMetrics
from services.scaler.live.metadata import DemandQuery, Query
from services.scaler.live.shortage import Fleet
from shared.bus.client import Connection
from shared.bus.infos import Missing, Unavailable
from shared.contract.questions.explain import Shortage
from shared.runtime.errors import SettingError
from shared.runtime.telemetry import logger
from shared.runtime.ticks import until_tick
from tidegate.keda.decision import Keda
from tidegate.keda.reason import Decision
from tidegate.keda.scaledobject import (
    ExternalTrigger,
    JetStreamTrigger,
    Limit,
    MetricsApiTrigger,
    PrometheusTrigger,
    ScaledObject,
    Trigger,
)
from tidegate.keda.source import Metric, Reading
from tidegate.local.scaling.replicas import Replicas

# The observation interval, short enough for a live view.
OBSERVE_S = 1.0
# The minimum poll interval. With a fast clock, a second is minutes of KEDA's, and the consumer is polled more often.
LEAST_S = 0.1

MACHINES = Limit(
    by="the sum of --max of the machines",
    remedy="raise --max, or run 'tidegate workers' on another machine",
)

REPLICAS = Gauge("tidegate_replicas", "requested worker processes", ["service"])
SCALE_EVENTS = Counter(
    "tidegate_scale_events_total", "changes of the replica count, by direction", ["service", "direction"]
)

log = logger("scaler")


class ScalerState(msgspec.Struct, frozen=True, kw_only=True):
    """The last observation and decision.

    time: Unix seconds. pending: waiting messages. ack_pending: messages in flight at workers. Both are None without a
    reply of the server. desired: requested replicas. replicas: their live processes. replica_seconds: the sum of busy,
    idle and warming ones, and down_seconds without a process, as in `cost`. expired: messages lost to age or space.
    shortage: why fewer replicas are ready than needed.
    """

    time: float
    pending: int | None
    ack_pending: int | None
    desired: int
    replicas: int
    peak_replicas: int
    replica_seconds: float
    busy_seconds: float = 0.0
    idle_seconds: float = 0.0
    warming_seconds: float = 0.0
    down_seconds: float = 0.0
    expired: int
    reason: str
    shortage: Shortage | None = None


@asynccontextmanager
async def observing(client: Connection, speed: float = 1.0) -> AsyncIterator[LiveMetrics]:
    """Run the live metrics that a process's autoscalers read, and answer `tidegate explain` from them.

    All autoscalers share it: the server lets a connection answer a request once.
    """
    every_s = max(LEAST_S, OBSERVE_S / max(1.0, speed))
    async with (
        LiveMetrics(client, every_s, speed=speed) as live_metrics,
        explaining(client, live_metrics, "autoscaler"),
    ):
        yield live_metrics


class Target(Protocol):
    """What an autoscaler scales: one machine's pool, or several machines' together."""

    @property
    def count(self) -> int:
        """The number of requested replicas."""

    @property
    def capacity(self) -> int | None:
        """The replicas that the machines may run together; None if only the ScaledObject limits them."""

    async def scale_to(self, n: int) -> None:
        """Request `n` replicas, up to the possible number."""


class Autoscaler:
    """Scales `pool` by the consumers that `scaled` names. `speed`: KEDA's seconds that pass in one real second.

    fleet: all machines' pools together, of which `pool` is one; None: the pool is alone.

    Raises SettingError for a trigger of another server than NATS or Tidegate's own scaler.
    """

    def __init__(
        self,
        live_metrics: LiveMetrics,
        scaled: ScaledObject,
        pool: Replicas,
        *,
        speed: float = 1.0,
        fleet: Target | None = None,
    ) -> None:
        self._live_metrics = live_metrics
        self._scaled = scaled
        self._pool = pool
        self._target: Target = fleet or pool
        self._speed = speed
        self._queries = [_query(scaled, i) for i in range(len(scaled.triggers))]
        self._keda = Keda(scaled, self._now())
        self._readers: list[ConsumerReader] = []
        self._woken = asyncio.Event()
        self._heartbeats = Heartbeats()
        self._account = Account(pool.service)
        self._blind = False
        self._demand: LiveDemand | None = None
        self.state = self._state("started")
        live_metrics.fleets[pool.service] = self._fleet

    async def run(self) -> None:
        """Observe every second and decide when KEDA or the HPA would, until cancelled; the pool keeps running."""
        self._heartbeats = self._live_metrics.heartbeats_of_pool(self._pool.service, self._pool.prefix)
        sources = [self._source(query) for query in self._queries]
        await self._first_readings()
        me = asyncio.current_task()
        # Before Python 3.12 wait_for, in nats-py, can swallow a cancellation that comes together with an answer.
        while not (me and me.cancelling()):
            await self._step([await _metric(*each) for each in zip(self._scaled.triggers, sources, strict=True)])
            await self._wait()
            if self._woken.is_set():
                self._woken.clear()
                await self._wake(sources)

    def _source(self, query: Query | JetStreamTrigger) -> LiveMetric | Reader:
        consumers = self._live_metrics.consumers
        if not isinstance(query, JetStreamTrigger):
            live = self._live_metrics.get(query)
            live.listeners.add(self._woken.set)
            if isinstance(live, LiveDemand):
                self._demand = self._demand or live
            if isinstance(query, DemandQuery):
                self._read_by(consumers.get(query.stream, query.consumer, query.service))
            return live
        reader = consumers.get(query.stream, query.consumer, self._pool.service)
        reader.listeners.add(nothing)
        self._read_by(reader)
        return reader

    def _read_by(self, reader: Reader) -> None:
        """Remember a reader. Two triggers may share a consumer, whose messages count once."""
        self._readers += [part for part in reader.parts if part not in self._readers]

    async def _first_readings(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_S):
                for reader in self._readers:
                    await reader.first_answer.wait()

    async def _wait(self) -> None:
        """Wait until KEDA or the HPA is due, a second has passed, or a trigger wakes the loop."""
        with suppress(TimeoutError):
            due_s = max(0.0, self._keda.next_at - self._now()) / self._speed
            async with asyncio.timeout(min(until_tick(OBSERVE_S, time.time()), due_s)):
                await self._woken.wait()

    async def _step(self, metrics: Sequence[Metric]) -> None:
        self._say_if_blind(metrics)
        before = self._target.count
        await self._apply(self._keda.step(self._now(), metrics, before), before)

    async def _wake(self, sources: Sequence[LiveMetric | Reader]) -> None:
        """Push as an external-push scaler does; with no replica, let any other trigger that is active be polled."""
        active = [not isinstance(source, Reader) and source.active for source in sources]
        before = self._target.count
        if any(
            is_active and isinstance(trigger, ExternalTrigger) and trigger.push
            for trigger, is_active in zip(self._scaled.triggers, active, strict=True)
        ):
            await self._apply(self._keda.push(self._now(), before), before)
        elif any(active) and not before:
            self._keda.poll_next()

    async def _apply(self, decision: Decision, before: int) -> None:
        await self._target.scale_to(decision.desired)
        after, reason = self._target.count, decision.reason
        if before != after != decision.desired:
            reason += f"; {after} of {decision.desired} can run"
        self.state = self._state(reason)
        REPLICAS.labels(self._pool.service).set(self.state.desired)
        if after != before:
            direction = "up" if after > before else "down"
            SCALE_EVENTS.labels(self._pool.service, direction).inc()
            log.info(
                f"scaled {direction}",
                consumer=", ".join(reader.consumer for reader in self._readers),
                before=before,
                after=after,
                reason=reason,
                pending=self.state.pending,
                ack_pending=self.state.ack_pending,
            )

    def _say_if_blind(self, metrics: Sequence[Metric]) -> None:
        errors = [str(m) for m in metrics if isinstance(m, Exception)]
        if bool(errors) != self._blind:
            self._blind = bool(errors)
            if errors:
                log.warning("a trigger can't be read: the replicas are held", errors=errors)
            else:
                log.info("every trigger can be read again")

    def _state(self, reason: str) -> ScalerState:
        seen = [state for reader in self._readers if (state := _readable(reader))]
        spent = self._spent()
        return ScalerState(
            time=time.time(),
            pending=sum(s.pending for s in seen) if seen else None,
            ack_pending=sum(s.in_flight for s in seen) if seen else None,
            desired=self._pool.count,
            replicas=self._pool.ready_count,
            peak_replicas=spent.peak,
            replica_seconds=spent.used_s,
            busy_seconds=spent.busy_s,
            idle_seconds=spent.idle_s,
            warming_seconds=spent.warming_s,
            down_seconds=spent.down_s,
            expired=sum(reader.expired for reader in self._readers),
            reason=reason,
            shortage=self._demand.shortage(time.monotonic()) if self._demand else None,
        )

    def _fleet(self) -> Fleet:
        maximum, limit = self._scaled.spec.max_replica_count, self._scaled.limit_in_words
        capacity = self._target.capacity
        if capacity is not None and capacity < maximum:
            maximum, limit = capacity, MACHINES
        return Fleet(
            requested=self._target.count,
            maximum=maximum,
            maximum_by=limit.by,
            maximum_remedy=limit.remedy,
            reason=self.state.reason,
            failure=next((f"{p.replica}: {p.sentence}" for p in self._pool.problems), ""),
        )

    def _spent(self) -> Spent:
        """Return the usage so far. A process that has not yet reported ready is warming."""
        pool = self._pool
        living = pool.ready_count + pool.draining_count
        ready = sum(replica.state != "loading" for replica in self._heartbeats.replicas(time.monotonic()))
        return self._account.charge(
            replicas=pool.count,
            living=living,
            warming=max(0, living - ready),
            used_s=pool.replica_seconds,
            working_s=self._heartbeats.working_s,
            dead=pool.dead_count,
        )

    def _now(self) -> float:
        return time.monotonic() * self._speed


def _query(scaled: ScaledObject, i: int) -> Query | JetStreamTrigger:
    """Return a trigger's query. One machine uses heartbeats, even if a cluster reads metrics from a page."""
    trigger = scaled.triggers[i]
    if isinstance(trigger, JetStreamTrigger):
        return trigger
    if isinstance(trigger, PrometheusTrigger):
        raise SettingError(
            f"{scaled.name}: a trigger of type prometheus is followed by KEDA in a cluster alone, and "
            f"{metadata.shown(trigger.server_address)} is not asked here: remove it, or give a file that scales by "
            "nats-jetstream or by demand"
        )
    try:
        if isinstance(trigger, MetricsApiTrigger):
            query = metadata.parse_url(trigger.url)
        else:
            query = metadata.parse(trigger.metadata)
    except SettingError as e:
        where = trigger.url if isinstance(trigger, MetricsApiTrigger) else trigger.scaler_address
        raise SettingError(
            f"{scaled.name}: {metadata.shown(where)} can't be asked here, only Tidegate's own scaler can: {e}"
        ) from e
    return msgspec.structs.replace(query, metrics_url="") if isinstance(query, DemandQuery) else query


async def _metric(trigger: Trigger, source: LiveMetric | Reader) -> Metric:
    try:
        if isinstance(source, Reader):
            return float(source.state().backlog)
        answer = await source.answer()
        return Reading(answer.value, answer.active) if isinstance(trigger, ExternalTrigger) else answer.metric
    except (Missing, Unavailable) as e:
        return e


def _readable(reader: ConsumerReader) -> ConsumerState | None:
    with suppress(Missing, Unavailable):
        return reader.state()
    return None
