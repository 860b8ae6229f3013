"""The replicas that a consumer's work needs, from arrivals, backlog and the measured rate of one replica. Pure.

    demand = Demand(DemandSettings(latency_target_s=2, cold_start_s=60))
    estimate = demand.observe(Observation(time=now, arrived=1204, pending=20, in_flight=11, fleet=fleet))
    estimate.replicas        # 2.6: an external metric whose target is 1
    estimate.explain()       # the sum, in words

The sum, in replicas:

| term | value |
|---|---|
| for arrivals | planned rate / rate of one replica |
| for backlog | (backlog expected - backlog allowed) / (drain time * rate), at most 2 * max(1, for arrivals) |
| for expiring segments | deferred segments / (time until their video expires * rate), at the deadline that needs most |
| the sum | max(retained, for arrivals + for backlog + for expiring segments) |

The planned rate is an upper quantile of the arrival rate when a replica requested now is ready. The backlog is the one
expected at that time. A backlog under the allowance of the latency target lowers the sum: a fleet may lag a little, and
the same term makes it catch up. Three rules retain replicas that the sum would release:

- A replica costs its cold start to get back. So the replicas for arrivals remain for one and a half cold starts.
  Releasing and restarting a replica costs as much as a pause of one cold start (the break-even rule of renting or
  buying), and also the minutes missed meanwhile.
- A replica that works through a backlog is not idle, whatever the sum says. A warming one remains if it will still find
  a backlog.
- An observer that has just started, or has observed nothing for a while, has too little data to release replicas.

If workers defer frames while they are behind, nothing waits for long, and other terms apply: see `Demand`. Running
replicas backfill deferred segments. These request more replicas if they would expire otherwise, except as many as the
loss budget allows.

Observations come about once a second; any interval works.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from services.scaler.demand.arrivals import Arrivals
from services.scaler.demand.deferral import DeferralBudget
from services.scaler.demand.estimate import Estimate, HeldFor
from services.scaler.demand.expiry import BackfillDeadlines, Expiring
from services.scaler.demand.forecast import Forecast
from services.scaler.demand.observation import Observation
from services.scaler.demand.parameters import (
    ALLOWED_SHARE,
    DEFERRED_REPLICAS,
    EXCEEDED_SHARE,
    IN_FLIGHT_MESSAGES,
    LAG_SHARE,
    MAX_BACKLOG_RATIO,
    PEAK_S,
    UNHEARD_S,
    DemandSettings,
    Times,
)
from services.scaler.demand.peak import Peak
from services.scaler.demand.progress import Progress
from services.scaler.demand.service_rate import ServiceRate
from services.scaler.demand.stuck import StuckBacklog
from services.scaler.demand.warming import Warming, useful
from shared.elastic.levels import LEVELS


class _Rates(NamedTuple):
    """Arrivals a second at the horizon."""

    expected: float
    planned: float


class _Fleet(NamedTuple):
    """The replicas. rate: messages a second of a busy one. starts: seconds until each warming one is ready."""

    ready: int
    loading: int
    rate: float
    starts: list[float]


class _Backlog(NamedTuple):
    """Messages: those that drain, those that do not, those that the latency target allows, and those at the horizon."""

    draining: float
    stuck: float
    allowed: float
    expected: float


class Demand:
    """The policy of one consumer. `observe` has the order of all updates. The states are independent of each other:

    | state | from | until | meanwhile |
    |---|---|---|---|
    | new | the first observation, or the first after a gap | a scale-in delay later | all replicas remain |
    | unheard | no heartbeat, with no rate measured or with work done | a heartbeat | the lag rule |
    | idle | times.idle after the last arrival | an arrival | nothing is forecast |
    | degradable | workers report deferred frames, and the limit is not 0 | a report without them | see below |
    | over budget | more frames are never analysed, or deferred, than allowed | fewer | the plan is not lean |

    While work is degradable

    - the plan is the median of arrivals, less a part of a replica, and at least what serves the last hour's peak at the
      lowest level;
    - deferred segments request replicas by their deadlines, except those that the budget lets expire;
    - the expected backlog is at most the present one: the rest is deferred, and is no backlog to drain;
    - replicas for arrivals remain for the break-even alone.
    """

    def __init__(self, settings: DemandSettings) -> None:
        times = Times.of(settings)
        self._settings = settings
        self._times = times
        self._assumed_rate = settings.lag_threshold / (LAG_SHARE * settings.latency_target_s)
        self._progress = Progress()
        self._arrivals = Arrivals(times.window)
        self._expected = Forecast(times.horizon, 0.5, times.period)
        self._safe = Forecast(times.horizon, 1 - EXCEEDED_SHARE, times.period)
        self._held: Peak[float] = Peak(times.scale_in_delay, closed=True)
        self._held_degradable: Peak[float] = Peak(times.scale_in_delay_degradable, closed=True)
        self._peak_rate: Peak[float] = Peak(PEAK_S)
        self._deferral = DeferralBudget(settings.loss_budget, settings.defer_limit)
        self._deadlines = BackfillDeadlines()
        self._service_rate = ServiceRate()
        self._stuck = StuckBacklog()
        self._warming = Warming(settings.cold_start_s)

    def observe(self, o: Observation) -> Estimate:
        """Return the estimate at `o.time`. Times must not step back; if `arrived` does, the count has restarted."""
        o = self._progress.observe(o)
        if self._progress.is_beginning:
            self._arrivals.resume(o.time, o.arrived)
        self._service_rate.observe(o.time, o.pending, o.fleet, is_new_observer=o.is_new_observer)
        self._deferral.observe(o)
        due = self._deadlines.due(o.time, o.deferred, spare=self._deferral.spare_segments)
        rates = self._rates(o)
        if self._is_unheard(o):
            return self._by_lag(o, due)
        return self._by_demand(o, rates, due)

    # ---- states

    def _is_new(self, now: float) -> bool:
        return now - self._progress.began < self._times.scale_in_delay

    def _is_unheard(self, o: Observation) -> bool:
        """Whether the number of workers is unknown: none was ever heard, or heartbeats are lost."""
        works = o.time - self._progress.done_at < UNHEARD_S
        return o.fleet is None and (self._service_rate.value is None or works)

    def _is_idle(self, now: float) -> bool:
        return now - self._progress.arrived_at > self._times.idle

    @property
    def _is_degradable(self) -> bool:
        return self._deferral.is_reported and self._settings.defer_limit > 0

    @property
    def _is_lean(self) -> bool:
        return self._is_degradable and not self._deferral.is_exceeded

    @property
    def _plan(self) -> Forecast:
        return self._expected if self._is_lean else self._safe

    def _has_arrivals(self, now: float) -> bool:
        return now - self._progress.arrived_at < self._times.scale_in_delay

    # ---- terms

    def _rates(self, o: Observation) -> _Rates:
        """Return the arrival rates at the horizon."""
        self._arrivals.observe(o.time, o.arrived)
        level = self._arrivals.level
        for forecast in (self._expected, self._safe):
            forecast.observe(o.time, o.arrived, level)
        if self._is_idle(o.time):
            return _Rates(0.0, 0.0)
        planned = self._plan.value(level) * (1 + self._settings.headroom)
        return _Rates(self._expected.value(level), planned)

    def _for_arrivals(self, now: float, rates: _Rates, rate: float) -> float:
        """Return the replicas for arrivals. rate: of one busy replica."""
        peak = self._peak_rate.add(now, rates.expected)
        needed = rates.planned / rate
        if self._is_lean and needed:
            return max(needed - DEFERRED_REPLICAS, LEVELS[-1].cost * peak / rate)
        return needed

    def _fleet(self, o: Observation) -> _Fleet:
        ready, loading = (o.fleet.ready, o.fleet.loading) if o.fleet else (0, 0)
        rate = self._service_rate.value or self._assumed_rate
        return _Fleet(ready, loading, rate, self._warming.until_ready(o.time, ready, loading))

    def _backlog(self, o: Observation, fleet: _Fleet, expected: float) -> _Backlog:
        waiting = max(0, o.backlog - IN_FLIGHT_MESSAGES * fleet.ready)
        stuck = self._stuck.measure(o.time, waiting, o.arrived, fleet.rate * fleet.ready)
        draining = o.backlog - stuck
        allowed = ALLOWED_SHARE * expected * self._settings.latency_target_s
        horizon = self._times.horizon
        capacity = fleet.rate * (fleet.ready * horizon + sum(max(0.0, horizon - s) for s in fleet.starts))
        then = max(0.0, draining + expected * horizon - capacity)
        return _Backlog(draining, stuck, allowed, min(then, max(draining, allowed)) if self._is_degradable else then)

    def _retained(
        self, now: float, fleet: _Fleet, backlog: _Backlog, expected: float, wanted: float
    ) -> tuple[float, HeldFor]:
        """Return the replicas that remain whatever the sum, and the one of three rules that decides.

        wanted: the replicas for arrivals.
        """
        held = self._held_degradable if self._is_degradable else self._held
        rules: list[tuple[float, HeldFor]] = [(held.add(now, max(0.0, wanted)), "arrivals")]
        if backlog.draining > max(backlog.allowed, IN_FLIGHT_MESSAGES * fleet.ready):
            warming = useful(fleet.starts, backlog.draining, backlog.allowed, expected, fleet.rate, fleet.ready)
            rules.append((float(fleet.ready + warming), "backlog"))
        if self._is_new(now):
            rules.append((float(fleet.ready + fleet.loading), "new"))
        return max(rules, key=lambda rule: rule[0])

    # ---- the two sums

    def _by_lag(self, o: Observation, due: Expiring) -> Estimate:
        rate = self._service_rate.value
        each = self._settings.lag_threshold
        if rate is not None:
            each = max(1.0, LAG_SHARE * rate * self._settings.latency_target_s)
        for_backlog = o.backlog / each
        for_expiring = due.rate / (rate or self._assumed_rate)
        floor = self._held.add(o.time, for_backlog)
        # The floor may stem from workers that are gone by now: it is no reason to start one.
        active = max(o.backlog, due.segments) > 0 or self._has_arrivals(o.time)
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
            expiring=due.segments,
            expiry_replicas=for_expiring,
        )

    def _by_demand(self, o: Observation, rates: _Rates, due: Expiring) -> Estimate:
        fleet = self._fleet(o)
        backlog = self._backlog(o, fleet, rates.expected)
        for_arrivals = self._for_arrivals(o.time, rates, fleet.rate)
        drain_s = self._times.drain if backlog.expected > backlog.allowed else self._times.lag
        for_backlog = (backlog.expected - backlog.allowed) / (drain_s * fleet.rate)
        for_backlog = min(for_backlog, MAX_BACKLOG_RATIO * max(1.0, for_arrivals))
        for_expiring = due.rate / fleet.rate
        retained, held_for = self._retained(
            o.time, fleet, backlog, rates.expected, for_arrivals + min(0.0, for_backlog)
        )
        replicas = max(0.0, for_arrivals + for_backlog + for_expiring, retained)
        # A forecast activates only if arrivals support it: without a replica, all of it is backlog.
        is_working = max(backlog.draining, due.segments) > 0 or self._has_arrivals(o.time)
        active = is_working or max(for_arrivals, retained) >= 1
        self._warming.ask(o.time, math.ceil(replicas), fleet.ready)
        return Estimate(
            replicas=replicas if active else 0.0,
            active=active,
            basis="demand",
            arrival_rate=self._arrivals.level,
            dispersion=self._arrivals.dispersion,
            forecast_rate=rates.expected,
            planned_rate=rates.planned,
            forecaster=self._plan.name,
            service_rate=fleet.rate,
            measured=self._service_rate.value is not None,
            backlog=o.backlog,
            backlog_expected=backlog.expected,
            backlog_allowed=backlog.allowed,
            backlog_stuck=backlog.stuck,
            drain_s=drain_s,
            arrival_replicas=for_arrivals,
            backlog_replicas=for_backlog,
            held_replicas=retained,
            held_for=held_for,
            expiring=due.segments,
            expiry_replicas=for_expiring,
            ready=fleet.ready,
            warming=len(fleet.starts),
            deferred_share=self._deferral.deferred_share,
            never_share=self._deferral.never_share,
            degradable=self._is_degradable,
            over_budget=self._is_degradable and self._deferral.is_exceeded,
            loss_budget=self._settings.loss_budget,
            defer_limit=self._settings.defer_limit,
        )
