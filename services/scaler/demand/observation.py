"""A policy's input: the state of a consumer and of its workers. Pure data."""

from __future__ import annotations

import msgspec


class Workers(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The sums of the heartbeats of a service's workers.

    ready, loading: replicas now; draining ones are neither. processed: messages, and working_s: seconds with a message
    in flight, both summed over all replicas ever heard. So they never decrease.

    work: of the processed messages; 1 for a fully analysed one, and less in proportion to the time for a partially
    analysed one. wanted, analysed: their wanted and analysed frames. They never decrease; None if not reported.
    never: deferred frames that no replica will analyse any more; 0 if not reported.
    """

    ready: int
    loading: int
    processed: float
    working_s: float
    work: float | None = None
    wanted: float | None = None
    analysed: float | None = None
    never: float = 0.0


class DeferredSegments(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Segments with deferred frames. ever: cumulative. waiting: those neither backfilled nor lost. retention_s: seconds
    of retention of their video.
    """

    ever: int
    waiting: int
    retention_s: float


class Observation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The state of a consumer at `time` (seconds of a monotonic clock).

    arrived: cumulative messages of the consumer. pending: waiting ones; in_flight: those at workers
    (ack pending). fleet: None without heartbeats. deferred: None if not followed. is_new_observer: its sums are another
    observer's than before, so their differences mean nothing.
    """

    time: float
    arrived: int
    pending: int
    in_flight: int
    fleet: Workers | None
    deferred: DeferredSegments | None = None
    is_new_observer: bool = False

    @property
    def backlog(self) -> int:
        """The lag, as KEDA's own scaler counts it."""
        return self.pending + self.in_flight


def faster(o: Observation, speed: float) -> Observation:
    """Return the observation on a clock that runs `speed` times faster, for all values in seconds."""
    if speed == 1.0:
        return o
    fleet = o.fleet and msgspec.structs.replace(o.fleet, working_s=o.fleet.working_s * speed)
    deferred = o.deferred and msgspec.structs.replace(o.deferred, retention_s=o.deferred.retention_s * speed)
    return msgspec.structs.replace(o, time=o.time * speed, fleet=fleet, deferred=deferred)
