"""The policy's parameters: an operator's settings, the constants, and the times that follow from both. Pure data."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from services.scaler.demand.warming import HPA_SYNC_S


class DemandSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's settings of a service. Each is a key of the trigger's metadata, in camel case without `_s`.

    latency_target_s: from a message's arrival to its result. cold_start_s: from the request for a replica to its first
    result. headroom: share added to the forecast, beyond its learned margin. lag_threshold: messages per replica
    without a measured rate. loss_budget: share of frames that may never be analysed, where workers defer frames; the
    other deferred ones are backfilled in time. defer_limit: share of frames that may be deferred at first; 0: the plan
    never relies on that.
    """

    latency_target_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 2.0
    cold_start_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    headroom: Annotated[float, Meta(ge=0, le=100)] = 0.0
    lag_threshold: Annotated[float, Meta(ge=0.001, le=1e9)] = 10.0
    loss_budget: Annotated[float, Meta(ge=0, le=1)] = 0.02
    defer_limit: Annotated[float, Meta(ge=0, le=1)] = 1.0


# Parameters that an operator does not set. Values without another source are the best trade-off found on the traces of
# docs/explanation/scaling.md, between minutes served and replica-hours.

# The arrival rate exceeds the planned rate in this share of the forecast's periods.
EXCEEDED_SHARE = 0.15
# While frames may be deferred, the plan is less by this part of a replica: about rounded to the nearest, and not up.
DEFERRED_REPLICAS = 0.4
# While frames may be deferred, the fleet can serve the peak of this time at the lowest level.
PEAK_S = 3600.0
# The arrival rate is averaged over a cold start, as scaling by it is no quicker, and over at least this long.
MIN_WINDOW_S = 120.0
# A backlog may use this share of the latency target before it requests more replicas.
ALLOWED_SHARE = 0.6
# A backlog over the allowed one is cleared within this share of a cold start.
DRAIN_COLD_STARTS = 0.5
# The backlog requests at most this many replicas per replica for arrivals.
MAX_BACKLOG_RATIO = 2.0
# Replicas for arrivals remain for this many cold starts: the break-even, and half of it for missed minutes.
HOLD_COLD_STARTS = 1.5
# For degradable work, replicas for arrivals remain for this many cold starts: no minute is missed.
HOLD_COLD_STARTS_DEGRADABLE = 1.0
# Nothing is forecast after this many scale-in delays without an arrival.
IDLE_DELAYS = 2.0
# The minimum time without an arrival after which nothing is forecast.
MIN_IDLE_S = 60.0
# Work done within this time while no worker was heard shows that heartbeats are lost.
UNHEARD_S = 15.0
# An observer without observations for this long starts over: two syncs of the HPA.
BLIND_S = 30.0
# The lag rule requests a replica per this share of the messages that it clears in the latency target, and so does
# `tidegate threshold`.
LAG_SHARE = 0.75
# This many messages per ready replica are in flight, rather than a backlog that retains replicas.
IN_FLIGHT_MESSAGES = 2
# The period for scoring a forecast is three latency targets, between these bounds.
MIN_PERIOD_S = 15.0
MAX_PERIOD_S = 60.0


class Times(NamedTuple):
    """The policy's times, in seconds. Nothing happens sooner than at the next sync of the HPA.

    horizon: until a replica requested now is ready. drain: to clear a backlog over the allowed one. lag: to repay a
    tolerated lag. scale_in_delay: that replicas for arrivals remain; scale_in_delay_degradable: the same for degradable
    work. idle: without an arrival, after which nothing is forecast. period: for scoring a forecast. window: that the
    arrival rate is averaged over.
    """

    horizon: float
    drain: float
    lag: float
    scale_in_delay: float
    scale_in_delay_degradable: float
    idle: float
    period: float
    window: float

    @classmethod
    def of(cls, settings: DemandSettings) -> Times:
        cold = settings.cold_start_s
        horizon = cold + HPA_SYNC_S / 2
        drain = max(HPA_SYNC_S, DRAIN_COLD_STARTS * cold)
        scale_in_delay = max(HPA_SYNC_S, HOLD_COLD_STARTS * cold)
        return cls(
            horizon=horizon,
            drain=drain,
            lag=max(drain, horizon),
            scale_in_delay=scale_in_delay,
            scale_in_delay_degradable=max(HPA_SYNC_S, HOLD_COLD_STARTS_DEGRADABLE * cold),
            idle=max(MIN_IDLE_S, IDLE_DELAYS * scale_in_delay),
            period=min(MAX_PERIOD_S, max(MIN_PERIOD_S, 3 * settings.latency_target_s)),
            window=max(MIN_WINDOW_S, cold),
        )
