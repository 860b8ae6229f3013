"""What a service gives the worker loop: three functions, and what they are given."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

from opentelemetry import trace

from shared.contract import events
from shared.contract.events import Timing
from shared.elastic.costs import DecodeWork
from shared.elastic.levels import LEVELS, Level
from shared.elastic.sampling_plan import SamplingPlan
from shared.runtime.errors import TidegateError
from shared.worker.in_flight import Delivery

# The level at which a message is looked at now, and whether its camera has a high priority.
Bend = Callable[["Message", bool], Level]


def all_of_it(message: Message, high: bool) -> Level:
    """Nothing bends."""
    return LEVELS[0]


@dataclass(slots=True, eq=False, kw_only=True)
class Message(Delivery):
    """A message in the loop.

    origin: what the id of its result is made of. It is `<stream>/<seq>`, of the original where this is a replay; a
    service whose messages are known by more than that sets it in `prepare`. bend: says how much of it is looked at.
    """

    origin: str
    span: trace.Span
    bend: Bend = all_of_it
    taken_at: float = field(default_factory=time.time)  # wall clock, seconds
    committed: bool = False  # on the device or being answered: a drain waits for it rather than hand it back
    preparing_since: float | None = None  # or when it last made progress: monotonic clock, seconds
    prepare_s: float = 0.0
    infer_s: float = 0.0

    @property
    def revises(self) -> str:
        """The `ce-id` of its first event, where it is worked on again because less was looked at: all is wanted now."""
        return ""

    @property
    def queued_s(self) -> float:
        """Seconds from JetStream's receipt to this worker's hands."""
        return max(0.0, self.taken_at - self.stored_at)

    @property
    def timing(self) -> Timing:
        """How long it waited and was worked on, as events say it."""
        return Timing(
            queued_ms=round(self.queued_s * 1e3, 1),
            decode_ms=round(self.prepare_s * 1e3, 1),
            infer_ms=round(self.infer_s * 1e3, 1),
        )

    def level(self, *, high: bool = False) -> Level:
        """How much of it is looked at, as it is prepared now. high: it is of a camera with a high priority."""
        return self.bend(self, high)

    def goes_on(self) -> None:
        """Its preparation makes progress, and is no hang. Threads may call it."""
        if self.preparing_since is not None:
            self.preparing_since = time.monotonic()

    def on_release(self) -> None:
        self.span.end()


class AnsweredBefore(TidegateError):
    """A message came again although its result is stored: it is acknowledged, and nothing is computed."""


class Prepared(Protocol):
    """What `prepare` makes of a message. weight: items it adds to a batch."""

    @property
    def weight(self) -> int: ...


@runtime_checkable
class Looked(Protocol):
    """What a service prepares whose work bends. look: how much. decoded: what that took. None where nothing bends."""

    @property
    def look(self) -> SamplingPlan | None: ...

    @property
    def decoded(self) -> DecodeWork | None: ...


P = TypeVar("P", bound=Prepared)
R = TypeVar("R")


class Service(Protocol[P, R]):
    """What a service gives the loop."""

    name: str
    model: str  # goes into the ids of results: another model's results are other results

    async def prepare(self, message: Message) -> P:
        """Decode and sample, the work itself in threads. Raises BadMessage for what can't ever succeed.

        Where EVENTS may have forgotten the result's id, it may look for the result, and raise AnsweredBefore.
        """

    def infer(self, batch: Sequence[P]) -> Sequence[R] | Awaitable[Sequence[R]]:
        """Results in the order of `batch`. Runs in the device's own thread or, a coroutine, in the loop.

        Raises BadMessage for what can't ever succeed, Away where the device can't be reached.
        """

    def event(self, message: Message, prepared: P, result: R) -> events.Event:
        """What is published. It waits for nothing, and may be asked for again.

        Where it says its `quality`, the rest is looked at later: see `backfill`.
        """

    def frame_times(self, prepared: P) -> Sequence[float]:
        """Wall clock of the prepared frames, seconds: for the end-to-end latency."""


def result_id(service: Service[P, R], message: Message) -> str:
    """The `ce-id` of a message's result: the same at each delivery."""
    return id_of(service.name, service.model, message.origin)


def id_of(service: str, model: str, origin: str) -> str:
    """The `ce-id` of what a service makes of a message. origin: `<stream>/<seq>`."""
    return f"{service}/{model}/{origin}"
