"""The local autoscaler: it reads a consumer's state, decides as KEDA and the HPA would, and scales a pool of processes.

    autoscaler = Autoscaler(client, load(Path("deploy/keda/cv.yaml")), pool, speed=10)
    task = asyncio.create_task(autoscaler.run())        # until cancelled
    autoscaler.state                                    # what the live view shows

It reads by the JetStream API what KEDA reads by the monitoring port: `num_pending + num_ack_pending`. A server that
can't be reached is an error of the metric, as it is to KEDA, and never the end of the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec
import nats.errors
from nats.aio.client import Client
from prometheus_client import Counter, Gauge

from services.scaler.expiry import ExpiryCounter
from services.scaler.keda import Keda, Metric
from services.scaler.replicas import Replicas
from services.scaler.scaledobject import JetStreamTrigger, ScaledObject
from shared.telemetry import logger

# Often enough that a live view moves, and that expiry between two polls is not hidden by redeliveries.
OBSERVE_S = 1.0
# As KEDA's own wait for an answer of the monitoring port.
TIMEOUT_S = 3.0

REPLICAS = Gauge("tidegate_replicas", "Worker processes asked for", ["service"])
REPLICA_SECONDS = Counter("tidegate_replica_seconds_total", "Seconds that worker processes lived", ["service"])
SCALE_EVENTS = Counter("tidegate_scale_events_total", "Changes of the replica count", ["service", "direction"])
EXPIRED = Counter(
    "tidegate_segments_expired_total",
    "Messages that expired before the consumer saw them",
    ["service", "consumer"],
)

log = logger("scaler")


class ScalerState(msgspec.Struct, frozen=True, kw_only=True):
    """What was last seen and decided.

    time: Unix seconds. pending, ack_pending: messages that wait, and that workers hold; None where the server can't
    be asked. desired: replicas asked for; replicas: their processes alive. expired: messages lost to age or space.
    """

    time: float
    pending: int | None
    ack_pending: int | None
    desired: int
    replicas: int
    peak_replicas: int
    replica_seconds: float
    expired: int
    reason: str


class _Observed(msgspec.Struct, frozen=True):
    pending: int
    ack_pending: int


class Autoscaler:
    """Scales `pool` by the consumers that `scaled` names. `speed`: KEDA's seconds that pass in one real second."""

    def __init__(self, client: Client, scaled: ScaledObject, pool: Replicas, *, speed: float = 1.0) -> None:
        self._client = client
        self._js = client.jetstream()
        self._scaled = scaled
        self._pool = pool
        self._speed = speed
        self._keda = Keda(scaled, self._now())
        self._expiry = [ExpiryCounter() for _ in scaled.triggers]
        self._replica_seconds = 0.0
        self._peak = 0
        self._blind = False
        self.state = self._state([], "started")

    async def run(self) -> None:
        """Observe every second and decide when KEDA or the HPA would, until cancelled; the pool is left as it is."""
        me = asyncio.current_task()
        # Before Python 3.12 wait_for, in nats-py, can swallow a cancellation that comes together with an answer.
        while not (me and me.cancelling()):
            observed = [await self._observe(i) for i in range(len(self._scaled.triggers))]
            await self._decide(observed)
            await asyncio.sleep(min(OBSERVE_S, max(0.0, self._keda.next_at - self._now()) / self._speed))

    async def _observe(self, i: int) -> _Observed | Exception:
        trigger = self._scaled.triggers[i]
        if not self._client.is_connected:
            # A question would wait in the client's buffer, and for its timeout.
            return ConnectionError("NATS is not connected")
        try:
            async with asyncio.timeout(TIMEOUT_S):
                stream = await self._js.stream_info(trigger.stream)
                consumer = await self._js.consumer_info(trigger.stream, trigger.consumer)
        except (nats.errors.Error, OSError) as e:
            return _readable(e, trigger)
        if consumer.delivered is not None:
            expired = self._expiry[i].update(
                first_seq=stream.state.first_seq,
                stream_seq=consumer.delivered.stream_seq,
                consumer_seq=consumer.delivered.consumer_seq,
            )
            EXPIRED.labels(self._pool.service, trigger.consumer).inc(expired)
        return _Observed(consumer.num_pending or 0, consumer.num_ack_pending or 0)

    async def _decide(self, observed: Sequence[_Observed | Exception]) -> None:
        metrics = [_metric(o) for o in observed]
        self._say_if_blind(metrics)
        before = self._pool.count
        decision = self._keda.step(self._now(), metrics, before)
        await self._pool.scale_to(decision.desired)
        self.state = self._state(observed, decision.reason)
        self._export()
        if decision.desired != before:
            direction = "up" if decision.desired > before else "down"
            SCALE_EVENTS.labels(self._pool.service, direction).inc()
            log.info(
                f"scaled {direction}",
                consumer=self._scaled.triggers[0].consumer,
                before=before,
                after=decision.desired,
                reason=decision.reason,
                pending=self.state.pending,
                ack_pending=self.state.ack_pending,
            )

    def _say_if_blind(self, metrics: Sequence[Metric]) -> None:
        errors = [str(m) for m in metrics if isinstance(m, Exception)]
        if bool(errors) != self._blind:
            self._blind = bool(errors)
            if errors:
                log.warning("the consumer's state can't be read: the replicas are held", errors=errors)
            else:
                log.info("the consumer's state can be read again")

    def _state(self, observed: Sequence[_Observed | Exception], reason: str) -> ScalerState:
        seen = [o for o in observed if isinstance(o, _Observed)]
        self._peak = max(self._peak, self._pool.count)
        return ScalerState(
            time=time.time(),
            pending=sum(o.pending for o in seen) if seen else None,
            ack_pending=sum(o.ack_pending for o in seen) if seen else None,
            desired=self._pool.count,
            replicas=self._pool.ready_count,
            peak_replicas=self._peak,
            replica_seconds=self._pool.replica_seconds,
            expired=sum(e.total for e in self._expiry),
            reason=reason,
        )

    def _export(self) -> None:
        REPLICAS.labels(self._pool.service).set(self.state.desired)
        REPLICA_SECONDS.labels(self._pool.service).inc(self.state.replica_seconds - self._replica_seconds)
        self._replica_seconds = self.state.replica_seconds

    def _now(self) -> float:
        return time.monotonic() * self._speed


def _metric(observed: _Observed | Exception) -> Metric:
    if isinstance(observed, Exception):
        return observed
    return float(observed.pending + observed.ack_pending)


def _readable(e: Exception, trigger: JetStreamTrigger) -> Exception:
    what = str(e).removeprefix("nats: ") or type(e).__name__
    return RuntimeError(f"consumer {trigger.consumer} of stream {trigger.stream}: {what}")
