"""The interface of a service: four functions, and their arguments."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

from nats.aio.msg import Msg
from opentelemetry import trace

from shared.contract import deadletters, events
from shared.contract.events import Timing
from shared.elastic.costs import DecodeWork
from shared.elastic.levels import LEVELS, Level
from shared.elastic.sampling_plan import SamplingPlan
from shared.runtime import progress, telemetry
from shared.runtime.errors import TidegateError
from shared.worker.in_flight import Delivery, Source

# Returns the level at which a message is analysed now. The flag: whether its camera has a high priority.
LevelOf = Callable[["Message", bool], Level]


def full_level(message: Message, high: bool) -> Level:
    """Return the full level: nothing degrades."""
    return LEVELS[0]


@dataclass(slots=True, eq=False, kw_only=True)
class Message(Delivery):
    """A message in the loop.

    origin: the base of its result's id. It is `<stream>/<seq>`, of the original if this is a replay. A service whose
    messages need more than that sets it in `prepare`. level_of: returns its level.
    """

    origin: str
    span: trace.Span
    level_of: LevelOf = full_level
    taken_at: float = field(default_factory=time.time)  # wall clock, seconds
    committed: bool = False  # on the device or being answered: a drain waits for it, and does not hand it back
    preparing_since: float | None = None  # or when it last made progress: monotonic clock, seconds
    prepare_s: float = 0.0
    infer_s: float = 0.0

    @classmethod
    def of(cls, raw: Msg, source: Source, service: str) -> Message:
        """Return the message of a delivery, with a span that continues the trace of its headers."""
        meta, headers = raw.metadata, raw.headers or {}
        origin = deadletters.origin(meta.stream, meta.sequence.stream, headers)
        span = telemetry.tracer().start_span(
            service,
            context=telemetry.context_of(headers.get("traceparent")),
            attributes={"messaging.system": "nats", "tidegate.stream": meta.stream, "tidegate.origin": origin},
        )
        return cls(raw, source, origin=origin, span=span)

    @property
    def revises(self) -> str:
        """The `ce-id` of its first, degraded event if this is its backfill, at the full level; else ""."""
        return ""

    @property
    def queued_s(self) -> float:
        """Seconds from JetStream's receipt to this worker."""
        return max(0.0, self.taken_at - self.stored_at)

    @property
    def timing(self) -> Timing:
        """How long it waited and was processed, as in events."""
        return Timing(
            queued_ms=round(self.queued_s * 1e3, 1),
            decode_ms=round(self.prepare_s * 1e3, 1),
            infer_ms=round(self.infer_s * 1e3, 1),
        )

    def level(self, *, high: bool = False) -> Level:
        """Return its level, as it is prepared now. high: its camera has a high priority."""
        return self.level_of(self, high)

    def goes_on(self) -> None:
        """Record that its preparation makes progress, and does not hang. Thread-safe."""
        if self.preparing_since is not None:
            self.preparing_since = time.monotonic()

    def on_release(self) -> None:
        self.span.end()


class Preparing(Protocol):
    """preparing_since: when its preparation began, or last made progress: monotonic seconds; None if it does not run.

    prepare_s: how long it took. goes_on: notes progress.
    """

    preparing_since: float | None
    prepare_s: float

    def goes_on(self) -> None: ...


@contextlib.contextmanager
def preparing(work: Preparing) -> Iterator[None]:
    """Time the preparation of `work`, which is the block."""
    work.preparing_since = started = time.monotonic()
    try:
        with progress.heard_by(work.goes_on):
            yield
    finally:
        work.preparing_since = None
        work.prepare_s = time.monotonic() - started


class AnsweredBefore(TidegateError):
    """A message came again although its result is stored: it is acknowledged without computation."""


class Prepared(Protocol):
    """The result of `prepare`. weight: items it adds to a batch."""

    @property
    def weight(self) -> int: ...


@runtime_checkable
class Degradable(Protocol):
    """A prepared message of degradable work. plan: its sampling. decoded: its cost. None if nothing degrades."""

    @property
    def plan(self) -> SamplingPlan | None: ...

    @property
    def decoded(self) -> DecodeWork | None: ...


P = TypeVar("P", bound=Prepared)
R = TypeVar("R")


class Service(Protocol[P, R]):
    """The interface of a service."""

    name: str
    model: str  # part of the ids of results: another model's results are different results

    async def prepare(self, message: Message) -> P:
        """Decode and sample, the work itself in threads. Raises BadMessage for permanent failures.

        If EVENTS may have forgotten the result's id, it may look for the result, and raise AnsweredBefore.
        """

    def infer(self, batch: Sequence[P]) -> Sequence[R] | Awaitable[Sequence[R]]:
        """Return results in the order of `batch`. Runs in the device's own thread or, if a coroutine, in the loop.

        Raises BadMessage for permanent failures, Away if the device can't be reached.
        """

    def event(self, message: Message, prepared: P, result: R) -> events.Event:
        """Return the event to publish. Never blocks, and may be called again.

        If it has a `quality`, the rest is processed later: see `backfill`.
        """

    def frame_times(self, prepared: P) -> Sequence[float]:
        """Return the wall clock of the prepared frames, seconds, for the end-to-end latency."""


def result_id(service: Service[P, R], message: Message) -> str:
    """Return the `ce-id` of a message's result: the same at each delivery."""
    return id_of(service.name, service.model, message.origin)


def id_of(service: str, model: str, origin: str) -> str:
    """Return the `ce-id` of a service's result for a message. origin: `<stream>/<seq>`."""
    return f"{service}/{model}/{origin}"
