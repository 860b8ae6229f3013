"""The answer to the page: the current state of the system."""

from __future__ import annotations

import datetime as dt
from typing import Literal

import msgspec

from services.console.now.camera_states import CameraNow
from services.console.now.reasons import Decides
from services.console.now.replicas import ReplicaNow

# working: a replica is there. starting: one will be. resting: none is, and no work waits. missing: none is, and work
# waits. unknown: there is no evidence.
State = Literal["working", "starting", "resting", "missing", "unknown"]


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer. arriving, clearing: messages a second. pending: waiting. in_flight: delivered to workers. age_s:
    how long the oldest has waited; None if unknown. expired: in the last minutes, without being delivered.
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
    """per_hour: the current cost of the replicas. spent, saved: since the console started. saved compares with the peak
    number of replicas, running all the time.
    """

    per_hour: float
    spent: float
    saved: float


class ReplicaTime(msgspec.Struct, frozen=True, kw_only=True):
    """Replica-seconds of the `seconds` since the console started. See `replicas.Spent`."""

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

    arriving, clearing, pending, in_flight, age_s, expired: of all its queues; the age is the oldest. None if it has no
    queue, or if JetStream does not answer: `error` says why. late_s: a longer wait is late. wanted: replicas; None if
    no scaler reports it. decides, sentence, sentences, of, by: see `reasons.Reason`. ready, warming, draining:
    replicas; None for a service without heartbeats. time, money: what they used. deferred_share: of the frames of the
    last seconds. deferred: frames deferred since the console started. deferred_waiting: deferred segments that wait for
    their backfill. backfilled: segments. event_rate: published events a second; None if it publishes none.
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
    deferred_share: float = msgspec.field(default=0.0, name="left_out")
    deferred: int = 0
    deferred_waiting: int | None = msgspec.field(default=None, name="put_off")
    backfilled: int = msgspec.field(default=0, name="made_good")
    event_rate: float | None = msgspec.field(default=None, name="said")
    replicas: list[ReplicaNow] = []
    queues: list[Queue] = []
    error: str = ""


AttentionKind = Literal["server", "scaler", "expired", "late", "missing", "camera", "lost", "unknown", "process"]


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """Something that needs attention. service, camera: of which; a process is named by its replica. amount: seconds,
    messages or segments. reason: the text of the process that reports it.
    """

    kind: AttentionKind
    severity: Literal["warning", "critical"]
    service: str = ""
    camera: str = ""
    amount: float | None = None
    reason: str = ""


class Now(msgspec.Struct, frozen=True, kw_only=True):
    """time: of this answer. since: when the console started. connected: whether it reaches NATS. segments, bytes:
    stored a second. services: those that run, or have work. These cover all cameras: an asker who sees only some gets
    None, and no service. attention: the worst first. cameras: those that the asker may see, by rank; cameras_more: how
    many more. online: how many of all these deliver. cost_per_hour: of a replica; None if not configured.
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
