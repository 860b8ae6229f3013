"""What the page is told: the system as it is now."""

from __future__ import annotations

import datetime as dt
from typing import Literal

import msgspec

from services.console.now.reasons import Decides
from services.console.now.replicas import ReplicaNow
from services.console.now.sightings import CameraNow

# working: somebody is there who does its work. starting: somebody will be. resting: nobody is, and nothing is to be
# done. missing: nobody is, and something is to be done. unknown: nothing says.
State = Literal["working", "starting", "resting", "missing", "unknown"]


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer. arriving, clearing: messages a second. pending: that wait. in_flight: in workers' hands. age_s: how
    long the oldest that waits has done so; None where that can't be known. expired: in the last minutes, unseen.
    """

    stream: str
    consumer: str
    arriving: float = 0.0
    clearing: float = 0.0
    pending: int = 0
    in_flight: int = 0
    age_s: float | None = 0.0
    expired: int = 0


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """per_hour: what the replicas cost now. spent, saved: since the console looks; saved is against as many replicas as
    there were at the busiest time, all the time.
    """

    per_hour: float
    spent: float
    saved: float


class ReplicaTime(msgspec.Struct, frozen=True, kw_only=True):
    """Replica-seconds of the `seconds` since the console looks. See `replicas.Spent`."""

    seconds: float
    used_s: float
    busy_s: float
    idle_s: float
    warming_s: float
    computing_s: float
    saved_s: float
    peak: int


class ServiceNow(msgspec.Struct, frozen=True, kw_only=True):
    """One service.

    arriving, clearing, pending, in_flight, age_s, expired: of its queues together, the oldest for the age; None where
    it has none, or where JetStream does not say, which `error` does then. late_s: what waits for longer
    is late. wanted: replicas; None where no scaler knows.
    decides, sentence, sentences, of, by: see `reasons.Reason`. ready, warming, draining: replicas; None of a service
    that tells of none. time, money: what they took. left_out: share of the frames of the last seconds that was left out
    at first. deferred: frames left out since the console looks. put_off: segments that wait to be looked at again.
    made_good: segments that were. said: events a second that it publishes; None where it publishes none.
    """

    name: str
    state: State
    arriving: float | None = None
    clearing: float | None = None
    pending: int | None = None
    in_flight: int | None = None
    age_s: float | None = None
    late_s: float = 0.0
    expired: int = 0
    wanted: float | None = None
    decides: Decides = "unknown"
    sentence: str = ""
    sentences: list[str] = []
    of: str = ""
    by: str = ""
    ready: int | None = None
    warming: int | None = None
    draining: int | None = None
    time: ReplicaTime | None = None
    money: Money | None = None
    left_out: float = 0.0
    deferred: int = 0
    put_off: int | None = None
    made_good: int = 0
    said: float | None = None
    replicas: list[ReplicaNow] = []
    queues: list[Queue] = []
    error: str = ""


AttentionKind = Literal["server", "scaler", "expired", "late", "missing", "camera", "lost", "unknown"]


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """Something that somebody should look at. kind: what. service, camera: of which. amount: how much of it: seconds,
    messages or segments. reason: in the words of who says so.
    """

    kind: AttentionKind
    severity: Literal["warning", "critical"]
    service: str = ""
    camera: str = ""
    amount: float | None = None
    reason: str = ""


class Now(msgspec.Struct, frozen=True, kw_only=True):
    """time: of this answer. since: when the console began to look. connected: whether it reaches NATS. segments, bytes:
    stored a second. services: those that run, or have work. These are of all cameras together: who sees some alone is
    told None, and of no service. attention: what somebody should look at,
    the worst first. cameras: those that the asker may see, the ones to look at first; cameras_more: how many more.
    online: how many of all these deliver. cost_per_hour: of a replica; None where nobody has said.
    """

    time: dt.datetime
    since: dt.datetime
    connected: bool
    segments: float | None
    bytes: float | None
    services: list[ServiceNow]
    attention: list[Attention]
    cameras: list[CameraNow]
    cameras_more: int = 0
    online: int = 0
    cost_per_hour: float | None = None
