"""What each kind of job shows the model, asks it, and makes of its answer: one file a kind.

work = await kind.look(job)                  # frames or captions; raises NoFootage
event = await kind.answer(work, chat, base)  # asks the model
event = kind.unanswered(work, base)          # where there is nothing to show
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from services.vlm.chat import Chat
from services.vlm.footage import Frame
from shared.events import Cause, Part, Said, Seen, Timing, Usage
from shared.jobs import Job

J = TypeVar("J", bound=Job)
E = TypeVar("E", bound=Said)


class Work(msgspec.Struct, Generic[J], frozen=True, kw_only=True):
    """A job and what it is about. start, end: the stretch. captions: to be summarised, in place of frames.

    cause, reason: why it can't be answered, where that is known before the model is asked.
    """

    job: J
    start: dt.datetime
    end: dt.datetime
    frames: list[Frame] = []
    captions: list[Part] = []
    cause: Cause | None = None
    reason: str = ""


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """What all events have in common. timing and usage are of the whole job, and known at its end."""

    camera: str
    job: str
    start: dt.datetime
    end: dt.datetime
    model: str
    frames: list[Seen]
    cause: Cause | None = None
    reason: str = ""
    timing: Timing = Timing(queued_ms=0.0, decode_ms=0.0, infer_ms=0.0)
    usage: Usage = Usage(prompt_tokens=0, completion_tokens=0, first_token_ms=0.0)


class Kind(Protocol[J]):
    """See the module. Each raises what it can't handle: the worker loop knows what to do with it."""

    async def look(self, job: J) -> Work[J]:
        """Raises NoFootage, BadMessage, nats.errors.Error or TimeoutError."""

    async def answer(self, work: Work[J], chat: Chat, base: Base) -> Said:
        """Raises BrokenAnswer, and as `Model.complete` does."""

    def unanswered(self, work: Work[J], base: Base) -> Said:
        """base.cause and base.reason say why."""


def event(kind: type[E], base: Base, **own: object) -> E:
    """An event of `kind`: what all have in common, and its own fields."""
    fields: dict[str, Any] = {f: getattr(base, f) for f in base.__struct_fields__} | own
    return kind(**fields)
