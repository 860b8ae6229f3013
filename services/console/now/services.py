"""All that is known of one service, as the page is told it. Pure: what JetStream, workers and scalers say comes in.

service = OneService(catalog.find("cv"), now)
service.queue("MEDIA", "cv").take(consumer_info, stream_info, age_s, now)
service.now(now, cost_per_hour)
"""

from __future__ import annotations

import math

from services.console.now.model import Money, Queue, ReplicaTime, ServiceNow, State
from services.console.now.progress import Progress
from services.console.now.rates import Flow
from services.console.now.reasons import Reason
from services.console.now.replicas import Fleet
from shared.bus.infos import ConsumerInfo, StreamInfo
from shared.contract.catalog import Service

HOUR_S = 3600.0
# What expired is told of for so long.
EXPIRED_S = 600.0
# What is older says nothing of now.
STALE_S = 5.0
# A service that has said nothing for so long may be gone: analytics says its counts once a minute.
SILENT_S = 150.0
# What waits is late after the largest of these: 10 s, five times what a message may take, and while a replica starts
# one and a half times what that takes.
LATE_S = 10.0
TIMES_TARGET = 5.0
TIMES_COLD_START = 1.5


class QueueSeen:
    """One consumer of a service. counts: whether what waits for it is waited for: what is put off is not."""

    def __init__(self, stream: str, consumer: str, now: float, *, counts: bool) -> None:
        self.stream, self.consumer, self.counts = stream, consumer, counts
        self.progress = Progress()
        self.arriving, self.clearing = Flow(now), Flow(now)
        self.info: ConsumerInfo | None = None
        self.age_s: float | None = 0.0
        self.at = -math.inf
        self.error = ""
        self._expired: list[tuple[float, int]] = []

    def take(self, info: ConsumerInfo, stream: StreamInfo, age_s: float | None, now: float) -> None:
        """What JetStream says. age_s: of the oldest that waits; None where that is not known."""
        p = self.progress
        arrived, cleared, expired = p.arrived, p.cleared, p.expired
        p.take(info, stream)
        if self.info is not None:
            self.arriving.add(now, p.arrived - arrived)
            self.clearing.add(now, p.cleared - cleared)
        # Of jobs some expire because nobody waits for them any more.
        if p.expired > expired and not stream.is_work_queue:
            self._expired.append((now, p.expired - expired))
        self._expired = [(at, n) for at, n in self._expired if now - at <= EXPIRED_S]
        self.info, self.age_s, self.at, self.error = info, age_s, now, ""

    @property
    def is_worked(self) -> bool:
        """Whether anybody asks for messages, or ever took one."""
        return self.info is not None and bool(self.info.num_waiting or self.info.delivered.consumer_seq)

    def now(self, now: float) -> Queue:
        info = self.info or ConsumerInfo()
        return Queue(
            stream=self.stream,
            consumer=self.consumer,
            arriving=round(self.arriving.per_second(now), 3),
            clearing=round(self.clearing.per_second(now), 3),
            pending=info.num_pending,
            in_flight=info.num_ack_pending,
            age_s=None if self.age_s is None else round(self.age_s, 1),
            expired=sum(n for _, n in self._expired),
        )


