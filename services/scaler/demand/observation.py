"""What a policy is told of a consumer and of the workers that serve it. Pure data."""

from __future__ import annotations

import msgspec


class Workers(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the heartbeats of a service's workers add up to.

    ready, loading: replicas now; those that drain are neither. processed: messages worked through, and working_s:
    seconds with a message in hand, both summed over all replicas ever heard, so that they only grow.

    work: of the processed messages, where one looked at in full is 1, and one looked at in part as much less as it
    takes less time. wanted, looked: frames of these. They only grow, too; None of a service that says nothing of it.
    """

    ready: int
    loading: int
    processed: float
    working_s: float
    work: float | None = None
    wanted: float | None = None
    looked: float | None = None


class DeferredSegments(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Segments of which frames were left out. ever: so far, it only grows. waiting: those that nobody has looked at
    again, nor said to be lost. kept_s: seconds for which their video is kept.
    """

    ever: int
    waiting: int
    kept_s: float


class Observation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of a consumer at `time` (seconds of a monotonic clock).

    arrived: messages that the consumer was ever to get. waiting: those that no worker holds (pending); in_work: those
    that workers hold (ack pending). fleet: None where no heartbeat is heard. put_off: None where nobody asks. anew: its
    sums are another observer's than before, so that nothing follows from how they differ.
    """

    time: float
    arrived: int
    waiting: int
    in_work: int
    fleet: Workers | None
    put_off: DeferredSegments | None = None
    anew: bool = False

    @property
    def backlog(self) -> int:
        """What KEDA's own scaler calls the lag."""
        return self.waiting + self.in_work


def faster(o: Observation, speed: float) -> Observation:
    """The same, where so many seconds pass in one: a clock that runs faster for all that is measured in seconds."""
    if speed == 1.0:
        return o
    fleet = o.fleet and msgspec.structs.replace(o.fleet, working_s=o.fleet.working_s * speed)
    deferred = o.put_off and msgspec.structs.replace(o.put_off, kept_s=o.put_off.kept_s * speed)
    return msgspec.structs.replace(o, time=o.time * speed, fleet=fleet, put_off=deferred)
