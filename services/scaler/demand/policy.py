"""How many replicas a consumer's work needs: from arrivals, backlog and the measured rate of one busy replica. Pure.

    demand = Demand(DemandSettings(latency_target_s=2, cold_start_s=60))
    estimate = demand.observe(Observation(time=now, arrived=1204, waiting=20, in_work=11, fleet=fleet))
    estimate.replicas        # 2.6: an external metric whose target is 1
    estimate.explain()       # the sum, in words

    replicas = (planned rate + (backlog expected - backlog allowed) / drain time) / rate of one replica

The planned rate is what the arrival rate will hardly exceed when a replica asked for now is ready, and the backlog is
taken as it will be then. A backlog under what the latency target allows lowers the sum: a fleet may fall behind a
little, and is caught up with by the same term. What keeps replicas that the sum would let go:

- A replica costs its cold start to get back, so what arrivals call for is held for as long and a half: giving up a
  replica and taking it back costs as much as keeping it through the pause (the break-even rule of renting or buying),
  and the minutes that are not served meanwhile.
- One that works through a backlog is not idle, whatever the sum says; one that warms up stays if it will still find it.
- A new observer knows too little to let go of anything.

Observations come about once a second; any interval is taken.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from services.scaler.demand.arrivals import Arrivals
from services.scaler.demand.forecast import Forecast
from services.scaler.demand.observation import Observation
from services.scaler.demand.service_rate import ServiceRate

# The HPA asks so often: half of it is what a wish waits for on the average.
SYNC_S = 15.0
SHARE_EXCEEDED = 0.15
# The window of the arrival rate, in cold starts: as steady as what follows from it is slow.
WINDOW = 1.0
LEAST_WINDOW_S = 120.0
# Of the latency target, what a backlog may use up before more replicas are wanted.
ALLOWED = 0.6
# A backlog is to be gone after this share of a cold start: half as many replicas more for half as long.
DRAIN = 0.5
LEAST_DRAIN_S = 15.0
# What may be behind is fallen behind by over this many horizons at least: it is caught up with one later.
LAG = 1.0
# For a backlog, at most so many replicas more for each that arrivals call for.
MOST_FOR_BACKLOG = 2.0
# How long what arrivals call for is held, in cold starts: the break-even, and half of it for the minutes missed.
HOLD = 1.5
LEAST_HOLD_S = 15.0
# Nothing arrives for as long, in holds, or for this time: then nothing is forecast either.
QUIET = 2.0
LEAST_QUIET_S = 60.0
# A backlog that outlasts this while there was capacity for it does not drain: it is not counted.
STUCK_S = 120.0
AMPLE = 1.15
# Work that gets done while no worker is heard: their heartbeats are lost.
UNHEARD_S = 15.0
# By the lag rule a replica is wanted for each of these shares of what it clears in the latency target.
LAG_SHARE = 0.75
# No fleet is larger: what a wild sum asks for beyond is not remembered as warming up.
MOST_ASKED = 1000


class DemandSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator says of a service; each is a key of the trigger's metadata, in camel case without `_s`.

    latency_target_s: from a message's arrival to its result. cold_start_s: from asking for a replica to its first
    result. headroom: share added to the forecast, beyond the margin it has learned. lag_threshold: messages a replica,
    while no rate is known.
    """

    latency_target_s: Annotated[float, Meta(gt=0)] = 2.0
    cold_start_s: Annotated[float, Meta(ge=0)] = 60.0
    headroom: Annotated[float, Meta(ge=0)] = 0.0
    lag_threshold: Annotated[float, Meta(gt=0)] = 10.0


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Replicas to run, with every term of the sum. Rates are messages a second, backlogs messages.

    basis: `lag` where no worker is heard that could be reckoned with. arrival_rate: now; forecast_rate: expected when a
    replica asked for now is ready; planned_rate: hardly exceeded then, with headroom. service_rate: of a busy replica,
    measured or else assumed; 0 by the lag rule where none is known. backlog_expected: then; backlog_stuck: what does
    not drain and is not counted. arrival_replicas, backlog_replicas: the two parts of the sum; held_replicas: kept
    whatever the sum. ready, warming: replicas that work, and those asked for that do not yet.
    """

    replicas: float
    active: bool
    basis: Literal["demand", "lag"]
    arrival_rate: float = 0.0
    dispersion: float = 0.0
    forecast_rate: float = 0.0
    planned_rate: float = 0.0
    forecaster: str = ""
    service_rate: float = 0.0
    measured: bool = False
    backlog: float = 0.0
    backlog_expected: float = 0.0
    backlog_allowed: float = 0.0
    backlog_stuck: float = 0.0
    drain_s: float = 0.0
    arrival_replicas: float = 0.0
    backlog_replicas: float = 0.0
    held_replicas: float = 0.0
    ready: int = 0
    warming: int = 0

    def explain(self) -> list[str]:
        """Sentences for a person, from what comes in to what is asked for."""
        if self.basis == "lag":
            lines = [
                "no worker is heard: the lag rule holds",
                f"{self.backlog:.0f} messages wait or are in work: they call for {self.backlog_replicas:.2f} replicas",
            ]
            if self.held_replicas > self.backlog_replicas:
                lines.append(f"{self.held_replicas:.2f} are held: so many were called for a moment ago")
            return lines
        each = f"{self.service_rate:.2f} a second"
        lines = [
            f"{self.arrival_rate:.2f} messages a second arrive, with a dispersion of {self.dispersion:.1f} "
            "(1 is chance alone); "
            f"{self.forecast_rate:.2f} are expected and {self.planned_rate:.2f} planned for when a replica asked for "
            f"now is ready ({self.forecaster})",
            (f"one busy replica does {each}" if self.measured else f"not yet measured, a busy replica may do {each}")
            + f": arrivals call for {self.arrival_replicas:.2f}",
            f"{self.backlog:.0f} messages wait or are in work, {self.backlog_expected:.0f} will then, and the latency "
            f"target allows {self.backlog_allowed:.0f}: {self.backlog_replicas:+.2f}, to be there within "
            f"{self.drain_s:.0f} s",
        ]
        if self.backlog_stuck:
            lines.append(f"{self.backlog_stuck:.0f} messages have not drained though there was room: not counted")
        if self.held_replicas > self.arrival_replicas + self.backlog_replicas:
            lines.append(
                f"{self.held_replicas:.2f} are held: for arrivals of a while ago, as one let go costs a cold start to "
                "get back; for a backlog that they work through; or because this scaler has only just begun to look"
            )
        lines.append(f"{self.replicas:.2f} replicas; {self.ready} are ready and {self.warming} warm up")
        return lines


class Demand:
    """The policy of one consumer."""

    def __init__(self, settings: DemandSettings) -> None:
        cold, target = settings.cold_start_s, settings.latency_target_s
        self._settings = settings
        self._horizon_s = cold + SYNC_S / 2
        self._drain_s = max(LEAST_DRAIN_S, DRAIN * cold)
        self._lag_s = max(self._drain_s, LAG * self._horizon_s)
        self._hold_s = max(LEAST_HOLD_S, HOLD * cold)
        self._quiet_s = max(LEAST_QUIET_S, QUIET * self._hold_s)
        self._assumed_rate = settings.lag_threshold / (LAG_SHARE * target)
        self._arrivals = Arrivals(max(LEAST_WINDOW_S, WINDOW * cold))
        period = min(60.0, max(15.0, 3 * target))
        self._expected = Forecast(self._horizon_s, 0.5, period)
        self._planned = Forecast(self._horizon_s, 1 - SHARE_EXCEEDED, period)
        self._service_rate = ServiceRate()
        self._stuck = _Stuck()
        self._warming = _Warming(cold)
        self._done = 0
        self._done_at = -math.inf
        self._held = _Highest(self._hold_s)
        self._began: float | None = None
        self._arrived = 0
        self._lost_count = 0
        self._arrived_at = -math.inf

    def observe(self, o: Observation) -> Estimate:
        """The estimate at `o.time`. Times must not step back; where `arrived` does, the count has begun anew."""
        if o.arrived + self._lost_count < self._arrived:
            self._lost_count = self._arrived - o.arrived
        o = msgspec.structs.replace(o, arrived=o.arrived + self._lost_count)
        if self._began is None:
            self._began, self._arrived = o.time, o.arrived
        if o.arrived > self._arrived:
            self._arrived, self._arrived_at = o.arrived, o.time
        if o.arrived - o.backlog > self._done:
            self._done, self._done_at = o.arrived - o.backlog, o.time
        self._service_rate.observe(o.time, o.waiting, o.fleet)
        expected, planned = self._rates(o)
        rate = self._service_rate.value
        if o.fleet is None and (rate is None or o.time - self._done_at < UNHEARD_S):
            # Nobody was ever heard, or somebody works unheard: how many there are can't be reckoned with.
            return self._by_lag(o, rate)
        return self._by_demand(o, rate or self._assumed_rate, expected, planned)

    def _rates(self, o: Observation) -> tuple[float, float]:
        """(expected, planned) arrival rates at the horizon."""
        a = self._arrivals
        a.observe(o.time, o.arrived)
        self._expected.observe(o.time, o.arrived, a.level)
        self._planned.observe(o.time, o.arrived, a.level)
        if o.time - self._arrived_at > self._quiet_s:
            return 0.0, 0.0
        return self._expected.value(a.level), self._planned.value(a.level)

    def _by_lag(self, o: Observation, rate: float | None) -> Estimate:
        fleet = o.fleet
        each = self._settings.lag_threshold
        if rate is not None:
            each = max(1.0, LAG_SHARE * rate * self._settings.latency_target_s)
        replicas = o.backlog / each
        held = self._held.of(o.time, replicas)
        return Estimate(
            replicas=max(replicas, held),
            active=o.backlog > 0 or held > 0,
            basis="lag",
            arrival_rate=self._arrivals.level,
            service_rate=rate or 0.0,
            measured=rate is not None,
            backlog=o.backlog,
            backlog_replicas=replicas,
            held_replicas=held,
            ready=fleet.ready if fleet else 0,
            warming=fleet.loading if fleet else 0,
        )

    def _by_demand(self, o: Observation, rate: float, expected: float, planned: float) -> Estimate:
        settings, horizon = self._settings, self._horizon_s
        ready, loading = (o.fleet.ready, o.fleet.loading) if o.fleet else (0, 0)
        starts = self._warming.until_ready(o.time, ready, loading)
        stuck = self._stuck.measure(o.time, max(0, o.backlog - 2 * ready), o.arrived, rate * ready)
        backlog = o.backlog - stuck

        capacity = rate * (ready * horizon + sum(max(0.0, horizon - s) for s in starts))
        then = max(0.0, backlog + expected * horizon - capacity)
        allowed = ALLOWED * expected * settings.latency_target_s
        planned *= 1 + settings.headroom
        for_arrivals = planned / rate
        within = self._drain_s if then > allowed else self._lag_s
        for_backlog = min((then - allowed) / (within * rate), MOST_FOR_BACKLOG * max(1.0, for_arrivals))

        held = self._held.of(o.time, max(0.0, for_arrivals + min(0.0, for_backlog)))
        if backlog > max(allowed, 2 * ready):
            held = max(held, float(ready + _useful(starts, backlog, allowed, expected, rate, ready)))
        if o.time - (self._began or 0.0) < self._hold_s:
            held = max(held, float(ready + loading))
        replicas = max(0.0, for_arrivals + for_backlog, held)
        active = backlog > 0 or o.time - self._arrived_at < self._hold_s or replicas >= 1
        self._warming.ask(o.time, math.ceil(replicas), ready)
        return Estimate(
            replicas=replicas if active else 0.0,
            active=active,
            basis="demand",
            arrival_rate=self._arrivals.level,
            dispersion=self._arrivals.dispersion,
            forecast_rate=expected,
            planned_rate=planned,
            forecaster=self._planned.name,
            service_rate=rate,
            measured=self._service_rate.value is not None,
            backlog=o.backlog,
            backlog_expected=then,
            backlog_allowed=allowed,
            backlog_stuck=stuck,
            drain_s=within,
            arrival_replicas=for_arrivals,
            backlog_replicas=for_backlog,
            held_replicas=held,
            ready=ready,
            warming=len(starts),
        )


def _useful(starts: list[float], backlog: float, allowed: float, arrival: float, rate: float, ready: int) -> int:
    """Of the replicas that warm up, those that will still find a backlog. starts: seconds until each is ready."""
    at = 0.0
    for i, start in enumerate(starts):
        backlog += (arrival - rate * (ready + i)) * max(0.0, start - at)
        at = max(at, start)
        if backlog <= allowed:
            return i
    return len(starts)


class _Highest:
    """The highest value of the last `window_s`."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._values: deque[tuple[float, float]] = deque()

    def of(self, now: float, value: float) -> float:
        values = self._values
        while values and values[-1][1] <= value:
            values.pop()
        values.append((now, value))
        while values[0][0] < now - self._window_s:
            values.popleft()
        return values[0][1]


