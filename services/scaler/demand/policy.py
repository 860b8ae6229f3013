"""The replicas that a consumer's work needs, from arrivals, backlog and the measured rate of one replica. Pure.

    demand = Demand(DemandSettings(latency_target_s=2, cold_start_s=60))
    estimate = demand.observe(Observation(time=now, arrived=1204, waiting=20, in_work=11, fleet=fleet))
    estimate.replicas        # 2.6: an external metric whose target is 1
    estimate.explain()       # the sum, in words

    replicas = (planned rate + (backlog expected - backlog allowed) / drain time) / rate of one replica

The planned rate is an upper quantile of the arrival rate when a replica requested now is ready. The backlog is the one
expected at that time. A backlog under the allowance of the latency target lowers the sum: a fleet may lag a little, and
the same term makes it catch up. Three rules retain replicas that the sum would release:

- A replica costs its cold start to get back. So the replicas for arrivals remain for one and a half cold starts.
  Releasing and restarting a replica costs as much as a pause of one cold start (the break-even rule of renting or
  buying), and also the minutes missed meanwhile.
- A replica that works through a backlog is not idle, whatever the sum says. A warming one remains if it will still find
  a backlog.
- An observer that has just started, or has observed nothing for a while, has too little data to release replicas.

If workers defer frames while they are behind, nothing waits for long, and other terms apply: `_may_defer`. Running
replicas backfill deferred segments, which request no replica without a `backfill_grace_s`. With it, segments with at
most that time left request enough replicas to be backfilled in time, and the plan is not lean meanwhile.

Observations come about once a second; any interval works.
"""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
from msgspec import Meta

from services.scaler.demand import warming
from services.scaler.demand.arrivals import Arrivals
from services.scaler.demand.deferral import DeferralController
from services.scaler.demand.estimate import Estimate
from services.scaler.demand.expiry import ExpiryForecast
from services.scaler.demand.forecast import Forecast
from services.scaler.demand.observation import Observation
from services.scaler.demand.peak import Peak
from services.scaler.demand.service_rate import ServiceRate
from services.scaler.demand.stuck import StuckBacklog
from services.scaler.demand.warming import Warming, useful


class DemandSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's settings of a service. Each is a key of the trigger's metadata, in camel case without `_s`.

    latency_target_s: from a message's arrival to its result. cold_start_s: from the request for a replica to its first
    result. headroom: share added to the forecast, beyond its learned margin. lag_threshold: messages per replica
    without a measured rate. defer_budget: share of frames that may be deferred, where workers do that; 0 for none.
    backfill_grace_s: deferred segments request replicas once their video is retained for at most this time, which
    exceeds a cold start; 0: never.
    """

    latency_target_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 2.0
    cold_start_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    headroom: Annotated[float, Meta(ge=0, le=100)] = 0.0
    lag_threshold: Annotated[float, Meta(ge=0.001, le=1e9)] = 10.0
    defer_budget: Annotated[float, Meta(ge=0, le=1)] = 0.02
    backfill_grace_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.0


# Parameters that an operator does not set. Values without another source are the best trade-off found on the traces of
# docs/explanation/scaling.md, between minutes served and replica-hours.

# The arrival rate exceeds the planned rate in this share of the forecast's periods.
EXCEEDED_SHARE = 0.15
# For degradable work, the exceeded share is this many times the budget, at most a half. The factor is the inverse of
# the mean excess of such a period.
EXCEEDED_PER_BUDGET = 2.25
# The arrival rate is averaged over this many cold starts: scaling by it is no quicker.
WINDOW_COLD_STARTS = 1.0
# The arrival rate is averaged over at least this long.
MIN_WINDOW_S = 120.0
# A backlog may use this share of the latency target before it requests more replicas.
ALLOWED_SHARE = 0.6
# A backlog over the allowed one is cleared within this share of a cold start.
DRAIN_COLD_STARTS = 0.5
# A backlog over the allowed one is cleared in at least this long: one sync of the HPA.
MIN_DRAIN_S = 15.0
# A tolerated lag is repaid over at least this many horizons.
LAG_HORIZONS = 1.0
# The backlog requests at most this many replicas per replica for arrivals.
MAX_BACKLOG_RATIO = 2.0
# Replicas for arrivals remain for this many cold starts: the break-even, and half of it for missed minutes.
HOLD_COLD_STARTS = 1.5
# For degradable work, replicas for arrivals remain for this many cold starts: no minute is missed.
HOLD_COLD_STARTS_DEGRADABLE = 1.0
# Replicas for arrivals remain for at least this long: one sync of the HPA.
MIN_HOLD_S = 15.0
# Nothing is forecast after this many scale-in delays without an arrival.
IDLE_DELAYS = 2.0
# The minimum time without an arrival after which nothing is forecast.
MIN_IDLE_S = 60.0
# Work done within this time while no worker was heard shows that heartbeats are lost.
UNHEARD_S = 15.0
# An observer without observations for this long starts over: two syncs of the HPA.
BLIND_S = 30.0
# The lag rule requests a replica per this share of the messages that it clears in the latency target. `tidegate
# threshold` uses the same share, 1 less the air.
LAG_SHARE = 0.75
# The minimum time to backfill expiring segments: one sync of the HPA.
MIN_DUE_S = 15.0
# This many messages per ready replica are in flight, rather than a backlog that retains replicas.
IN_FLIGHT_MESSAGES = 2
# The minimum period for scoring a forecast, which is otherwise three latency targets.
MIN_PERIOD_S = 15.0
# The maximum period for scoring a forecast, which is otherwise three latency targets.
MAX_PERIOD_S = 60.0


class Demand:
    """The policy of one consumer."""

    def __init__(self, settings: DemandSettings) -> None:
        cold, target = settings.cold_start_s, settings.latency_target_s
        self._settings = settings
        self._horizon_s = cold + warming.HPA_SYNC_S / 2
        self._drain_s = max(MIN_DRAIN_S, DRAIN_COLD_STARTS * cold)
        self._lag_s = max(self._drain_s, LAG_HORIZONS * self._horizon_s)
        self._scale_in_delay_s = max(MIN_HOLD_S, HOLD_COLD_STARTS * cold)
        self._idle_s = max(MIN_IDLE_S, IDLE_DELAYS * self._scale_in_delay_s)
        self._assumed_rate = settings.lag_threshold / (LAG_SHARE * target)
        self._arrivals = Arrivals(max(MIN_WINDOW_S, WINDOW_COLD_STARTS * cold))
        period = min(MAX_PERIOD_S, max(MIN_PERIOD_S, 3 * target))
        self._expected = Forecast(self._horizon_s, 0.5, period)
        self._planned = Forecast(self._horizon_s, 1 - EXCEEDED_SHARE, period)
        exceeded = min(0.5, EXCEEDED_PER_BUDGET * settings.defer_budget)
        self._planned_degraded = Forecast(self._horizon_s, 1 - exceeded, period)
        self._deferral = DeferralController(settings.defer_budget)
        self._expiry = ExpiryForecast(settings.backfill_grace_s)
        self._expiry_s = max(MIN_DUE_S, settings.backfill_grace_s - self._horizon_s)
        self._service_rate = ServiceRate()
        self._stuck = StuckBacklog()
        self._warming = Warming(cold)
        self._done = 0
        self._done_at = -math.inf
        self._peak: Peak[float] = Peak(self._scale_in_delay_s, closed=True)
        self._degraded_peak: Peak[float] = Peak(max(MIN_HOLD_S, HOLD_COLD_STARTS_DEGRADABLE * cold), closed=True)
        self._began: float | None = None
        self._at = -math.inf
        self._arrived = 0
        self._lost_count = 0
        self._arrived_at = -math.inf

    def observe(self, o: Observation) -> Estimate:
        """Return the estimate at `o.time`. Times must not step back; if `arrived` does, the count has restarted."""
        if o.arrived + self._lost_count < self._arrived:
            self._lost_count = self._arrived - o.arrived
        o = msgspec.structs.replace(o, arrived=o.arrived + self._lost_count)
        if self._began is None:
            self._arrived = o.arrived
        if self._began is None or o.time - self._at > BLIND_S:
            self._begin(o)
        self._at = o.time
        if o.arrived > self._arrived:
            self._arrived, self._arrived_at = o.arrived, o.time
        if o.arrived - o.backlog > self._done:
            self._done, self._done_at = o.arrived - o.backlog, o.time
        self._service_rate.observe(o.time, o.waiting, o.fleet, is_restart=o.is_reset)
        self._deferral.observe(o.time, o.fleet, is_restart=o.is_reset)
        expiring = self._expiry.measure(o.time, o.deferred)
        expected, planned = self._rates(o, lean=not expiring)
        rate = self._service_rate.value
        if o.fleet is None and (rate is None or o.time - self._done_at < UNHEARD_S):
            # No worker was ever heard, or heartbeats are lost: the number of workers is unknown.
            return self._by_lag(o, rate, expiring)
        return self._by_demand(o, rate or self._assumed_rate, expected, planned, expiring)

    def _begin(self, o: Observation) -> None:
        """Start at first, and after a gap without observations: missing data must not release replicas."""
        self._began = o.time
        self._arrivals.resume(o.time, o.arrived)
        if o.backlog > 0:  # its arrival time is unknown: it may be now
            self._arrived_at = o.time

    @property
    def _may_defer(self) -> bool:
        """Whether workers defer frames while they are behind, and the budget allows it. Then

        - the plan is a lower quantile of arrivals, and leaner while the budget is not used up;
        - the expected backlog is at most the present one: the rest is deferred, and is no backlog to drain;
        - replicas for arrivals remain for the break-even alone.
        """
        return self._deferral.is_reported and self._settings.defer_budget > 0

    def _rates(self, o: Observation, *, lean: bool) -> tuple[float, float]:
        """Return (expected, planned) arrival rates at the horizon. lean: whether the plan may be lean."""
        a, more = self._arrivals, 1 + self._settings.headroom
        a.observe(o.time, o.arrived)
        self._expected.observe(o.time, o.arrived, a.level)
        self._planned.observe(o.time, o.arrived, a.level)
        self._planned_degraded.observe(o.time, o.arrived, a.level)
        if o.time - self._arrived_at > self._idle_s:
            return 0.0, 0.0
        if self._may_defer:
            leaner = self._deferral.share if lean else 0.0
            return self._expected.value(a.level), self._planned_degraded.value(a.level) * (1 - leaner) * more
        return self._expected.value(a.level), self._planned.value(a.level) * more

    def _by_lag(self, o: Observation, rate: float | None, expiring: float) -> Estimate:
        fleet = o.fleet
        each = self._settings.lag_threshold
        if rate is not None:
            each = max(1.0, LAG_SHARE * rate * self._settings.latency_target_s)
        for_backlog = o.backlog / each
        for_expiring = expiring / ((rate or self._assumed_rate) * self._expiry_s)
        floor = self._peak.add(o.time, for_backlog)
        # The floor may stem from workers that are gone by now: it is no reason to start one.
        active = max(o.backlog, expiring) > 0 or o.time - self._arrived_at < self._scale_in_delay_s
        return Estimate(
            replicas=max(for_backlog + for_expiring, floor) if active else 0.0,
            active=active,
            basis="lag",
            arrival_rate=self._arrivals.level,
            service_rate=rate or 0.0,
            measured=rate is not None,
            backlog=o.backlog,
            backlog_replicas=for_backlog,
            held_replicas=floor,
            expiring=expiring,
            expiry_replicas=for_expiring,
            ready=fleet.ready if fleet else 0,
            warming=fleet.loading if fleet else 0,
        )

    def _backlog_then(
        self, backlog: float, allowed: float, expected: float, rate: float, ready: int, starts: list[float]
    ) -> float:
        """Return the messages that will wait when a replica requested now is ready."""
        horizon = self._horizon_s
        capacity = rate * (ready * horizon + sum(max(0.0, horizon - s) for s in starts))
        then = max(0.0, backlog + expected * horizon - capacity)
        return min(then, max(backlog, allowed)) if self._may_defer else then

    def _by_demand(self, o: Observation, rate: float, expected: float, planned: float, expiring: float) -> Estimate:
        ready, loading = (o.fleet.ready, o.fleet.loading) if o.fleet else (0, 0)
        starts = self._warming.until_ready(o.time, ready, loading)
        stuck = self._stuck.measure(o.time, max(0, o.backlog - IN_FLIGHT_MESSAGES * ready), o.arrived, rate * ready)
        backlog = o.backlog - stuck
        allowed = ALLOWED_SHARE * expected * self._settings.latency_target_s
        then = self._backlog_then(backlog, allowed, expected, rate, ready, starts)
        for_arrivals = planned / rate
        within = self._drain_s if then > allowed else self._lag_s
        for_backlog = min((then - allowed) / (within * rate), MAX_BACKLOG_RATIO * max(1.0, for_arrivals))

        peak = self._degraded_peak if self._may_defer else self._peak
        floor = peak.add(o.time, max(0.0, for_arrivals + min(0.0, for_backlog)))
        if backlog > max(allowed, IN_FLIGHT_MESSAGES * ready):
            floor = max(floor, float(ready + useful(starts, backlog, allowed, expected, rate, ready)))
        is_new = o.time - (self._began or 0.0) < self._scale_in_delay_s
        floor = max(floor, float(ready + loading)) if is_new else floor
        for_expiring = expiring / (rate * self._expiry_s)
        replicas = max(0.0, for_arrivals + for_backlog + for_expiring, floor)
        has_arrived = o.time - self._arrived_at < self._scale_in_delay_s
        # A forecast activates only if arrivals support it: without a replica, all of it is backlog.
        active = max(backlog, expiring) > 0 or has_arrived or max(for_arrivals, floor) >= 1
        self._warming.ask(o.time, math.ceil(replicas), ready)
        return Estimate(
            replicas=replicas if active else 0.0,
            active=active,
            basis="demand",
            arrival_rate=self._arrivals.level,
            dispersion=self._arrivals.dispersion,
            forecast_rate=expected,
            planned_rate=planned,
            forecaster=(self._planned_degraded if self._may_defer else self._planned).name,
            service_rate=rate,
            measured=self._service_rate.value is not None,
            backlog=o.backlog,
            backlog_expected=then,
            backlog_allowed=allowed,
            backlog_stuck=stuck,
            drain_s=within,
            arrival_replicas=for_arrivals,
            backlog_replicas=for_backlog,
            held_replicas=floor,
            expiring=expiring,
            expiry_replicas=for_expiring,
            ready=ready,
            warming=len(starts),
            deferred_share=self._deferral.deferred_share,
            defer_budget=self._settings.defer_budget if self._may_defer else 0.0,
            deferral_share=self._deferral.share if self._may_defer else 0.0,
        )
