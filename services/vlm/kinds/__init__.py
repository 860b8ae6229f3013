"""What each kind of job shows the model, asks it, and makes of its answer: each kind has a file.

work = await kind.look(job, frames=8)        # frames or captions; raises NoFootage
event = await kind.answer(work, chat, base)  # asks the model
event = kind.unanswered(work, base)          # where there is nothing to show
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from services.vlm.chat import Chat
from services.vlm.frames import JpegFrame
from shared.contract.events import Cause, Part, VlmResult
from shared.contract.jobs import Job

J = TypeVar("J", bound=Job)
E = TypeVar("E", bound=VlmResult)


class Work(msgspec.Struct, Generic[J], frozen=True, kw_only=True):
    """A job and what it is about. start, end: the stretch. captions: what is to be summarised, in place of frames.

    cause, reason: why it can't be answered, where that is known before the model is asked.
    """

    job: J
    start: dt.datetime
    end: dt.datetime
    frames: list[JpegFrame] = []
    captions: list[Part] = []
    cause: Cause | None = None
    reason: str = ""


class JobKind(Protocol[J]):
    """See the module. What a method can't handle it raises: the worker loop knows what to do with it.

    says: the kind of its event.
    """

    says: type[VlmResult]

    async def look(self, job: J, frames: int) -> Work[J]:
        """Find what the model is shown. frames: so many, at most.

        Raises NoFootage, BadMessage, nats.errors.Error or TimeoutError.
        """

    async def answer(self, work: Work[J], chat: Chat, base: VlmResult) -> VlmResult:
        """Ask the model. Raises BrokenAnswer, and as `Model.complete` does."""

    def unanswered(self, work: Work[J], base: VlmResult) -> VlmResult:
        """The event of a job that has no answer; base.cause and base.reason say why."""


def event(kind: type[E], base: VlmResult, **own: object) -> E:
    """An event of `kind`: the common fields as `base` has them, and its own fields."""
    fields: dict[str, Any] = {f: getattr(base, f) for f in base.__struct_fields__} | own
    return kind(**fields)
