"""Each kind of job: its input for the model, its prompt, and its event; one file per kind.

    work = await kind.look(job, frames=8)        # frames or captions; raises NoFootage
    event = await kind.answer(work, chat, base)  # asks the model
    event = kind.unanswered(work, base)          # if there is nothing to show

| module | idea |
|---|---|
| `ask` | a question about a stretch of a camera's time |
| `caption` | a caption of a stretch |
| `verify` | whether an incident is what its rule detected |
| `summarize` | a summary of a longer time, from its captions or else from frames |
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from services.vlm.endpoints.chat import Chat
from services.vlm.frames.jpeg import JpegFrame
from shared.contract.events import Cause, Part, VlmResult
from shared.contract.work.jobs import Job

J = TypeVar("J", bound=Job)
E = TypeVar("E", bound=VlmResult)


class Work(msgspec.Struct, Generic[J], frozen=True, kw_only=True):
    """A job and its input. start, end: the stretch. captions: the input of a summary, in place of frames.

    cause, reason: why it can't be answered, if that is known before the request to the model.
    """

    job: J
    start: dt.datetime
    end: dt.datetime
    frames: list[JpegFrame] = []
    captions: list[Part] = []
    cause: Cause | None = None
    reason: str = ""


class JobKind(Protocol[J]):
    """See the module. A method raises what it can't handle: the worker loop handles it.

    says: the kind of its event.
    """

    says: type[VlmResult]

    async def look(self, job: J, frames: int) -> Work[J]:
        """Find the model's input. frames: their maximum number.

        Raises NoFootage, BadMessage, nats.errors.Error or TimeoutError.
        """

    async def answer(self, work: Work[J], chat: Chat, base: VlmResult) -> VlmResult:
        """Ask the model. Raises BrokenAnswer, and as `Model.complete` does."""

    def unanswered(self, work: Work[J], base: VlmResult) -> VlmResult:
        """Return the event of a job without an answer; base.cause and base.reason have the cause."""


def event(kind: type[E], base: VlmResult, **own: object) -> E:
    """Return an event of `kind`: the common fields of `base`, and its own fields."""
    fields: dict[str, Any] = {f: getattr(base, f) for f in base.__struct_fields__} | own
    return kind(**fields)