class _Warming:
    """When the replicas that were asked for will be ready.

    A pod that waits for its node says nothing yet. So what was wished for is remembered: it is believed once the HPA
    must have seen it, and for half as long again as a cold start.
    """

    def __init__(self, cold_start_s: float) -> None:
        self._cold_start_s = cold_start_s
        self._asked: deque[float] = deque()
        self._ready = self._loading = 0

    def until_ready(self, now: float, ready: int, loading: int) -> list[float]:
        """Seconds until each is ready, the soonest first."""
        asked = self._asked
        came = max(0, ready - self._ready)
        for _ in range(min(len(asked), came)):
            asked.popleft()
        for _ in range(min(len(asked), max(0, self._loading - came - loading))):
            asked.pop()
        self._ready, self._loading = ready, loading
        while len(asked) > loading and asked[0] < now - 1.5 * self._cold_start_s - SYNC_S:
            asked.popleft()
        while len(asked) < loading:
            asked.append(now)
        return [
            max(0.0, at + self._cold_start_s - now)
            for i, at in enumerate(asked)
            if i < loading or at <= now - SYNC_S - 1.0
        ]

    def ask(self, now: float, replicas: int, ready: int) -> None:
        """Take note of what is asked for now."""
        while ready + len(self._asked) < min(replicas, MOST_ASKED):
            self._asked.append(now)
        while len(self._asked) > self._loading and ready + len(self._asked) > replicas:
            self._asked.pop()


class _Stuck:
    """The part of a backlog that does not drain: messages that fail and come again, or that can't be delivered."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float, int, float]] = deque()  # time, room so far, arrived, backlog
        self._room = 0.0
        self._last: float | None = None

    def measure(self, now: float, backlog: int, arrived: int, capacity: float) -> float:
        """`capacity`: messages a second that the ready replicas can work through."""
        if self._last is not None:
            self._room += capacity * (now - self._last)
        self._last = now
        marks = self._marks
        if not marks or now - marks[-1][0] >= STUCK_S / 12:
            marks.append((now, self._room, arrived, float(backlog)))
        while len(marks) > 1 and marks[1][0] <= now - STUCK_S:
            marks.popleft()
        began, room, arrived_then, backlog_then = marks[0]
        if now - began < STUCK_S:
            return 0.0
        # There was room for all that was there and all that came since, and yet so much is left.
        if self._room - room < AMPLE * (backlog_then + arrived - arrived_then):
            return 0.0
        return min(float(backlog), min(m[3] for m in marks))
