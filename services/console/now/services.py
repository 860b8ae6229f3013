"""The state of one service, as the page shows it, from JetStream, workers and scalers. Pure."""

from __future__ import annotations

import math

from services.console.now.model import Money, ReplicaTime, ServiceNow, State
from services.console.now.queues import QueueSeen
from services.console.now.rates import Flow
from services.console.now.reasons import Reason
from services.console.now.replicas import Fleet
from shared.contract.catalog import Service

HOUR_S = 3600.0
# Older values are stale.
STALE_S = 5.0
# A service that published nothing for this long may have stopped: analytics publishes counts once a minute.
SILENT_S = 150.0
# Waiting messages are late after the largest of these: 10 s, five times the target latency, and while a replica starts
# one and a half times its start time.
LATE_S = 10.0
TIMES_TARGET = 5.0
TIMES_COLD_START = 1.5
# Fields of a service that are those of its reason.
_OF_REASON = ("decides", "sentence", "sentences", "of", "by")


class OneService:
    """See the module. `now`: seconds of a monotonic clock. reason: of the scalers; None: none answers."""

    def __init__(self, record: Service, now: float) -> None:
        self.record = record
        self.fleet = Fleet(now)
        self.reason: Reason | None = None
        self.reason_at = -math.inf
        self.published = Flow(now)
        self.published_at = -math.inf
        self.queues = [QueueSeen(c.stream, c.name, now, counts=not c.spare) for c in record.consumers]

    def is_there(self, now: float) -> bool:
        """Whether it runs, has ever worked, or is scaled; for an always started service, also whether it has work.

        Other services have consumers whose messages wait even if the service is not used.
        """
        heard = now - self.published_at <= SILENT_S or self.fleet.count(now, "loading", "ready", "draining")
        has_work = self.record.started_by == "up" and any(q.info and q.info.num_pending for q in self.queues)
        return bool(heard or has_work or self._reason(now) or any(q.is_consumed for q in self.queues))

    def has_no_worker(self, now: float) -> bool:
        """Whether no worker is there to process messages in flight."""
        return self.record.heartbeat and not self.fleet.count(now, "ready", "draining")

    def now(self, now: float, cost_per_hour: float | None) -> ServiceNow:
        reason, fleet = self._reason(now), self.fleet
        counted = [q for q in self.queues if q.counts and (q.info or q.error)]
        states = [q.now(now) for q in counted if now - q.at <= STALE_S]
        is_complete = bool(states) and len(states) == len(counted)
        ages = [q.age_s for q in states]
        deferred = [q.info.num_pending + q.info.num_ack_pending for q in self.queues if not q.counts and q.info]
        state = self._state(now, sum(q.pending + q.in_flight for q in states))
        has_heartbeat = self.record.heartbeat
        warming = fleet.count(now, "loading")
        return ServiceNow(
            name=self.record.name,
            state=state,
            arriving=round(sum(q.arriving for q in states), 3) if is_complete else None,
            clearing=round(sum(q.clearing for q in states), 3) if is_complete else None,
            pending=sum(q.pending for q in states) if is_complete else None,
            in_flight=sum(q.in_flight for q in states) if is_complete else None,
            age_s=None if not is_complete or None in ages else max(a for a in ages if a is not None),
            late_s=self._late_s(reason, state),
            expired=sum(q.expired for q in states),
            wanted=None if reason is None or reason.wanted is None else round(reason.wanted, 3),
            **{name: getattr(reason, name) for name in _OF_REASON if reason},
            ready=fleet.count(now, "ready") if has_heartbeat else None,
            warming=max(warming, reason.warming or 0 if reason else 0) if has_heartbeat else None,
            draining=fleet.count(now, "draining") if has_heartbeat else None,
            time=self._time() if has_heartbeat else None,
            money=self._money(now, cost_per_hour) if has_heartbeat and cost_per_hour else None,
            deferred_share=round(fleet.deferred_share(now), 4),
            deferred=max(0, fleet.frames_wanted - fleet.frames_analysed),
            deferred_waiting=sum(deferred) if deferred else None,
            backfilled=fleet.backfilled,
            event_rate=round(self.published.per_second(now), 3) if self.published_at > -math.inf else None,
            replicas=fleet.replicas(now),
            queues=states,
            error=next((q.error for q in counted if q.error), "") if not is_complete else "",
        )

    def _reason(self, now: float) -> Reason | None:
        return self.reason if now - self.reason_at <= 3 * STALE_S else None

    def _state(self, now: float, waits: int) -> State:
        fleet, reason = self.fleet, self._reason(now)
        if not self.record.heartbeat:
            pulls = any(q.info and q.info.num_waiting for q in self.queues)
            if pulls or now - self.published_at <= SILENT_S:
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
        spent = self.fleet.spent
        seconds = {name: round(getattr(spent, name), 1) for name in ReplicaTime.__struct_fields__}
        return ReplicaTime(**{**seconds, "peak": spent.peak})

    def _money(self, now: float, cost_per_hour: float) -> Money:
        s = self.fleet.spent
        return Money(
            per_hour=self.fleet.count(now, "loading", "ready", "draining") * cost_per_hour,
            spent=round(s.used_s / HOUR_S * cost_per_hour, 4),
            saved=round(s.saved_s / HOUR_S * cost_per_hour, 4),
        )