class OneService:
    """See the module. `now`: seconds of a clock that does not step back. reason: what scalers say; None: nothing."""

    def __init__(self, record: Service, now: float) -> None:
        self.record = record
        self.fleet = Fleet(now)
        self.reason: Reason | None = None
        self.reason_at = -math.inf
        self.said = Flow(now)
        self.said_at = -math.inf
        self.queues = [QueueSeen(c.stream, c.name, now, counts=not c.spare) for c in record.consumers]

    def is_there(self, now: float) -> bool:
        """Whether it runs, has ever worked, or is scaled; one that is always started also where it has work.

        The others have consumers, for which messages wait, also where nobody wants them.
        """
        heard = now - self.said_at <= SILENT_S or self.fleet.count(now, "loading", "ready", "draining")
        has_work = self.record.started_by == "up" and any(q.info and q.info.num_pending for q in self.queues)
        return bool(heard or has_work or self._reason(now) or any(q.is_worked for q in self.queues))

    def nobody(self, now: float) -> bool:
        """Whether what is in flight is in nobody's hands."""
        return self.record.heartbeat and not self.fleet.count(now, "ready", "draining")

    def now(self, now: float, cost_per_hour: float | None) -> ServiceNow:
        reason, fleet = self._reason(now), self.fleet
        counted = [q for q in self.queues if q.counts and (q.info or q.error)]
        waited = [q.now(now) for q in counted if now - q.at <= STALE_S]
        known = bool(waited) and len(waited) == len(counted)
        ages = [q.age_s for q in waited]
        put_off = [q.info.num_pending + q.info.num_ack_pending for q in self.queues if not q.counts and q.info]
        state = self._state(now, sum(q.pending + q.in_flight for q in waited))
        has = self.record.heartbeat
        warming = fleet.count(now, "loading")
        return ServiceNow(
            name=self.record.name,
            state=state,
            arriving=round(sum(q.arriving for q in waited), 3) if known else None,
            clearing=round(sum(q.clearing for q in waited), 3) if known else None,
            pending=sum(q.pending for q in waited) if known else None,
            in_flight=sum(q.in_flight for q in waited) if known else None,
            age_s=None if not known or None in ages else max(a for a in ages if a is not None),
            late_s=self._late_s(reason, state),
            expired=sum(q.expired for q in waited),
            wanted=None if reason is None or reason.wanted is None else round(reason.wanted, 3),
            decides=reason.decides if reason else "unknown",
            sentence=reason.sentence if reason else "",
            sentences=reason.sentences if reason else [],
            of=reason.of if reason else "",
            by=reason.by if reason else "",
            ready=fleet.count(now, "ready") if has else None,
            warming=max(warming, reason.warming or 0 if reason else 0) if has else None,
            draining=fleet.count(now, "draining") if has else None,
            time=self._time() if has else None,
            money=self._money(now, cost_per_hour) if has and cost_per_hour else None,
            left_out=round(fleet.left_out(now), 4),
            deferred=max(0, fleet.frames_wanted - fleet.frames_looked),
            put_off=sum(put_off) if put_off else None,
            made_good=fleet.backfilled,
            said=round(self.said.per_second(now), 3) if self.said_at > -math.inf else None,
            replicas=fleet.replicas(now),
            queues=waited,
            error=next((q.error for q in counted if q.error), "") if not known else "",
        )

    def _reason(self, now: float) -> Reason | None:
        return self.reason if now - self.reason_at <= 3 * STALE_S else None

    def _state(self, now: float, waits: int) -> State:
        fleet, reason = self.fleet, self._reason(now)
        if not self.record.heartbeat:
            pulls = any(q.info and q.info.num_waiting for q in self.queues)
            if pulls or now - self.said_at <= SILENT_S:
                return "working"
            return "unknown" if not self.queues else "missing" if waits else "resting"
        if fleet.count(now, "ready", "draining"):
            return "working"
        if fleet.count(now, "loading") or (reason and reason.wanted and reason.warming):
            return "starting"
        return "missing" if waits else "resting"

    def _late_s(self, reason: Reason | None, state: State) -> float:
        if reason is None:
            return LATE_S
        starts_s = TIMES_COLD_START * reason.cold_start_s if state in ("starting", "missing") else 0.0
        return max(LATE_S, TIMES_TARGET * reason.target_s, starts_s)

    def _time(self) -> ReplicaTime:
        s = self.fleet.spent
        return ReplicaTime(
            seconds=round(s.seconds, 1),
            used_s=round(s.used_s, 1),
            busy_s=round(s.busy_s, 1),
            idle_s=round(s.idle_s, 1),
            warming_s=round(s.warming_s, 1),
            computing_s=round(s.computing_s, 1),
            saved_s=round(s.saved_s, 1),
            peak=s.peak,
        )

    def _money(self, now: float, cost_per_hour: float) -> Money:
        s = self.fleet.spent
        return Money(
            per_hour=self.fleet.count(now, "loading", "ready", "draining") * cost_per_hour,
            spent=round(s.used_s / HOUR_S * cost_per_hour, 4),
            saved=round(s.saved_s / HOUR_S * cost_per_hour, 4),
        )
